"""A vision tower in pieces: a chat's next token waits for a piece of another chat's image, not for
the whole tower.

A piece is as many of the tower's blocks as take about ``PIECE_S`` by what earlier ones took.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import mlx.core as mx

from worker.backends.cpu.attention import quick_attention
from worker.backends.device import on_cpu

Parts = deque[tuple[str, mx.array]]
STREAMS = 3
"""Towers computed at once: on a CPU the third fills what two leave of two processors between
pieces."""
PIECE_S = 0.03
"""How long a piece should take: shorter ones take more steps, and the stream of longer ones stays
busy for longer when their chat is cancelled."""
MOST_DURATIONS = 512


class TowerPieces:
    """Cuts the computations of one vision tower. ``tower`` has a list of ``blocks``, each with an
    ``attn``."""

    def __init__(self, tower: Any) -> None:
        self._tower = tower
        self._durations: dict[tuple[int, str], float] = {}
        """How long a part of the tower takes, by the number of patches and the kind of part."""

    def cut(
        self, features: Callable[[], mx.array], patches: int
    ) -> Generator[mx.array, float, None]:
        """The pieces of ``features()``, which calls the tower; the last one is the result. Each
        piece is answered with the seconds that it took."""
        with _recorded(self._tower) as parts, quick_attention() if on_cpu() else nullcontext():
            parts.append(("end", features()))
        while parts:
            expected: list[tuple[str, float]] = []
            while parts and sum(seconds for _, seconds in expected) < PIECE_S:
                kind, piece = parts.popleft()  # Computed parts are freed.
                expected.append((kind, self._durations.get((patches, kind), PIECE_S)))
            took_s = yield piece
            self._learn(patches, expected, took_s)

    def _learn(self, patches: int, expected: list[tuple[str, float]], took_s: float) -> None:
        error = took_s / sum(seconds for _, seconds in expected)
        if len(self._durations) >= MOST_DURATIONS:
            self._durations.clear()
        for kind, seconds in expected:
            self._durations[patches, kind] = max(1e-5, seconds * error)


@contextmanager
def _recorded(tower: Any) -> Iterator[Parts]:
    """The outputs of the tower's blocks and of their attentions while the block lasts, in order."""
    parts, blocks = Parts(), tower.blocks
    attentions = [block.attn for block in blocks]

    def recording(kind: str, module: Any) -> Callable[..., mx.array]:
        def call(*args: Any, **kwargs: Any) -> mx.array:
            output: mx.array = module(*args, **kwargs)
            parts.append((kind, output))
            return output

        return call

    try:
        for block, attention in zip(blocks, attentions, strict=True):
            block.attn = recording("attention", attention)
        tower.blocks = [recording("block", block) for block in blocks]
        yield parts
    finally:
        tower.blocks = blocks
        for block, attention in zip(blocks, attentions, strict=True):
            block.attn = attention
