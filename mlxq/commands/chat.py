"""``mlxq chat``: one question and its answer, or a conversation on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mlxq.chat_client import Answer
from mlxq.commands.conversation import Conversation
from mlxq.commands.inputs import piped_text, text_option
from mlxq.commands.sampling_options import NOTHING_SET, Fields, takes_sampling
from mlxq.commands.screen import Screen, read
from mlxq.commands.user_message import image_part, user_message
from mlxq.errors import DONE, FAILED, INTERRUPTED, WrongUse
from mlxq.http_client import AsJson, Client, Url, complete_model, connect, interactive
from mlxq.model_rows import default_of, find, rows_of
from mlxq.output import note, show_json

_IN_FRAMES = ("text", "reasoning", "done")
Prompt = Annotated[
    str | None,
    typer.Argument(
        help=(
            "The question; - reads it from standard input. Text piped in beside it follows "
            "after a blank line."
        ),
        callback=text_option,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Id or name; by default the default model.",
        autocompletion=complete_model,
        callback=text_option,
    ),
]
Named = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Name, repository name or id.",
        autocompletion=complete_model,
        callback=text_option,
    ),
]
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PROMPT]...",
        help="The question. Text piped in beside it follows after a blank line.",
    ),
]
System = Annotated[
    str | None, typer.Option("--system", "-s", help="System prompt.", callback=text_option)
]
Images = Annotated[
    list[Path] | None,
    typer.Option("--image", "-i", help="A PNG, JPEG, WebP or GIF file; may be repeated."),
]
Thinking = Annotated[
    bool | None,
    typer.Option(
        "--thinking/--no-thinking",
        help="Show what the model thinks, on standard error; by default on a terminal alone.",
    ),
]


@takes_sampling
def chat(
    context: typer.Context,
    prompt: Prompt = None,
    model: Model = None,
    system: System = None,
    image: Images = None,
    thinking: Thinking = None,
    sampling: Fields = NOTHING_SET,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Ask a model, with a prompt, standard input, or in a conversation on a terminal."""
    question = asked(prompt, talks=not as_json)
    with connect(context, url) as client:
        _talk(client, model, question, system, image or (), thinking, sampling, as_json)


@takes_sampling
def run(
    context: typer.Context,
    model: Named,
    prompt: Words = None,
    system: System = None,
    image: Images = None,
    thinking: Thinking = None,
    sampling: Fields = NOTHING_SET,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Talk to a model, or ask it one question: `mlxq chat` with the model first."""
    question = asked(" ".join(prompt) if prompt else None, talks=not as_json)
    with connect(context, url) as client:
        _talk(client, model, question, system, image or (), thinking, sampling, as_json)


def _talk(
    client: Client,
    model: str | None,
    question: str | None,
    system: str | None,
    image: Sequence[Path],
    thinking: bool | None,
    sampling: Fields,
    as_json: bool,
) -> None:
    """One question, or a conversation where there is none."""
    images = [image_part(path) for path in image]
    row = default_of(rows_of(client), bool(images)) if model is None else find(client, model)
    messages = [{"role": "system", "content": system}] if system else []
    body = {"model_id": row["id"], **sampling, "messages": messages}
    if question is None:
        Conversation(client, body, images, row, thinking).run()
        return
    messages.append(user_message(question, images))
    raise typer.Exit(_once(client, body, row["name"], thinking, as_json))


def asked(prompt: str | None, talks: bool) -> str | None:
    """The question: the argument, standard input, or both with a blank line between.

    None when a conversation is meant instead.
    """
    if prompt is None and talks and interactive():
        return None
    if prompt is None and sys.stdin.isatty():
        raise WrongUse('there is no prompt: write `mlxq chat "a question"`, or pipe one in')
    given = "" if prompt in (None, "-") else str(prompt)
    piped = piped_text(also_typed=prompt == "-")
    text = "\n\n".join(part for part in (given, piped.strip()) if part)
    if not text.strip():
        raise WrongUse('the prompt is empty: write `mlxq chat "a question"`, or pipe one in')
    return text


def _once(
    client: Client, body: dict[str, Any], model: str, thinking: bool | None, as_json: bool
) -> int:
    """One question and its answer; the exit status."""
    screen = Screen(quiet=as_json, thinking=thinking)
    answer = Answer(
        client, body, lost=lambda: screen.status("the connection was lost; coming back")
    )
    try:
        read(answer, screen)
    except BrokenPipeError:
        answer.stop_now()
        raise
    except BaseException:
        screen.end_line()
        raise
    if as_json:
        end = {name: value for name, value in answer.end.items() if name not in _IN_FRAMES}
        which = {"job_id": answer.job_id, "model_id": body["model_id"], "model": model}
        thought = {"reasoning": answer.reasoning} if answer.reasoning else {}
        show_json(which | {"text": answer.text} | thought | end)
    if "error" in answer.end:
        note(f"mlxq: {answer.end['error']}")
        return FAILED
    if answer.stopping:
        return INTERRUPTED
    if answer.end.get("finish_reason") == "cancelled":
        note("mlxq: the chat was stopped by somebody else")
        return FAILED
    return DONE
