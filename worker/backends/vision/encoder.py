"""Image features of the qwen2_vl families: computed beside the running chats, and kept for the next
turn.

The vision tower runs on streams of its own, in pieces. Other threads wait for these, so that the
engine's needn't while chats are running. Knows no chat and no batch; for the engine's thread only.
"""

from __future__ import annotations

import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any

import mlx.core as mx
from numpy.typing import NDArray

from worker.backends.cpu.attention import quick_attention

Hashes = tuple[str, ...]
Parts = list[tuple[str, mx.array]]
KEPT_BYTES = 256 << 20
"""Image features kept for the next turn about the same image, bytes."""
PIECE_S = 0.03
"""How long a piece should take: shorter ones take more steps, longer ones keep their lane when
nobody wants them."""
LOOK_AGAIN_S = 0.002
"""Between two looks whether a piece is done, when there is nothing else to do."""
MOST_GUESSES = 512


class _Stream:
    """A stream for one tower at a time, and the piece under way on it.

    Any thread may use such a stream, but one at a time: nothing is given to it before nobody waits
    for it any more.
    """

    def __init__(self) -> None:
        self._stream = mx.new_thread_unsafe_stream(mx.default_device())
        self._owner: Callable[[], _PendingImages | None] = lambda: None
        self._waits: Future[float] | None = None

    @property
    def free(self) -> bool:
        return self._owner() is None and (self._waits is None or self._waits.done())

    def take(self, owner: _PendingImages) -> None:
        """Belong to a look for as long as that lives."""
        self._owner = weakref.ref(owner)

    def laid_out(self) -> mx.StreamContext:
        """What is laid out while the block lasts runs here."""
        return mx.stream(self._stream)

    def compute(self, array: mx.array) -> Future[float]:
        """Start computing; the answer tells when that was done, by the monotonic clock."""
        mx.async_eval(array)
        self._waits = _waiting.submit(self._wait)
        return self._waits

    def _wait(self) -> float:
        # What is wrong with the piece, or with waiting for it, whoever uses it finds out.
        with suppress(RuntimeError):
            mx.synchronize(self._stream)
        return time.monotonic()


LANES = [_Stream() for _ in range(3)]
"""So many prompts' images are looked at at a time: the third fills what two leave of two
processors between pieces."""
_waiting = ThreadPoolExecutor(len(LANES), thread_name_prefix="sight")


class VisionEncoder:
    """The eyes of one model. ``tower`` is its vision tower, with a list of ``blocks`` that each
    have an ``attn``."""

    def __init__(self, tower: Any) -> None:
        self._tower = tower
        self._looks: dict[Hashes, _PendingImages] = {}
        self._kept: OrderedDict[Hashes, mx.array] = OrderedDict()
        self._usual_s: dict[tuple[int, str], float] = {}
        """How long a part of the tower takes, by the number of patches and the kind of part."""

    def features(self, hashes: Hashes, pixels: NDArray[Any], grid: NDArray[Any]) -> mx.array | None:
        """The features of the images with these hashes, in their order; None: ask again after
        the next step."""
        if hashes in self._kept:
            self._kept.move_to_end(hashes)
            return self._kept[hashes]
        if (
            hashes not in self._looks
            and (lane := next((lane for lane in LANES if lane.free), None)) is not None
        ):
            self._looks[hashes] = self._begin(lane, pixels, grid)
        return None

    def go_on(self, in_company: bool) -> None:
        """Take in the pieces that are done, and begin the next ones.

        ``in_company`` says that there is other work, which a wait would hold up; else the first
        piece is waited for.
        """
        if self._looks and not in_company:
            wait([look.done for look in self._looks.values()], return_when=FIRST_COMPLETED)
        for hashes, look in [item for item in self._looks.items() if item[1].done.done()]:
            self._take_in(look)
            if look.parts:
                self._begin_piece(look)
            else:
                del self._looks[hashes]
                self._keep(hashes, look.piece)

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

    def _begin(self, lane: _Stream, pixels: NDArray[Any], grid: NDArray[Any]) -> _PendingImages:
        """Lay the tower's computation of some images out, and begin it."""
        with _noted(self._tower) as parts, quick_attention(), lane.laid_out():
            dtype = self._tower.patch_embed.proj.weight.dtype
            features = self._tower(
                mx.array(pixels).astype(dtype), mx.array(grid), output_hidden_states=False
            )
        look = _PendingImages(lane, len(pixels), [*parts, ("end", features)])
        lane.take(look)
        self._begin_piece(look)
        return look

    def _begin_piece(self, look: _PendingImages) -> None:
        """Start computing the next parts, as many as fill a piece."""
        look.guesses = []
        while look.parts and look.expected_s < PIECE_S:
            kind, look.piece = look.parts.popleft()
            look.guesses.append((kind, self._usual_s.get((look.patches, kind), PIECE_S)))
        look.begun = time.monotonic()
        look.done = look.lane.compute(look.piece)

    def _take_in(self, look: _PendingImages) -> None:
        """Learn from a piece how long such pieces take."""
        error = (look.done.result() - look.begun) / look.expected_s
        if len(self._usual_s) >= MOST_GUESSES:
            self._usual_s.clear()
        for kind, guess in look.guesses:
            self._usual_s[look.patches, kind] = max(1e-5, guess * error)


class _PendingImages:
    """Images on their way through the tower: the parts still to be computed, and the piece under
    way."""

    def __init__(self, lane: _Stream, patches: int, parts: Parts) -> None:
        self.lane = lane
        self.patches = patches
        self.parts = deque(parts)
        self.piece = parts[0][1]
        self.done: Future[float]
        self.guesses: list[tuple[str, float]] = []
        """The kinds of the parts in the piece under way, and how long each should take."""
        self.begun = 0.0

    @property
    def expected_s(self) -> float:
        """How long the piece under way should take."""
        return sum(guess for _, guess in self.guesses)


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
