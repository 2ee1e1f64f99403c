"""What an owner's chats may ask of the queue: the highest class of service, and how many run."""

from __future__ import annotations

from wire.keys import PREFIX

HIGHEST_TIER = PREFIX + "highest-tier"
"""Hash: owner -> the highest class of service that its chats may have."""
MOST_RUNNING = PREFIX + "most-running"
"""Hash: owner -> how many of its chats run at once, on all workers together."""
