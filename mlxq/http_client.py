"""The service over HTTP: JSON calls and open responses; each failure is a Problem with one line.

Knows addresses, the key and the form of errors, not the commands.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Protocol
from urllib.parse import urlsplit

import typer

from mlxq.errors import ConnectionLost, NoService, Refused, WrongUse
from mlxq.key_option import KEY_GIVEN, URL_GIVEN
from wire.settings import API_KEY_VARIABLE, URL_VARIABLE

MODELS = "/api/engine/models"
DEFAULT_URL = "http://127.0.0.1:8000"
CONNECT_S = 5.0
ANSWER_S = 60.0
"""Longest silence of an answer. A stream's is shorter: it is never silent for longer than its
keep-alive."""
COMMAND_S = 1800.0
"""A model command answers when it is done, and large models take minutes to load."""
MODEL_FIELDS = (
    *(
        "id",
        "name",
        "path",
        "size",
        "architecture",
        "context_window",
        "is_vision",
        "downloaded",
        "downloading",
    ),
    *("download_progress", "loaded", "kv_quantization"),
)
"""What commands read of a model."""
_LIST = "`mlxq list` lists those there are"
LIST_HINT = f": {_LIST}"
"""What a refusal ends with when a model isn't there."""
_HINTS = {
    "model_not_found": _LIST,
    "no_worker": "`mlxq doctor` says more",
    "redis_unavailable": "`mlxq doctor` says more",
    "unauthorized": f"set {API_KEY_VARIABLE} to one of the service's keys",
}

Url = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help=f"Address of the service ({URL_VARIABLE}; {DEFAULT_URL})."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def whole_url(text: str) -> str:
    """The address with a scheme and no trailing slash. Raises WrongUse for an invalid one."""
    url = text.strip().rstrip("/")
    url = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(url)
        usable = (
            parts.scheme in ("http", "https")
            and parts.hostname
            and parts.port != 0
            and url.isprintable()
        )
    except ValueError:
        usable = False
    if not usable:
        raise _no_address(text)
    return url


def _no_address(text: str) -> WrongUse:
    return WrongUse(f"{text!r} is not the address of a service: write it like {DEFAULT_URL}")


def _has(value: object, names: Collection[str]) -> bool:
    return isinstance(value, dict) and all(name in value for name in names)


def _json_body(value: object) -> bytes:
    """A request's body. Raises WrongUse for a value that JSON can't hold."""
    try:
        return json.dumps(
            value, ensure_ascii=False, separators=(",", ":"), allow_nan=False
        ).encode()
    except ValueError:  # UnicodeEncodeError among them
        raise WrongUse(
            "the request holds text that is not UTF-8, or a number that JSON can't hold"
        ) from None


class Response(Protocol):
    """What commands use of an ``httpx2.Response``; httpx2 is imported when a request is sent."""

    status_code: int

    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...
    def read(self) -> bytes: ...
    def iter_lines(self) -> Iterator[str]: ...


class Client:
    """The service at a URL. Close it, or use it in a ``with``."""

    def __init__(self, url: str, transport: Any = None, key: str | None = None) -> None:
        import httpx2

        self.url = whole_url(url)
        source = API_KEY_VARIABLE if key is None else "--key"
        key = os.environ.get(API_KEY_VARIABLE, "") if key is None else key
        if not (key.isascii() and key.isprintable()):
            raise WrongUse(f"{source} holds characters that no key has")
        local = urlsplit(self.url).hostname in ("127.0.0.1", "::1", "localhost")
        try:
            self._http = httpx2.Client(
                base_url=self.url,
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=httpx2.Timeout(ANSWER_S, connect=CONNECT_S),
                transport=transport,
                # A proxy can't reach this machine's loopback addresses.
                trust_env=not local,
            )
        except (httpx2.InvalidURL, ValueError):  # a host name that can't be one
            raise _no_address(self.url) from None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(
        self,
        path: str,
        limit_s: float = ANSWER_S,
        *,
        fields: Collection[str] = (),
        rows: Collection[str] = (),
        **params: str | int,
    ) -> Any:
        """The JSON at a path: an object with ``fields``, or a list of objects with ``rows``.

        Raises NoService for another shape: what answers is another program.
        """
        with self.open("GET", path, limit_s, params=params) as response:
            value = self._decoded(response)
        right = not fields or _has(value, fields)
        if rows:
            right = isinstance(value, list) and all(_has(row, rows) for row in value)
        if not right:
            raise self._other_program()
        return value

    def post(
        self,
        path: str,
        body: object = None,
        limit_s: float = ANSWER_S,
        *,
        fields: Collection[str] = (),
        **more: Any,
    ) -> Any:
        """The JSON response to a JSON body, within ``limit_s``: an object, if it has ``fields``.

        Raises NoService for another shape.
        """
        content = {} if body is None else {"json": body}
        with self.open("POST", path, limit_s=limit_s, **content, **more) as response:
            value = self._decoded(response)
        if fields and not _has(value, fields):
            raise self._other_program()
        return value

    def delete(self, path: str) -> Any:
        """The JSON response to a DELETE."""
        with self.open("DELETE", path) as response:
            return self._decoded(response)

    @contextlib.contextmanager
    def open(
        self, method: str, path: str, limit_s: float = ANSWER_S, **more: Any
    ) -> Iterator[Response]:
        """A successful response, to be read inside the ``with``.

        Raises NoService, ConnectionLost and Refused.
        """
        import httpx2

        if "json" in more:
            more["content"] = _json_body(more.pop("json"))
            more["headers"] = {"Content-Type": "application/json", **more.get("headers", {})}
        timeout = httpx2.Timeout(limit_s, connect=CONNECT_S)
        try:
            with self._http.stream(method, path, timeout=timeout, **more) as response:
                if response.is_error or response.is_redirect:
                    response.read()
                    raise self._refusal(response)
                yield response
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            raise NoService(
                f"no service answers at {self.url}: start one with `mlxq serve`, "
                f"or name another address with --url or {URL_VARIABLE}"
            ) from None
        except httpx2.TransportError:
            raise ConnectionLost(
                f"the connection to {self.url} was lost: `mlxq doctor` says more"
            ) from None
        except (httpx2.InvalidURL, UnicodeEncodeError):
            raise _no_address(self.url) from None

    def _decoded(self, response: Response) -> Any:
        try:
            return json.loads(response.read())
        except ValueError:
            raise self._other_program() from None

    def _other_program(self) -> NoService:
        return NoService(
            f"what answers at {self.url} is not this service: name its address with --url"
        )

    def _refusal(self, response: Response) -> Exception:
        """What an error's body says. The OpenAI routes have another shape."""
        try:
            body = json.loads(response.content)
            if isinstance(body.get("error"), Mapping):
                body = {"detail": body["error"]["message"], "code": body["error"].get("code")}
            code, sentence = str(body["code"]), str(body["detail"])
        except (ValueError, KeyError, AttributeError, TypeError):
            return self._other_program()
        lines = [str(line) for line in body.get("errors") or ()]
        text = "; ".join([sentence.rstrip("."), *lines])
        retry = response.headers.get("Retry-After", "")
        if code in _HINTS:
            text += f": {_HINTS[code]}"
        elif retry.isdecimal():
            text += f": try again in {retry} s"
        return Refused(code, text, int(retry) if retry.isdecimal() else None)


def connect(context: typer.Context, url: str | None) -> Client:
    """The client of a command; tests pass a transport as the context's object."""
    transport = context.find_root().obj
    where = url or context.meta.get(URL_GIVEN) or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    key = context.meta.get(KEY_GIVEN)
    return Client(where, None if isinstance(transport, dict) else transport, key)


def complete_model(context: typer.Context, incomplete: str) -> list[str]:
    """Model names for shell completion; none unless the service answers within a second."""
    try:
        with (
            connect(context, context.params.get("url")) as client,
            client.open("GET", MODELS, limit_s=1.0) as response,
        ):
            names = [str(row["name"]) for row in json.loads(response.read())]
    except Exception as error:
        # Anything printed here would appear in the middle of the user's line.
        del error
        return []
    return [name for name in names if name.startswith(incomplete)]


def interactive() -> bool:
    """Whether standard input and output are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()
