"""Job ids: 32 hexadecimal digits, for chats, model commands and batches alike."""

from __future__ import annotations

import re
import uuid

_JOB_ID = re.compile("[0-9a-f]{32}")


def new_job_id() -> str:
    return uuid.uuid4().hex


def is_job_id(text: str) -> bool:
    """Whether the text could be a job's id; nothing else becomes part of a Redis name."""
    return _JOB_ID.fullmatch(text) is not None
