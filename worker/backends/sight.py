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

from worker.backends.cpu_attention import quick_attention

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
TOO_LATE = 0.8
"""What a guess is multiplied by when the piece was there already: a lane that stands idle costs more than a wait."""
MOST_GUESSES = 512


class Sight:
    """The eyes of one model. ``tower`` is its vision tower, with a list of ``blocks`` that each have an ``attn``."""

    def __init__(self, tower: Any) -> None:
        self._tower = tower
        self._looks: dict[Hashes, _Look] = {}
        self._kept: OrderedDict[Hashes, mx.array] = OrderedDict()
        self._usual_s: dict[tuple[int, str], float] = {}
        """How long a part of the tower takes, by the number of patches and the kind of part."""

    def features(self, hashes: Hashes, pixels: NDArray[Any], grid: NDArray[Any]) -> mx.array | None:
        """The features of the images with these hashes, in their order; None: ask again after the next step."""
        if hashes in self._kept:
            self._kept.move_to_end(hashes)
            return self._kept[hashes]
        if hashes not in self._looks and (lane := self._free_lane()) is not None:
            self._looks[hashes] = self._begin(lane, pixels, grid)
        return None

    def go_on(self, in_company: bool) -> None:
        """Take in the pieces whose time has come, and begin the next ones.

        ``in_company`` says that there is other work, which a wait would hold up; else the first piece is waited for.
        """
        under_way = sorted(self._looks, key=lambda hashes: self._looks[hashes].asked_for)
        for hashes in under_way if in_company else under_way[:1]:
            look = self._looks[hashes]
            if in_company and time.monotonic() < look.asked_for:
                return
            self._take_in(look)
            if look.parts:
                self._begin_piece(look)
            else:
                del self._looks[hashes]
                self._keep(hashes, look.piece)

    def rest_s(self) -> float:
        """How long there is nothing to do but to wait for a piece, seconds."""
        first = min((look.asked_for for look in self._looks.values()), default=0.0)
        return max(0.0, first - time.monotonic())

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

    def _keep(self, hashes: Hashes, features: mx.array) -> None:
        self._kept[hashes] = features
        while sum(kept.nbytes for kept in self._kept.values()) > KEPT_BYTES and len(self._kept) > 1:
            self._kept.popitem(last=False)

    def _free_lane(self) -> int | None:
        taken = [look.lane for look in self._looks.values()]
        return next((lane for lane in range(len(LANES)) if lane not in taken), None)

    def _begin(self, lane: int, pixels: NDArray[Any], grid: NDArray[Any]) -> _Look:
        """Lay the tower's computation of some images out, and begin it."""
        with _noted(self._tower) as parts, quick_attention(), mx.stream(LANES[lane]):
            dtype = self._tower.patch_embed.proj.weight.dtype
            features = self._tower(mx.array(pixels).astype(dtype), mx.array(grid), output_hidden_states=False)
        look = _Look(lane, len(pixels), [*parts, ("end", features)])
        self._begin_piece(look)
        return look

    def _begin_piece(self, look: _Look) -> None:
        """Start computing the next parts, as many as fill a piece."""
        look.guesses = []
        while look.parts and look.expected_s < PIECE_S:
            kind, look.piece = look.parts.popleft()
            look.guesses.append((kind, self._usual_s.get((look.patches, kind), PIECE_S)))
        look.begun = time.monotonic()
        mx.async_eval(look.piece)

    def _take_in(self, look: _Look) -> None:
        """Wait for the piece; learn from it how long such pieces take."""
        asked = time.monotonic()
        mx.eval(look.piece)
        now = time.monotonic()
        error = (now - look.begun) / look.expected_s
        if now - asked < SURELY_WAITED_S:
            error = min(error, TOO_LATE)  # It was there already, who knows since when.
        if len(self._usual_s) >= MOST_GUESSES:
            self._usual_s.clear()
        for kind, guess in look.guesses:
            self._usual_s[look.patches, kind] = max(1e-5, guess * error)


class _Look:
    """Images on their way through the tower: the parts still to be computed, and the piece under way."""

    def __init__(self, lane: int, patches: int, parts: Parts) -> None:
        self.lane = lane
        self.patches = patches
        self.parts = deque(parts)
        self.piece = parts[0][1]
        self.guesses: list[tuple[str, float]] = []
        """The kinds of the parts in the piece under way, and how long each should take."""
        self.begun = 0.0

    @property
    def expected_s(self) -> float:
        """How long the piece under way should take."""
        return sum(guess for _, guess in self.guesses)

    @property
    def asked_for(self) -> float:
        """When to ask for the piece under way, by the monotonic clock."""
        return self.begun + self.expected_s - EARLY_S


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
