"""``mlxq chat``: one question and its answer, or a conversation on a terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mlxq.chat_client import Answer
from mlxq.commands.conversation import Conversation
from mlxq.commands.inputs import piped_text, text_option
from mlxq.commands.sampling_options import NOTHING_SET, Fields, takes_sampling
from mlxq.commands.screen import Screen, read
from mlxq.commands.user_message import image_part, user_message
from mlxq.errors import DONE, FAILED, INTERRUPTED, Problem, WrongUse
from mlxq.http_client import MODEL_FIELDS, AsJson, Client, Url, complete_model, connect, interactive
from mlxq.output import note, show_json

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
        help="Id or name; by default the model used last.",
        autocompletion=complete_model,
        callback=text_option,
    ),
]
System = Annotated[
    str | None, typer.Option("--system", "-s", help="System prompt.", callback=text_option)
]
Images = Annotated[
    list[Path] | None,
    typer.Option("--image", "-i", help="A PNG, JPEG, WebP or GIF file; may be repeated."),
]


@takes_sampling
def chat(
    context: typer.Context,
    prompt: Prompt = None,
    model: Model = None,
    system: System = None,
    image: Images = None,
    sampling: Fields = NOTHING_SET,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Ask a model, with a prompt, standard input, or in a conversation on a terminal."""
    images = [image_part(path) for path in image or ()]
    question = asked(prompt, talks=not as_json)
    messages = [{"role": "system", "content": system}] if system else []
    with connect(context, url) as client:
        body = {
            "model_id": model or usual_model(client, vision=bool(images)),
            **sampling,
            "messages": messages,
        }
        if question is None:
            Conversation(client, body, images).run()
            return
        messages.append(user_message(question, images))
        raise typer.Exit(_once(client, body, as_json))


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


def usual_model(client: Client, vision: bool) -> str:
    """The model used last, or the first one there is; one that sees when there are images.
    Raises Problem."""
    active = client.get("/models/active", fields=("model",))["model"]
    ready = [row for row in client.get("/models", rows=MODEL_FIELDS) if row["downloaded"]]
    fit = [row for row in ready if row["is_vision"]] if vision else ready
    if active and any(row["id"] == active["id"] for row in fit):
        return str(active["id"])
    if not fit:
        what = "vision model" if ready else "model"
        raise Problem(
            f"there is no {what}: name a folder with `mlxq serve --models`, or `mlxq models "
            f"download`"
        )
    return str(sorted(fit, key=lambda row: (not row["loaded"], row["is_vision"]))[0]["id"])


def _once(client: Client, body: dict[str, Any], as_json: bool) -> int:
    """One question and its answer; the exit status."""
    screen = Screen(quiet=as_json)
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
        end = {name: value for name, value in answer.end.items() if name not in ("text", "done")}
        show_json(
            {"job_id": answer.job_id, "model_id": body["model_id"], "text": answer.text} | end
        )
    if "error" in answer.end:
        note(f"mlxq: {answer.end['error']}")
        return FAILED
    if answer.stopping:
        return INTERRUPTED
    if answer.end.get("finish_reason") == "cancelled":
        note("mlxq: the chat was stopped by somebody else")
        return FAILED
    return DONE
