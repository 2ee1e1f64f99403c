"""Images are encoded in pieces while other chats go on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import cast

import mlx.core as mx
import pytest

from tests.mlx.vision.vision_bench import VisionBench
from worker.backends.batching.backend import BatchBackend
from worker.backends.vision import encoder, tower_pieces
from worker.backends.vlm import VlmModel


def test_a_running_chat_gets_on_while_images_are_looked_at(bench: VisionBench) -> None:
    alone = bench.answer("only words", max_tokens=200)
    bench.forget()
    running = bench.chat("only words", max_tokens=200)
    bench.start(running)
    bench.run(until=lambda: len(running.generated) >= 3)
    joining = [
        bench.chat([bench.shown("what is this?", seed)], max_tokens=4) for seed in range(40, 43)
    ]
    bench.start(*joining)
    before = len(running.generated)
    bench.run(until=lambda: bool(joining[0].generated))
    assert len(running.generated) - before >= 5  # The vision tower has that many pieces.
    bench.run()
    assert running.generated == alone
    assert all(len(chat.generated) == 4 for chat in joining)


class HeldPieces:
    """In place of the threads that wait for pieces: no piece is reported as done before
    ``release``."""

    def __init__(self) -> None:
        self._held: list[tuple[Future[float], Callable[[], float]]] = []

    def submit(self, waiting: Callable[[], float]) -> Future[float]:
        self._held.append((Future(), waiting))
        return self._held[-1][0]

    def release(self) -> int:
        """Wait for all pieces in progress; return how many there were."""
        held, self._held = self._held, []
        for done, waiting in held:
            done.set_result(waiting())
        return len(held)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldPieces]:
    held = HeldPieces()
    monkeypatch.setattr(encoder, "_waiting", held)
    yield held
    held.release()  # Otherwise the streams stay busy for all later tests.


def test_running_chats_do_not_wait_for_pictures(bench: VisionBench, held: HeldPieces) -> None:
    words = bench.chat("only words", max_tokens=200)
    bench.start(words)
    bench.run(until=lambda: bool(words.generated))
    bench.start(
        *(bench.chat([bench.shown("what is this?", seed)], max_tokens=4) for seed in range(50, 55))
    )
    before = len(words.generated)
    bench.run(until=lambda: len(words.generated) >= before + 20)
    # One piece of each stream; the other images aren't begun.
    assert held.release() == tower_pieces.STREAMS
    bench.backend.remove(words)
    assert bench.backend.step(others_waiting=True).rest_s > 0
    while bench.backend.sequences():
        held.release()
        bench.backend.step(others_waiting=True)


def test_pictures_that_nobody_asks_for_any_more_keep_their_lane_until_their_piece_is_done(
    bench: VisionBench, held: HeldPieces
) -> None:
    left = [
        bench.chat([bench.shown("what is this?", seed)])
        for seed in range(60, 60 + tower_pieces.STREAMS)
    ]
    bench.start(*left)
    for _ in left:
        bench.backend.step(others_waiting=True)
    for chat in left:
        bench.backend.remove(chat)
    assert not any(stream.free for stream in encoder.streams())
    held.release()
    assert all(stream.free for stream in encoder.streams())


def test_two_towers_at_once_do_not_each_lengthen_the_other_ones_guess(
    bench: VisionBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(encoder, "time", SimpleNamespace(monotonic=lambda: next(clock) * 0.1))
    chats = [
        bench.chat([bench.shown("what is this?", seed)], max_tokens=4) for seed in range(80, 84)
    ]
    bench.start(*chats)
    bench.run()
    vision_encoder = cast(VlmModel, cast(BatchBackend, bench.backend)._model)._encoder
    assert vision_encoder is not None
    durations = vision_encoder._cut.__self__._durations  # type: ignore[attr-defined]
    assert max(durations.values()) < next(clock) * 0.1


def test_pictures_are_seen_where_nobody_can_wait_for_a_stream(
    bench: VisionBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [bench.shown("what is this?", 70)]
    seen = bench.answer(turns)
    bench.forget()
    vision_encoder = cast(VlmModel, cast(BatchBackend, bench.backend)._model)._encoder
    assert vision_encoder is not None
    vision_encoder.close()

    def refuse(stream: object) -> None:
        raise RuntimeError(f"{stream} is another thread's")

    monkeypatch.setattr(mx, "synchronize", refuse)
    assert bench.answer(turns) == seen
