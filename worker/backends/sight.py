"""Image features of the qwen2_vl families: computed beside the running chats, and kept for the next turn.

The vision tower runs on streams of its own, a piece at a time. While chats are running nobody waits for a piece before
the time that such a piece usually takes is over. Knows no chat and no batch; for the engine's thread only.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
from numpy.typing import NDArray

Hashes = tuple[str, ...]
Parts = list[tuple[str, mx.array]]
LANES = [mx.new_thread_local_stream(mx.default_device()) for _ in range(2)]
"""Where towers run: so many prompts' images at a time."""
KEPT_BYTES = 256 << 20
"""Image features kept for the next turn about the same image, bytes."""
PIECE_S = 0.03
"""How long a piece should take. A longer one, guessed too short, is a longer silence; shorter ones take more steps."""
EARLY_S = 0.01
"""A piece is asked for so long before its time: nobody notices such a wait, and it tells how long the piece took."""
SURELY_WAITED_S = 0.001
MOST_GUESSES = 512


class Sight:
    """The eyes of one model. ``tower`` is its vision tower, with a list of ``blocks`` that each have an ``attn``."""

    def __init__(self, tower: Any) -> None:
        self._tower = tower
        self._looks: dict[Hashes, _Look] = {}
        self._kept: OrderedDict[Hashes, mx.array] = OrderedDict()
        self._usual_s: dict[tuple[int, str], float] = {}
        """How long a part of the tower takes, by the number of patches and the kind of part."""

    def features(
        self, hashes: Hashes, pixels: NDArray[Any], grid: NDArray[Any], *, in_company: bool
    ) -> mx.array | None:
        """The features of the images with these hashes, in their order; None: ask again after the next step.

        ``in_company`` says that there is other work, which a wait would hold up.
        """
        found = self._kept.pop(hashes, None)
        if found is None:
            look = self._looks.pop(hashes, None) or self._begin(pixels, grid)
            if look is None:
                return None
            found = self._advance(look, in_company)
            if found is None:
                self._looks[hashes] = look
                return None
        self._kept[hashes] = found
        while sum(kept.nbytes for kept in self._kept.values()) > KEPT_BYTES and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return found

    def give_up(self, hashes: Hashes) -> None:
        """Nobody asks for these images any more. No error if nobody did."""
        self._looks.pop(hashes, None)

    def give_up_all(self) -> None:
        """Nobody asks for any images any more."""
        self._looks.clear()

    def close(self) -> None:
        """Forget everything."""
        self.give_up_all()
        self._kept.clear()

    def _begin(self, pixels: NDArray[Any], grid: NDArray[Any]) -> _Look | None:
        """The tower's computation of some images, laid out and not begun, if there is a free lane."""
        taken = [look.lane for look in self._looks.values()]
        lane = next((lane for lane in range(len(LANES)) if lane not in taken), None)
        if lane is None:
            return None
        with _noted(self._tower) as parts, mx.stream(LANES[lane]):
            dtype = self._tower.patch_embed.proj.weight.dtype
            features = self._tower(mx.array(pixels).astype(dtype), mx.array(grid), output_hidden_states=False)
        return _Look(lane, len(pixels), [*parts, ("end", features)])

    def _advance(self, look: _Look, in_company: bool) -> mx.array | None:
        """Take in the piece that is under way, if it is time, and begin the next; the features when it was the last."""
        if look.piece is not None:
            if in_company and time.monotonic() < look.begun + look.expected_s - EARLY_S:
                return None
            self._take_in(look, look.piece)
            if not look.parts:
                return look.piece
        look.begin(lambda kind: self._usual_s.get((look.patches, kind), PIECE_S))
        return None

    def _take_in(self, look: _Look, piece: mx.array) -> None:
        """Wait for the piece; learn from it how long such pieces take."""
        asked = time.monotonic()
        mx.eval(piece)
        now = time.monotonic()
        error = (now - look.begun) / look.expected_s
        if now - asked < SURELY_WAITED_S:
            error = min(error, 0.9)  # It was there already, who knows since when.
        if len(self._usual_s) >= MOST_GUESSES:
            self._usual_s.clear()
        for kind in set(look.kinds):
            guess = self._usual_s.get((look.patches, kind), PIECE_S)
            self._usual_s[look.patches, kind] = max(1e-5, guess * error)


class _Look:
    """Images on their way through the tower: the parts still to be computed, and the piece under way."""

    def __init__(self, lane: int, patches: int, parts: Parts) -> None:
        self.lane = lane
        self.patches = patches
        self.parts = deque(parts)
        self.piece: mx.array | None = None
        self.kinds: list[str] = []
        self.begun = self.expected_s = 0.0

    def begin(self, usual_s: Callable[[str], float]) -> None:
        """Start computing the next parts, as many as fill a piece."""
        self.kinds, self.expected_s = [], 0.0
        while self.parts and self.expected_s < PIECE_S:
            kind, self.piece = self.parts.popleft()
            self.kinds.append(kind)
            self.expected_s += usual_s(kind)
        self.begun = time.monotonic()
        mx.async_eval(self.piece)


@contextmanager
def _noted(tower: Any) -> Iterator[Parts]:
    """What the tower's blocks and their attentions put out while the block lasts, in order."""
    parts, blocks = Parts(), tower.blocks
    attentions = [block.attn for block in blocks]

    def noting(kind: str, module: Any) -> Callable[..., mx.array]:
        def call(*args: Any, **kwargs: Any) -> mx.array:
            output: mx.array = module(*args, **kwargs)
            parts.append((kind, output))
            return output

        return call

    try:
        for block, attention in zip(blocks, attentions, strict=True):
            block.attn = noting("attention", attention)
        tower.blocks = [noting("block", block) for block in blocks]
        yield parts
    finally:
        tower.blocks = blocks
        for block, attention in zip(blocks, attentions, strict=True):
            block.attn = attention
