"""Which texts prescribe the echo backend's answers."""

from __future__ import annotations

import pytest

from tests.support.chats import chat_job
from wire.messages import ChatJob, Message, OutputFormat
from worker.backends.echo_script import SAY, format_name, say_in, script_of


@pytest.mark.parametrize(
    ("messages", "script"),
    [
        (("user:hello",), None),
        ((f"user:hello {SAY}no",), None),
        ((f"user:{SAY}Yes.",), "Yes."),
        ((f"user:{SAY}Yes.\n{SAY}", f"assistant:{SAY}no", "user:hello"), None),
        ((f"user:<reminder>Now.</reminder>\n\n{SAY}Yes.\nAll.",), "Yes.\nAll."),
        ((f"user:{SAY}no", f"tool:Exit code: 0\nOutput:\n{SAY}Yes.\n"), "Yes.\n"),
        ((f"user:{SAY}Yes.", f"system:{SAY}no"), "Yes."),
        ((f"system:{SAY}Yes.",), "Yes."),
        ((f"user:{say_in('llama')}Yes.",), "Yes."),
        (("user:please say\nplease sayings",), None),
    ],
)
def test_a_line_of_the_last_turn_prescribes_what_follows_it(
    messages: tuple[str, ...], script: str | None
) -> None:
    assert script_of(job(*messages)) == script


def test_an_answer_that_goes_on_says_the_rest() -> None:
    asked = job(f"user:{SAY}One two three.", "assistant:One two")
    going_on = asked.model_copy(update={"form": OutputFormat(continue_final=True)})
    assert script_of(going_on) == " three."


def test_a_format_is_named() -> None:
    assert format_name(job(f"user:Hm.\n{say_in('llama')}x")) == "llama"
    assert format_name(job(f"user:{SAY}x")) is None
    assert format_name(job("user:x")) is None


def job(*texts: str) -> ChatJob:
    """A chat with these messages, each written as its role and its text."""
    pairs = (text.split(":", 1) for text in texts)
    messages = tuple(Message(role=role, content=content) for role, content in pairs)  # type: ignore[arg-type]
    return chat_job().model_copy(update={"messages": messages})
