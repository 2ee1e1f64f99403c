"""The option ``--key`` of every command, and the options that may stand before the command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, cast

import typer

from wire.settings import API_KEY_VARIABLE

URL_GIVEN, KEY_GIVEN = "mlxq.url", "mlxq.key"
"""Where a command's context keeps what was given, before the command or behind it."""
Command = TypeVar("Command", bound=Callable[..., Any])


def _keep_key(context: typer.Context, value: str | None) -> str | None:
    if value is not None:
        context.meta[KEY_GIVEN] = value
    return value


def keep_url(context: typer.Context, value: str | None) -> str | None:
    """The callback of ``--url`` before the command."""
    if value is not None:
        context.meta[URL_GIVEN] = value
    return value


Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="KEY",
        callback=_keep_key,
        help=f"API key; others on this machine can see it, unlike {API_KEY_VARIABLE}.",
    ),
]


def with_key(command: Command) -> Command:
    """The command with the option ``--key``, which :func:`mlxq.http_client.connect` reads."""
    before = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def with_option(*given: Any, **named: Any) -> Any:
        named.pop("key", None)
        return command(*given, **named)

    key = inspect.Parameter("key", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Key)
    parameters = [*before.parameters.values(), key]
    # Typer reads both: the parameters from the one, their types from the other.
    with_option.__signature__ = before.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_option.__annotations__ = {one.name: one.annotation for one in parameters}
    return cast(Command, with_option)
