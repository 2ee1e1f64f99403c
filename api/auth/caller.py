"""Who asks: the owner under whose name a request's jobs are kept.

Knows nothing of how a caller proves who it is; what let the request in has noted it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from wire.keys import EVERYONE


@dataclass(frozen=True, slots=True)
class Caller:
    """One who may ask. ``owner`` is the name of its API key, which its jobs carry, or EVERYONE
    without keys."""

    owner: str


ANYONE = Caller(EVERYONE)
"""The caller of every request while there are no API keys."""


async def _caller(request: Request) -> Caller:
    caller: Caller = request.scope.get("caller", ANYONE)
    return caller


CallerOf = Annotated[Caller, Depends(_caller)]
