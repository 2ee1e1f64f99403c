"""Names of hosts that an operator lists: exact ones, and all below one (``*.example.com``).

Looks nothing up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from wire.settings import BadSetting

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_BELOW = re.compile(rf"\*(\.{_LABEL})+")
_ADDRESS_OR_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*|[0-9a-f:.]+")


class HostNames:
    """A set of names and patterns. A pattern matches every name below it, not itself."""

    def __init__(self, names: Iterable[str] = (), setting: str = "") -> None:
        """Raises BadSetting, which names the ``setting``, for what is neither."""
        self._exact: set[str] = set()
        self._below: list[str] = []
        for name in names:
            plain = name.lower().removesuffix(".")
            if _BELOW.fullmatch(plain):
                self._below.append(plain[1:])
            elif setting and _ADDRESS_OR_NAME.fullmatch(plain) is None:
                raise BadSetting(f"{setting}: {name!r} is not a host name or *. before one")
            else:
                self._exact.add(plain)

    def __bool__(self) -> bool:
        return bool(self._exact or self._below)

    def __contains__(self, name: str) -> bool:
        plain = name.lower().removesuffix(".")
        return plain in self._exact or any(
            plain.endswith(end) and len(plain) > len(end) for end in self._below
        )
