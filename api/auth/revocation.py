"""Ends responses that are still being sent when the key of their request is revoked."""

from __future__ import annotations

from starlette.types import Message, Send

from api.auth.key_store import KeyStore


def until_revoked(send: Send, key_id: str, store: KeyStore) -> Send:
    """``send``, until the key is revoked: then the response ends with its next piece.

    What is sent behind that goes nowhere; the application is told that its client has gone, as
    after any end.
    """
    over = False

    async def sent(message: Message) -> None:
        nonlocal over
        if over:
            return
        if message.get("more_body") and await store.revoked(key_id):
            over, message = True, {**message, "body": b"", "more_body": False}
        await send(message)

    return sent
