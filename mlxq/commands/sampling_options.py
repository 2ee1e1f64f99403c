"""The options of a command that stand for fields of a chat: its sampling, and its priority."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from mlxq.commands.inputs import checked_text, number_option
from mlxq.errors import WrongUse
from wire.models.reasoning_effort import EFFORTS

Fields = Mapping[str, Any]
NOTHING_SET: Fields = {}
Number = float | None
Whole = int | None


PRIORITIES = ("low", "normal", "high")


def _one_of(option: str, words: tuple[str, ...]) -> Callable[[str | None], str | None]:
    def check(value: str | None) -> str | None:
        if value is not None and value not in words:
            raise WrongUse(f"{option}: one of {', '.join(words)} is needed")
        return value

    return check


def _number(text: str) -> Any:
    return Annotated[Number, typer.Option(help=text, callback=number_option)]


def _whole(text: str) -> Any:
    return Annotated[Whole, typer.Option(help=text)]


_OPTIONS: dict[str, Any] = {
    "temperature": _number("0 to 2; 0 always takes the likeliest token."),
    "max_tokens": _whole("Most tokens of the answer; -1: what the context leaves."),
    "top_p": _number("0 to 1."),
    "top_k": _whole("Choose among this many tokens; 0: among all."),
    "min_p": _number("0 to 1: least probability, as a share of the likeliest token's."),
    "repetition_penalty": _number("0 to 5; 0 and 1 are off."),
    "repetition_context_size": _whole("How many of the last tokens that penalty looks at."),
    "presence_penalty": _number("-2 to 2."),
    "frequency_penalty": _number("-2 to 2."),
    "xtc_probability": _number("0 to 1: how often the likeliest tokens are left out."),
    "xtc_threshold": _number("0 to 0.5: which tokens are likely enough for that."),
    "logit_bias": Annotated[
        list[str] | None,
        typer.Option(metavar="ID=BIAS", help="-100 to 100 for a token id; may be repeated."),
    ],
    "stop": Annotated[
        list[str] | None, typer.Option(help="A text that ends the answer; may be repeated.")
    ],
    "stop_token_ids": Annotated[
        list[int] | None,
        typer.Option("--stop-token-id", help="A token that ends the answer; may be repeated."),
    ],
    "min_tokens": _whole("Fewest tokens before the answer may end."),
    "ignore_eos": Annotated[
        bool | None, typer.Option("--ignore-eos", help="Go on to the limit of tokens.")
    ],
    "seed": _whole("The same seed gives the same answer."),
    "reasoning_effort": Annotated[
        str | None,
        typer.Option(
            "--effort",
            metavar="|".join(EFFORTS),
            help="How much the model thinks, where it has a say in that.",
            callback=_one_of("--effort", EFFORTS),
        ),
    ],
    "priority": Annotated[
        str | None,
        typer.Option(
            metavar="|".join(PRIORITIES),
            help="Which waiting chats go first.",
            callback=_one_of("--priority", PRIORITIES),
        ),
    ],
    "max_queue_s": _number("Seconds to wait in the queue at most."),
}


def takes_sampling(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the sampling options. Its parameter ``sampling`` gets the fields that are
    set."""
    before = inspect.signature(command, eval_str=True)
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in _OPTIONS.items()
    ]
    others = [parameter for name, parameter in before.parameters.items() if name != "sampling"]

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        sampling = {name: given.pop(name) for name in _OPTIONS}
        command(**given, sampling=request_fields(sampling))

    # Typer reads both: the parameters from the one, their types from the other.
    parameters = [*others, *options]
    with_options.__signature__ = before.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {one.name: one.annotation for one in parameters}
    return with_options


def request_fields(options: Fields) -> Fields:
    """The fields of a request for the options that are set. Raises WrongUse."""
    fields = {name: value for name, value in options.items() if value not in (None, [])}
    for text in fields.get("stop", ()):
        checked_text(text, "--stop")
    if "logit_bias" in fields:
        pairs = list(map(_bias, fields["logit_bias"]))
        fields["logit_bias"] = dict(pairs)
        if len(fields["logit_bias"]) < len(pairs):
            raise WrongUse("--logit-bias: a token id is given twice")
    return fields


def _bias(text: str) -> tuple[str, float]:
    token, _, bias = text.partition("=")
    try:
        value = float(bias)
    except ValueError:
        value = math.nan
    if not (token.isascii() and token.isdigit() and math.isfinite(value)):
        raise WrongUse("--logit-bias: a token id and a number are needed, such as 17=-100")
    return token, value
