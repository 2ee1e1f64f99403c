"""Shared by the tests of the command line: a fake service behind the HTTP client, and a function
that runs a command."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx2
from typer.testing import CliRunner, Result

from mlxq.cli import app
from mlxq.connect.agents import AGENTS

Answer = Callable[[httpx2.Request], httpx2.Response]
MODEL = {
    "id": "m1",
    "name": "Tiny",
    "path": "/models/tiny",
    "size": 3 << 20,
    "architecture": "llama",
    "context_window": 2048,
    "is_vision": False,
    "downloaded": True,
    "downloading": False,
    "download_progress": 1.0,
    "loaded": True,
    "kv_quantization": None,
}


class FakeService(httpx2.BaseTransport):
    """Answers by method and path: with JSON, with the result of a function of the request, or with
    the items of an iterator in turn."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {
            "GET /api/engine/models": [MODEL],
        } | answers
        self.requests: list[httpx2.Request] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.get(f"{request.method} {request.url.path}")
        if isinstance(answer, Iterator):
            answer = next(answer)
        if callable(answer):
            answer = answer(request)
        if answer is None:
            return refusal(404, "not_found", "There is nothing at this address.")
        return answer if isinstance(answer, httpx2.Response) else httpx2.Response(200, json=answer)

    def sent(self, path: str) -> list[Any]:
        """The JSON bodies received at a path."""
        return [json.loads(r.content or b"null") for r in self.requests if r.url.path == path]


def refusal(status: int, code: str, detail: str, **headers: str) -> httpx2.Response:
    return httpx2.Response(
        status, json={"detail": detail, "code": code, "errors": []}, headers=headers
    )


class Broken(httpx2.SyncByteStream):
    """A body that ends with a broken connection."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        raise httpx2.ReadError("gone")


def frame(number: int, **fields: Any) -> bytes:
    return f"id: {number}\ndata: {json.dumps({'text': '', 'done': False} | fields)}\n\n".encode()


def events(*frames: bytes, breaks: bool = False) -> httpx2.Response:
    """A stream of frames of job ``j1``."""
    headers = {"Content-Type": "text/event-stream", "X-Job-Id": "j1"}
    pieces = [b": queued\n\n", *frames]
    if breaks:
        return httpx2.Response(200, headers=headers, stream=Broken(pieces))
    return httpx2.Response(200, headers=headers, content=b"".join(pieces))


def end(number: int, reason: str = "stop", **fields: Any) -> bytes:
    return frame(
        number, done=True, finish_reason=reason, usage={"completion_tokens": number - 1}, **fields
    )


def mlxq(service: httpx2.BaseTransport, *arguments: str, stdin: str = "") -> Result:
    return CliRunner(env={"MLXQ_URL": None, "MLXQ_API_KEY": None}).invoke(
        app, list(arguments), input=stdin, obj=service, prog_name="mlxq"
    )


# --- `mlxq connect --write` ------------------------------------------------------------------------

KEY = "ann-0123456789abcdef"
BIG = MODEL | {"name": "Big 7B", "context_window": 131072, "takes_tools": True}
FOLDERS = ("CODEX_HOME", "CLAUDE_CONFIG_DIR", "XDG_CONFIG_HOME", "CONTINUE_GLOBAL_DIR")


def connect_write(name: str, *options: str, key: str | None = None, model: Any = BIG) -> Result:
    runner = CliRunner(env={"MLXQ_URL": None, "MLXQ_API_KEY": key})
    service = FakeService(**{"GET /api/engine/models": [model]})
    return runner.invoke(app, ["connect", name, "--write", *options], obj=service, prog_name="mlxq")


def put(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    path.chmod(mode)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def first_file(home: Path, name: str) -> Path:
    """A program's first file of settings."""
    [file, *_] = next(agent for agent in AGENTS if agent.name == name).files
    return home / file.shown_path.removeprefix("~/")
