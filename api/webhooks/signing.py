"""Signatures of Standard Webhooks, as OpenAI signs: HMAC-SHA256 over id, time and body."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

PREFIX = "whsec_"


def new_secret() -> str:
    """A secret of 256 random bits, as receivers get it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signed(webhook_id: str, timestamp: int, body: bytes, secret: str) -> dict[str, str]:
    """The headers of a delivery. ``timestamp`` is in seconds since the epoch, that of the try."""
    content = f"{webhook_id}.{timestamp}.".encode() + body
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }
