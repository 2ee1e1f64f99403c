"""Steps that give a sequence several tokens at once, as those with guesses do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.chats import Reader, sequence
from wire.messages import Finished
from worker.backends.base import Step, Token
from worker.backends.echo import ECHO_MODEL, EchoBackend, answer, word
from worker.engine.counters import Counters
from worker.engine.engine import Engine
from worker.models.loaded import LoadedModels

AT_ONCE = 4


class _Several(EchoBackend):
    """Gives a sequence several of its next tokens in each step."""

    def step(self, others_waiting: bool = False) -> Step:
        step = super().step(others_waiting)
        for first in list(step.tokens):
            sequence = first.sequence
            count = min(AT_ONCE, sequence.tokens_left)
            ids = [
                word(sequence.prompt_ids, sequence.job.sampling.seed, sequence.position + at)
                for at in range(count)
            ]
            step.tokens = [Token(sequence, token_id) for token_id in ids]
            step.draft_tokens, step.accepted_tokens = AT_ONCE, count - 1
            sequence.draft_tokens += AT_ONCE
            sequence.accepted_tokens += count - 1
            if count == sequence.tokens_left:
                step.tokens[-1].end = "length"
                self.remove(sequence)
        return step


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def engine(reader: Reader, counters: Counters) -> Iterator[Engine]:
    models = LoadedModels(
        {"echo": ECHO_MODEL}.get,
        lambda _: _Several(0.0, 16, 4096),
        budget=1 << 30,
        available=lambda: 1 << 30,
    )
    running = Engine(models, reader, counters=counters)
    running.start()
    yield running
    running.close()


def test_nothing_follows_a_stop_text_in_the_middle_of_a_step(
    engine: Engine, reader: Reader, counters: Counters
) -> None:
    whole = answer("hello", 1, 40)
    stop = whole.split()[9]
    engine.submit(sequence("hello", max_tokens=40, stop=(stop,)))
    assert reader.text("job") == whole[: whole.index(stop)]
    end = reader.wait("job")[-1]
    assert isinstance(end, Finished)
    assert (end.finish_reason, end.usage.completion_tokens) == ("stop", 10)
    assert counters.work().generation_tokens == 10


def test_what_came_of_guesses_is_counted(
    engine: Engine, reader: Reader, counters: Counters
) -> None:
    engine.submit(sequence("hello", max_tokens=8))
    assert reader.text("job") == answer("hello", 1, 8)
    end = reader.wait("job")[-1]
    assert isinstance(end, Finished)
    assert (end.timings.draft_tokens, end.timings.accepted_tokens) == (8, 6)
    assert (counters.work().draft_tokens, counters.work().accepted_tokens) == (8, 6)
    # Tokens that come together have one interval.
    assert sum(counters.work().inter_token.counts) == 2
