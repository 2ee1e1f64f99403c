"""Where answers end, on the echo backend: for the API's tests, and as the engine writes it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.chats import Reader, chat_job, sequence
from tests.support.lanes import Lanes, prompt
from wire.messages import Delta, Failed, Finished, OutputFormat
from worker.backends.echo import answer, word
from worker.backends.echo_script import FIRST, SAY, VOCABULARY, say_in
from worker.engine.engine import Engine
from worker.sequence import Sequence

CLOCK = {"type": "function", "function": {"name": "clock"}}
WRITTEN = '{"name": "clock", END and more'
HALF_A_CALL = f"{say_in('llama')}{WRITTEN}"
WORDS = [word(list(b"user:hello\n"), 1, i) for i in range(20)]


def ended(engine: Engine, reader: Reader, text: str = "hello", **given: Any) -> tuple[str, Any]:
    engine.submit(sequence(text, **given))
    return reader.text("job"), reader.wait("job")[-1]


def test_a_stop_token_ends_a_chat_and_is_named(engine: Engine, reader: Reader) -> None:
    text, end = ended(engine, reader, stop_token_ids=(9999, WORDS[3]))
    assert text == answer("hello", 1, 3)
    assert (end.finish_reason, end.stop_reason) == ("stop", WORDS[3])
    assert end.usage.completion_tokens == 4


def test_a_stop_token_is_held_back(engine: Engine, reader: Reader) -> None:
    held = (WORDS[1], WORDS[1] + 1)
    text, end = ended(engine, reader, stop_token_ids=held, min_tokens=2)
    assert text.split()[:3] == [f"w{WORDS[0]}", f"w{WORDS[1] + 2}", f"w{WORDS[2]}"]
    assert (end.finish_reason, end.stop_reason) == ("length", None)


def test_a_stop_text_counts_after_min_tokens(engine: Engine, reader: Reader) -> None:
    text, end = ended(engine, reader, stop=("w",), min_tokens=5)
    assert text == answer("hello", 1, 5)
    assert (end.finish_reason, end.stop_reason) == ("stop", "w")


@pytest.mark.parametrize(
    ("given", "said", "reason"),
    [
        ({}, "Hi", "stop"),
        ({"min_tokens": 5}, "Hi...", "stop"),
        ({"ignore_eos": True, "max_tokens": 6}, "Hi....", "length"),
        ({"stop": ("i",), "min_tokens": 1}, "H", "stop"),
        ({"stop": ("i",), "min_tokens": 2}, "Hi", "stop"),
        ({"stop_token_ids": (FIRST + ord("i"),)}, "H", "stop"),
    ],
)
def test_a_script_ends_where_a_model_would(
    engine: Engine, reader: Reader, given: dict[str, Any], said: str, reason: str
) -> None:
    text, end = ended(engine, reader, f"{SAY}Hi", **given)
    assert (text, end.finish_reason) == (said, reason)


def test_a_stop_text_in_what_was_held_back_ends_an_answer_at_its_limit(
    engine: Engine, reader: Reader
) -> None:
    """Until its limit the text may have been a call of a tool."""
    form = OutputFormat(separate=True, tools=(CLOCK,))
    job = chat_job(HALF_A_CALL, max_tokens=len(WRITTEN), stop=("END",))
    engine.submit(Sequence(job.model_copy(update={"form": form})))
    assert reader.text("job") == '{"name": "clock", '
    end = reader.wait("job")[-1]
    assert isinstance(end, Finished)
    assert (end.finish_reason, end.stop_reason) == ("stop", "END")


def test_a_batchs_line_ends_at_a_stop_text_in_what_was_held_back() -> None:
    lanes = Lanes()
    line = prompt(HALF_A_CALL, max_tokens=len(WRITTEN), stop=("END",))
    form = OutputFormat(separate=True, tools=(CLOCK,))
    line.job = line.job.model_copy(update={"form": form})
    lanes.submit(line)
    lanes.turns(len(WRITTEN) + 10)
    [result] = lanes.results.wait(1)
    lanes.close()
    assert (result.text, result.finish_reason, result.stop_reason) == (
        '{"name": "clock", ',
        "stop",
        "END",
    )


def test_an_answer_goes_on_after_a_crash_to_the_same_end(engine: Engine, reader: Reader) -> None:
    given = {"stop": ("w",), "stop_token_ids": (WORDS[2],), "min_tokens": 6, "max_tokens": 12}
    whole, end = ended(engine, reader, **given)
    events = [event for event in reader.events["job"] if isinstance(event, Delta)]
    tokens = [token for event in events for token in event.token_ids]
    engine.submit(Sequence(chat_job(job_id="again", **given), emitted=tuple(tokens[:4])))
    before = "".join(f"w{token} " for token in tokens[:4])
    assert before + reader.text("again") == whole
    again = reader.wait("again")[-1]
    assert isinstance(again, Finished)
    assert (again.finish_reason, again.stop_reason, again.usage.completion_tokens) == (
        end.finish_reason,
        end.stop_reason,
        end.usage.completion_tokens,
    )


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"logit_bias": ((VOCABULARY, 1.0),)}, "logit_bias"),
        ({"stop_token_ids": (-1,)}, "stop_token_ids"),
    ],
)
def test_unknown_ids_fail_their_chat_or_line_by_name(
    engine: Engine, reader: Reader, given: dict[str, Any], field: str
) -> None:
    engine.submit(sequence(job_id="good"))
    _, end = ended(engine, reader, **given)
    assert isinstance(end, Failed)
    assert (end.code, end.param) == ("invalid_request", field)
    assert end.message.startswith(f"{field}: ")
    assert reader.text("good") == answer("hello", 1, 8)


def test_a_batchs_line_has_the_same_ends() -> None:
    lanes = Lanes()
    settings: tuple[dict[str, Any], ...] = (
        {"stop_token_ids": (WORDS[3],)},
        {"logit_bias": ((-1, 1.0),)},
        {},
    )
    lanes.submit(
        *(prompt("hello", number, seed=1, **given) for number, given in enumerate(settings, 1))
    )
    lanes.turns(20)
    found = {one.line.number: one.result() for one in lanes.results.ended}
    lanes.close()
    assert (found[1].text, found[1].stop_reason) == (answer("hello", 1, 3), WORDS[3])
    assert found[2].error is not None
    assert (found[2].error[0], found[2].param) == ("invalid_request", "logit_bias")
    assert (found[3].text, found[3].stop_reason) == (answer("hello", 1, 8), None)
