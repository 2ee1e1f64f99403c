"""Thinking that a client carries from one request to the next without reading it.

``reasoning.encrypted_content`` is how clients without a store on the server keep it. Here it is an
encoding, not a cipher: the thinking is the client's own model's.
"""

from __future__ import annotations

import base64
import binascii

from api.schemas import whole

_OURS = "mlxq."


def sealed(text: str) -> str:
    """A thinking as ``encrypted_content``."""
    return _OURS + base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")


def opened(content: str | None) -> str | None:
    """The thinking in an ``encrypted_content``; None for what another service made."""
    if content is None or not content.startswith(_OURS):
        return None
    try:
        return whole(base64.b64decode(content.removeprefix(_OURS), validate=True).decode())
    except (binascii.Error, ValueError):
        return None
