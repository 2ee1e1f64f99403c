"""Log-probabilities and echoed prompts through the engine, on the echo backend, which invents
them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.chats import Reader, chat_job, sequence
from tests.support.lanes import Lanes, prompt
from wire.messages import (
    Alternative,
    ChatJob,
    Delta,
    Event,
    Failed,
    Finished,
    OutputFormat,
    TokenLogprob,
)
from worker.backends.echo import answer
from worker.backends.echo_logprobs import invented
from worker.backends.echo_script import SAY
from worker.engine.engine import Engine
from worker.jobs.held_logs import merged
from worker.logprobs import LEAST_LOGPROB, MOST_PROMPT_VALUES, Measured, bounded
from worker.sequence import Sequence

ECHO = OutputFormat(raw=True, truncation="disabled", echo=True)


def word_of(token: int, likeliest: int) -> TokenLogprob:
    one = invented(token, likeliest)
    top = tuple(Alternative(f"w{other} ".encode(), value) for other, value in one.top)
    return TokenLogprob(f"w{token} ".encode(), one.logprob, top)


def byte_of(token: int, likeliest: int) -> TokenLogprob:
    one = invented(token, likeliest)
    top = tuple(Alternative(bytes([other % 256]), value) for other, value in one.top)
    return TokenLogprob(bytes([token]), one.logprob, top)


def echoing(text: str = "ab", **sampling: Any) -> ChatJob:
    return chat_job(text, **sampling).model_copy(update={"form": ECHO})


def deltas(events: list[Event]) -> list[Delta]:
    return [event for event in events if isinstance(event, Delta)]


def told(events: list[Event]) -> list[TokenLogprob]:
    return [one for delta in deltas(events) for one in delta.logprobs]


def test_each_token_of_a_chat_that_asks_has_its_own(engine: Engine, reader: Reader) -> None:
    engine.submit(sequence(max_tokens=5, logprobs=2))
    engine.submit(sequence(job_id="plain", max_tokens=5))
    events = reader.wait("job")
    tokens = [token for delta in deltas(events) for token in delta.token_ids]
    assert told(events) == [word_of(token, 2) for token in tokens]
    assert len(tokens) == 5
    assert not told(reader.wait("plain"))
    assert reader.text("job") == reader.text("plain") == answer("hello", 1, 5)


def test_the_end_token_is_told_with_the_end(engine: Engine, reader: Reader) -> None:
    engine.submit(sequence(f"{SAY}ab", logprobs=0))
    *_, end = reader.wait("job")
    assert isinstance(end, Finished)
    assert end.last == TokenLogprob(b"\0", invented(1 << 16, 0).logprob)
    assert [one.token for one in told(reader.wait("job"))] == [b"a", b"b"]


@pytest.mark.parametrize(("stop", "shown"), [("cd", "ab"), ("xy", "abcx")])
def test_a_token_whose_text_is_held_back_is_told_with_the_text(
    engine: Engine, reader: Reader, stop: str, shown: str
) -> None:
    script = "abcd" if stop == "cd" else "abcx"
    engine.submit(sequence(f"{SAY}{script}", logprobs=0, stop=(stop,)))
    events = reader.wait("job")
    assert reader.text("job") == shown
    assert b"".join(one.token for one in told(events)) == shown.encode()


def test_thinking_and_marks_are_among_the_tokens(engine: Engine, reader: Reader) -> None:
    job = chat_job(f"{SAY}<think>hm</think>Yes.", max_tokens=100, logprobs=0)
    engine.submit(Sequence(job.model_copy(update={"form": OutputFormat(separate=True)})))
    events = reader.wait("job")
    assert "".join(delta.reasoning for delta in deltas(events)) == "hm"
    assert b"".join(one.token for one in told(events)) == b"<think>hm</think>Yes."
    for delta in deltas(events):
        assert len(delta.logprobs) == len(delta.token_ids)


@pytest.mark.parametrize("most", [0, 3])
def test_an_echo_comes_first_with_the_prompts_own(
    engine: Engine, reader: Reader, most: int
) -> None:
    engine.submit(Sequence(echoing("abc", max_tokens=most, logprobs=1, prompt_logprobs=1)))
    events = reader.wait("job")
    first, *others = deltas(events)
    a, b, c = b"abc"
    assert (first.text, first.token_ids) == ("abc", ())
    assert first.prompt == (TokenLogprob(bytes([a]), None), byte_of(b, 1), byte_of(c, 1))
    assert len([token for delta in others for token in delta.token_ids]) == most
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.finish_reason, end.usage.completion_tokens) == ("length", most)
    assert end.usage.prompt_tokens == 3


@pytest.mark.parametrize("most", [0, 3])
def test_an_echo_alone_has_the_text_alone(engine: Engine, reader: Reader, most: int) -> None:
    engine.submit(Sequence(echoing("abc", max_tokens=most)))
    first, *others = deltas(reader.wait("job"))
    assert first == Delta("abc", (), prompt=())
    assert len(others) == most


def test_a_prompt_that_an_earlier_worker_echoed_is_not_echoed_again(
    engine: Engine, reader: Reader
) -> None:
    job = echoing("abc", max_tokens=3, logprobs=1, prompt_logprobs=1)
    engine.submit(Sequence(job, echoed=True))
    events = reader.wait("job")
    assert [delta.prompt for delta in deltas(events)] == [None] * 3
    done = echoing("abc", job_id="done", max_tokens=0, prompt_logprobs=1)
    engine.submit(Sequence(done, echoed=True))
    assert [type(event) for event in reader.wait("done")] == [Finished]


def test_a_prompt_with_too_many_is_refused_by_name(engine: Engine, reader: Reader) -> None:
    most = MOST_PROMPT_VALUES // 100
    engine.submit(Sequence(echoing("a" * (most + 1), max_tokens=0, prompt_logprobs=99)))
    end = reader.wait("job")[-1]
    assert isinstance(end, Failed)
    assert (end.code, end.param) == ("unsupported", "logprobs")
    assert f"may have {most} tokens; this one has {most + 1}" in end.message


def test_merged_deltas_keep_theirs_and_an_echo_stays_by_itself() -> None:
    chat = sequence()
    prompt_of_it = Delta("p", (), prompt=())
    first, second = (
        Delta(text, (token,), logprobs=(word_of(token, 0),)) for text, token in (("a", 1), ("b", 2))
    )
    assert merged([(chat, prompt_of_it), (chat, first), (chat, second)]) == [
        (chat, prompt_of_it),
        (
            chat,
            Delta(
                "ab",
                (1, 2),
                pieces=first.cuts + second.cuts,
                logprobs=(word_of(1, 0), word_of(2, 0)),
            ),
        ),
    ]


@pytest.mark.parametrize("stop", [(), ("never",)])
def test_a_line_of_a_batch_has_them_in_its_result(lanes: Lanes, stop: tuple[str, ...]) -> None:
    line = prompt("x", max_tokens=4, logprobs=2, stop=stop)
    lanes.submit(line)
    lanes.turns(20)
    (result,) = lanes.results.wait(1)
    assert [one.token.decode() for one in result.logprobs] == [
        f"{word} " for word in result.text.split()
    ]
    assert result.logprobs == tuple(word_of(token, 2) for token in line.generated)


@pytest.mark.parametrize("most", [0, 2])
@pytest.mark.parametrize("likeliest", [None, 1])
def test_a_line_that_echoes_has_its_prompt_in_the_result(
    lanes: Lanes, most: int, likeliest: int | None
) -> None:
    asked = {"logprobs": likeliest, "prompt_logprobs": likeliest}
    line = prompt("ab", max_tokens=most, **asked)
    line.job = line.job.model_copy(update={"form": ECHO})
    lanes.submit(line)
    lanes.turns(20)
    (result,) = lanes.results.wait(1)
    assert result.prompt == "ab"
    expected = (TokenLogprob(b"a", None), byte_of(ord("b"), 1)) if likeliest else ()
    assert result.prompt_logprobs == expected
    assert len(result.logprobs) == (most if likeliest else 0)
    assert result.finish_reason == "length"


@pytest.mark.parametrize(
    ("logprob", "written"),
    [
        (-1.23456789, -1.234568),
        (-1e-9, 0.0),
        (float("-inf"), LEAST_LOGPROB),
        (float("nan"), LEAST_LOGPROB),
    ],
)
def test_what_is_written_down_is_a_number_of_json(logprob: float, written: float) -> None:
    assert str(bounded(logprob)) == str(written)


def test_likeliest_tokens_have_bytes_in_their_place() -> None:
    class Writer:
        def token_bytes(self, token: int, before: Any, *, of_prompt: bool = False) -> bytes:
            return f"{list(before)}{token}{of_prompt}".encode()

    one = Measured(-1.0, ((4, -0.5),)).with_bytes(3, Writer(), [1, 2])
    assert one == TokenLogprob(b"[1, 2]3False", -1.0, (Alternative(b"[1, 2]4False", -0.5),))
