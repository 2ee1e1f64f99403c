"""The caller of a request: the owner under whose name its jobs are kept.

Knows nothing of authentication; the middleware sets the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from wire.access.api_keys import ROLES, Role
from wire.keys import EVERYONE


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request. ``owner`` is the name of its API key, or EVERYONE without keys."""

    owner: str
    roles: tuple[Role, ...] = ROLES

    @property
    def sees_others(self) -> bool:
        """Whether it may see what other callers do."""
        return "admin" in self.roles


ANYONE = Caller(EVERYONE)
"""The caller of every request while there are no API keys."""


async def _caller(request: Request) -> Caller:
    caller: Caller = request.scope.get("caller", ANYONE)
    return caller


CallerOf = Annotated[Caller, Depends(_caller)]
