"""``mlxq chat``: one question and its answer, or a conversation when a person is at the
terminal."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mlxq.chat_client import Answer, Frame, stopped_by_ctrl_c
from mlxq.commands.inputs import number_option, piped_text, text_option
from mlxq.errors import DONE, FAILED, INTERRUPTED, Problem, WrongUse
from mlxq.http_client import MODEL_FIELDS, AsJson, Client, Url, complete_model, connect, interactive
from mlxq.output import clean, note, show_json

IMAGE_LIMIT = 20_000_000
_HERE, _BACK = "\x1b7", "\x1b8\x1b[J"
_HEADS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}


def chat(
    context: typer.Context,
    prompt: Annotated[
        str | None,
        typer.Argument(
            help=(
                "The question; - reads it from standard input. Text piped in beside it follows "
                "after a blank line."
            ),
            callback=text_option,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Id or name; by default the model used last.",
            autocompletion=complete_model,
            callback=text_option,
        ),
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", "-s", help="System prompt.", callback=text_option)
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option("--image", "-i", help="A PNG, JPEG, WebP or GIF file; may be repeated."),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="0 to 2; 0 always takes the likeliest token.", callback=number_option),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens of the answer.")] = None,
    top_p: Annotated[float | None, typer.Option(help="0 to 1.", callback=number_option)] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="0 to 5; 0 and 1 are off.", callback=number_option)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Ask a model, with a prompt, standard input, or in a conversation on a terminal."""
    sampling = {
        "temperature": temperature,
        "max_tokens": max_tokens,
        "top_p": top_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
    }
    given = {name: value for name, value in sampling.items() if value is not None}
    pictures = [image_part(path) for path in image or ()]
    question = asked(prompt, talks=not as_json)
    messages = [{"role": "system", "content": system}] if system else []
    with connect(context, url) as client:
        body = {
            "model_id": model or usual_model(client, vision=bool(pictures)),
            **given,
            "messages": messages,
        }
        if question is None:
            from mlxq.commands.conversation import Conversation

            Conversation(client, body, pictures).run()
            return
        messages.append(user_message(question, pictures))
        raise typer.Exit(_once(client, body, as_json))


def asked(prompt: str | None, talks: bool) -> str | None:
    """The question: the argument, standard input, or the argument and behind a blank line what was
    piped in.

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


def image_part(path: Path) -> dict[str, Any]:
    """An image file as the part of a message. Raises WrongUse for what the service would refuse."""
    try:
        with path.open("rb") as file:
            data = file.read(IMAGE_LIMIT)  # Some files have no end: /dev/zero.
    except OSError as error:
        raise WrongUse(f"cannot read the image {path}: {error.strerror}") from None
    except ValueError:  # a NUL character
        raise WrongUse(f"cannot read the image {path}: that is not the name of a file") from None
    kind = next((kind for head, kind in _HEADS.items() if data.startswith(head)), None)
    if kind is None:
        raise WrongUse(f"{path} is not a PNG, JPEG, WebP or GIF image")
    if len(data) >= IMAGE_LIMIT:
        raise WrongUse(f"{path} is too large: an image must be under 20 MB")
    return {
        "type": "image_url",
        "image_url": {"url": f"data:image/{kind};base64,{base64.b64encode(data).decode()}"},
    }


def user_message(text: str, pictures: list[dict[str, Any]]) -> dict[str, Any]:
    """What the user says; plain where there are no pictures."""
    return {
        "role": "user",
        "content": [{"type": "text", "text": text}, *pictures] if pictures else text,
    }


def usual_model(client: Client, vision: bool) -> str:
    """The model used last, or the first one there is; one that sees when there are pictures.
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


class Screen:
    """An answer as it comes: text on standard output, what happens meanwhile on the error
    stream."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        # Control characters are for terminals to fear; a file gets the text as it is.
        self._terminal = sys.stdout.isatty()
        self._tells = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not quiet
        self._status = ""
        self._at_start = True

    def show(self, frame: Frame) -> None:
        if "progress" in frame:
            self.status(_told(frame["progress"]))
        if "warning" in frame:
            self.status("")
            note(f"warning: {frame['warning']}")
        text = str(frame["text"])
        if text and not self._quiet:
            self.status("")
            print(clean(text) if self._terminal else text, end="", flush=True)
            self._at_start = text.endswith("\n")

    def status(self, text: str) -> None:
        """Replace what is said behind the text about what is waited for; an empty one takes it
        away."""
        if self._tells and text != self._status:
            # The place where the text ends is kept in the terminal while something stands behind
            # it.
            back = _BACK if self._status else ""
            print(
                f"{back}{_HERE}{clean(text)}" if text else back, end="", file=sys.stderr, flush=True
            )
            self._status = text

    def end_line(self) -> None:
        self.status("")
        if not self._quiet and not self._at_start:
            print(flush=True)
            self._at_start = True


def _told(progress: dict[str, Any]) -> str:
    state = progress.get("state")
    if state == "queued":
        return f"waiting: place {progress.get('position')} in the queue"
    if state == "suspended":
        return "waiting: the queue is suspended"
    if state == "no_worker":
        return "waiting: no worker answers"
    if state == "loading":
        return "loading the model"
    return f"reading the prompt: {progress.get('done', 0)} of {progress.get('total', 0)} tokens"


def read(answer: Answer, screen: Screen) -> None:
    """Show an answer to its end; Ctrl-C stops the chat and what came so far is kept."""
    with stopped_by_ctrl_c(answer, lambda: screen.status("stopping; Ctrl-C again leaves at once")):
        for frame in answer.frames():
            screen.show(frame)
    screen.end_line()


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
        told = {name: value for name, value in answer.end.items() if name not in ("text", "done")}
        show_json(
            {"job_id": answer.job_id, "model_id": body["model_id"], "text": answer.text} | told
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
