"""The API keys of the settings: read once at the start, kept as digests, compared in constant time.

Says, too, on which addresses one may listen without keys. Knows nothing of HTTP.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import re
import socket
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wire.access.api_keys import OWNER, ROLES, Role
from wire.keys import EVERYONE
from wire.settings import BadSetting, Settings

_log = logging.getLogger(__name__)

SHORTEST = 16
"""Characters of a key. Nothing here counts wrong tries, so a key must be too long to be guessed."""
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.\-]*://[a-z0-9.\-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?"
)
"""Of any scheme: desktop shells have their own, such as tauri://localhost."""
NO_ORIGIN = "null"
"""What browsers send for a page without an address: a file, a frame in a sandbox."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key: its owner, its SHA-256 and its roles; ``stored_id`` is that of one in Redis."""

    owner: str
    digest: bytes
    roles: tuple[Role, ...] = ROLES
    stored_id: str | None = None

    @property
    def key_id(self) -> str:
        """What stands for the key where its digest must not be shown."""
        return self.stored_id or hashlib.sha256(self.digest).hexdigest()[:32]


class ApiKeys:
    """The keys of the settings. Several may have one owner."""

    def __init__(self, known: Iterable[ApiKey] = ()) -> None:
        self._known = tuple(known)

    def __bool__(self) -> bool:
        return bool(self._known)

    def find(self, key: bytes) -> ApiKey | None:
        """The key with this value.

        All keys are compared, so that timing doesn't reveal where one differs.
        """
        digest, match = hashlib.sha256(key).digest(), None
        for one in self._known:
            if hmac.compare_digest(one.digest, digest):
                match = one
        return match

    def owners(self) -> list[str]:
        """Whose keys these are, each name once."""
        return list(dict.fromkeys(one.owner for one in self._known))

    def with_id(self, key_id: str) -> ApiKey | None:
        """The key with this id, if it is still in use."""
        return next((one for one in self._known if one.key_id == key_id), None)


def admitted(settings: Settings, *, stored: bool = False) -> ApiKeys:
    """The keys that the settings name. ``stored``: Redis has keys as well.

    Raises BadSetting, also if keys are required and there is none.
    """
    known = [*_from_variable(settings.api_keys), *_from_file(settings.api_keys_file)]
    owners: dict[bytes, str] = {}
    for one in known:
        if owners.setdefault(one.digest, one.owner) != one.owner:
            raise BadSetting(f"the keys of {owners[one.digest]} and {one.owner} are the same")
    if not known and not stored:
        _check_open(settings)
    for origin in settings.cors_origins:
        if origin != NO_ORIGIN and _ORIGIN.fullmatch(origin) is None:
            raise BadSetting(
                f"MLXQ_CORS_ORIGINS: {origin!r} is no origin such as https://chat.example"
            )
    if NO_ORIGIN in settings.cors_origins and not known and not stored:
        _log.warning(
            "MLXQ_CORS_ORIGINS allows the origin null without API keys: any web page that is open "
            "in a browser of this machine can use the service"
        )
    return ApiKeys(known)


def _check_open(settings: Settings) -> None:
    """Raises BadSetting if requests would need a key that nobody has."""
    ways = (
        "set MLXQ_API_KEYS_FILE or MLXQ_API_KEYS, or start on 127.0.0.1 once and add one with "
        "`mlxq keys add`"
    )
    if not only_this_machine(settings.host):
        raise BadSetting(f"MLXQ_HOST={settings.host!r} lets others in, and there is no key: {ways}")
    if settings.require_keys == "on":
        raise BadSetting(f"MLXQ_REQUIRE_KEYS=on, and there is no key: {ways}")


def only_this_machine(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    try:
        match = socket.getaddrinfo(
            host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError:
        return True  # It can't be listened on; the listener reports that better.
    return all(ipaddress.ip_address(str(row[4][0]).split("%")[0]).is_loopback for row in match)


def _from_variable(entries: Iterable[str]) -> list[ApiKey]:
    return [
        _key(entry, f"MLXQ_API_KEYS, entry {number}") for number, entry in enumerate(entries, 1)
    ]


def _from_file(name: str) -> list[ApiKey]:
    if not name:
        return []
    try:
        mode = Path(name).stat().st_mode
        lines = Path(name).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadSetting(f"MLXQ_API_KEYS_FILE={name!r} cannot be read: {reason}") from None
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise BadSetting(f"MLXQ_API_KEYS_FILE={name!r} is open to other users: chmod 600 it")
    known = [
        _key(line, f"MLXQ_API_KEYS_FILE={name!r}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not known:
        raise BadSetting(f"MLXQ_API_KEYS_FILE={name!r} holds no key")
    return known


def _key(entry: str, where: str) -> ApiKey:
    """Parse ``name:key`` or ``name:sha256:<hex digits>``. Errors never show the key."""
    owner, colon, secret = entry.strip().partition(":")
    if not colon or OWNER.fullmatch(owner) is None or owner == EVERYONE:
        raise BadSetting(f"{where}: write name:key, the name of letters, digits, dots and dashes")
    if (digest := _DIGEST.fullmatch(secret)) is not None:
        return ApiKey(owner, bytes.fromhex(digest[1]))
    if (
        len(secret) < SHORTEST
        or any(char.isspace() for char in secret)
        or secret.startswith("sha256:")
    ):
        raise BadSetting(f"{where}: a key has at least {SHORTEST} characters and no spaces")
    return ApiKey(owner, hashlib.sha256(secret.encode()).digest())
