"""The cached prompts on workers' disks: what workers say of them, and how they are deleted."""

from __future__ import annotations

from wire.keys import PREFIX
from wire.messages import TolerantRecord

CLEARED = PREFIX + "prompts-cleared"
"""Mark of the last deletion of cached prompts: each worker does it once, also one that starts."""


def use_key(worker: str) -> str:
    """JSON: :class:`DiskCacheUse` of a worker; beside its status, and expires with it."""
    return f"{PREFIX}worker-disk-cache:{worker}"


class DiskCacheUse(TolerantRecord):
    """The cached prompts on a worker's disk: what is there, and what happened since the start.

    Without a ``folder`` it is switched off. ``problem`` says why nothing is being written; empty if
    nothing is wrong. ``cleared`` is the mark of the last deletion.
    """

    folder: str = ""
    bytes: int = 0
    cap_bytes: int = 0
    entries: int = 0
    hits: int = 0
    loaded_tokens: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    bad_entries: int = 0
    problem: str = ""
    cleared: str = ""
