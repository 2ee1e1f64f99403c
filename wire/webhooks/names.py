"""The Redis names of webhooks, but for the outbox."""

from __future__ import annotations

from wire.keys import PREFIX

ENDPOINTS = PREFIX + "webhook-endpoints"
"""Hash: id of an endpoint -> the endpoint, JSON, with its secret: a signature needs it."""
COUNTS = PREFIX + "webhook-counts"
"""Hash: how deliveries ended -> how many did, ever since Redis began."""
LEASE = PREFIX + "webhook-lease"
"""Held by the one API process that sends."""


def delivery(webhook_id: str) -> str:
    """A delivery that has not ended, JSON."""
    return f"{PREFIX}webhook:{webhook_id}"


def due(endpoint_id: str) -> str:
    """Sorted set: deliveries to an endpoint, by Redis time in ms from which they are tried."""
    return f"{PREFIX}webhook-due:{endpoint_id}"
