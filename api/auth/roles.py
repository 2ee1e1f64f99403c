"""What the roles of a key allow: which role each address needs, to read and to change.

Knows paths and methods; what a request asks for is the routes' business.
"""

from __future__ import annotations

from collections.abc import Collection

from wire.access.api_keys import Role

READS = frozenset({"GET", "HEAD", "OPTIONS"})
_NEEDED: tuple[tuple[str, Role | None, Role | None], ...] = (
    ("/rq", "admin", "admin"),
    ("/metrics", "admin", "admin"),
    ("/api/engine/keys", "admin", "admin"),
    ("/api/engine/usage/keys", "admin", "admin"),
    ("/api/engine/usage", None, "admin"),
    ("/api/engine/status", None, "admin"),
    ("/api/engine/session", None, "admin"),
    ("/api/engine/models", None, "models"),
    ("/models", None, "models"),
    ("/v1/models", None, "models"),
    ("/api/engine", "chat", "chat"),
    ("/v1", "chat", "chat"),
)
"""Where an address begins, and the roles to read and to change what is there; None: any key. The
first that fits counts. Elsewhere are pages."""


def needed(method: str, path: str) -> Role | None:
    """The role that a request needs; None if any key will do."""
    for start, to_read, to_change in _NEEDED:
        if path == start or path.startswith(f"{start}/"):
            return to_read if method in READS else to_change
    return None


def allows(roles: Collection[Role], role: Role | None) -> bool:
    """Whether a key with these roles may do what needs one: an admin may do all."""
    return role is None or role in roles or "admin" in roles
