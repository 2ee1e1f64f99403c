"""Image features of the qwen2_vl families: computed while chats go on, and cached for the next
turn.

The vision tower runs on streams of its own. Other threads wait for these, so that the engine's
needn't while chats are running. Knows no chat and no batch; for the engine's thread only.
"""

from __future__ import annotations

import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import cache
from typing import Any

import mlx.core as mx
from numpy.typing import NDArray

from worker.backends.vision.tower_pieces import STREAMS, TowerPieces

Hashes = tuple[str, ...]
Pieces = Generator[mx.array, float, None]
"""Arrays to compute one after another; the last one is the result. Each is answered with the
seconds that it took."""
CACHE_BYTES = 256 << 20
"""Image features kept for the next turn about the same image, bytes."""
POLL_S = 0.002
"""Between two polls for features, when there is nothing else to do."""


class _Stream:
    """A stream for one tower at a time, and the piece being computed on it.

    Any thread may use such a stream, but one at a time: it gets nothing new while a thread still
    waits for it.
    """

    def __init__(self) -> None:
        self._stream = mx.new_thread_unsafe_stream(mx.default_device())
        self._owner: Callable[[], _PendingImages | None] = lambda: None
        self._computing: Future[float] | None = None

    @property
    def free(self) -> bool:
        return self._owner() is None and (self._computing is None or self._computing.done())

    def assign(self, owner: _PendingImages) -> None:
        """Belong to these images for as long as the object lives."""
        self._owner = weakref.ref(owner)

    def current(self) -> mx.StreamContext:
        """Operations built while the block lasts run on this stream."""
        return mx.stream(self._stream)

    def compute(self, array: mx.array) -> Future[float]:
        """Start computing; the future's result is when that was done, by the monotonic clock."""
        mx.async_eval(array)
        self._computing = _waiting.submit(self._wait)
        return self._computing

    def _wait(self) -> float:
        # If the computation or waiting for it fails, using the array raises that.
        with suppress(RuntimeError):
            mx.synchronize(self._stream)
        return time.monotonic()


_waiting = ThreadPoolExecutor(STREAMS, thread_name_prefix="vision")


@cache
def streams() -> list[_Stream]:
    """The process's streams for vision towers, those of all models."""
    return [_Stream() for _ in range(STREAMS)]


class VisionEncoder:
    """One model's vision tower and the features that it computed."""

    def __init__(self, tower: Any) -> None:
        self._tower = tower
        self._pending: dict[Hashes, _PendingImages] = {}
        self._cache: OrderedDict[Hashes, mx.array] = OrderedDict()
        self._cut = TowerPieces(tower).cut

    def features(self, hashes: Hashes, pixels: NDArray[Any], grid: NDArray[Any]) -> mx.array | None:
        """The features of the images with these hashes, in their order; None while they are being
        computed: ask again after the next step."""
        if hashes in self._cache:
            self._cache.move_to_end(hashes)
            return self._cache[hashes]
        if hashes not in self._pending:
            stream = next((stream for stream in streams() if stream.free), None)
            if stream is not None:
                self._pending[hashes] = self._begin(stream, pixels, grid)
        return None

    def poll(self, others_waiting: bool) -> None:
        """Take in the pieces that are computed, and begin the next ones.

        With no ``others_waiting`` there is no other work, and this waits for the first piece.
        """
        if self._pending and not others_waiting:
            wait([images.done for images in self._pending.values()], return_when=FIRST_COMPLETED)
        for hashes, images in [item for item in self._pending.items() if item[1].done.done()]:
            if not images.go_on():
                del self._pending[hashes]
                self._keep(hashes, images.piece)

    def cancel(self, hashes: Hashes) -> None:
        """Stop computing these images. Unknown ones are no error."""
        self._pending.pop(hashes, None)

    def cancel_all(self) -> None:
        self._pending.clear()

    def close(self) -> None:
        """Stop computing, and empty the cache."""
        self.cancel_all()
        self._cache.clear()

    def _keep(self, hashes: Hashes, features: mx.array) -> None:
        self._cache[hashes] = features
        while sum(kept.nbytes for kept in self._cache.values()) > CACHE_BYTES:
            if len(self._cache) == 1:
                return
            self._cache.popitem(last=False)

    def _begin(self, stream: _Stream, pixels: NDArray[Any], grid: NDArray[Any]) -> _PendingImages:
        """Build the tower's computation of some images, and start it."""

        def features() -> mx.array:
            dtype = self._tower.patch_embed.proj.weight.dtype
            result: mx.array = self._tower(
                mx.array(pixels).astype(dtype), mx.array(grid), output_hidden_states=False
            )
            return result

        pieces = self._cut(features, len(pixels))
        with stream.current():
            first = next(pieces)
        images = _PendingImages(stream, pieces, first)
        stream.assign(images)
        return images


class _PendingImages:
    """Images being computed: the piece under way, and those to come."""

    def __init__(self, stream: _Stream, pieces: Pieces, first: mx.array) -> None:
        self._stream = stream
        self._pieces = pieces
        self._start(first)

    def go_on(self) -> bool:
        """Start the next piece once this one is ``done``; False when it was the last."""
        try:
            self._start(self._pieces.send(self.done.result() - self._begun))
        except StopIteration:
            return False
        return True

    def _start(self, piece: mx.array) -> None:
        self.piece = piece
        self._begun = time.monotonic()
        self.done = self._stream.compute(piece)
