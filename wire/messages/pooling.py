"""Vectors and scores of texts: what is asked for, and how the results travel as text.

Each message of such a job is a text. Its answer has a row for each of them: of a vector, or of one
score. In the events of a job a row is written as its numbers in 32 bits, in base64, and a blank.
"""

from __future__ import annotations

import base64
from typing import Literal

from wire.messages.records import Record

PoolingTask = Literal["embed", "rerank"]


class Pooling(Record):
    """``query`` is what texts are scored against, and ``instruction`` how that is to be judged, for
    models that take one. A vector is cut to ``dimensions`` numbers, a text to ``most_tokens``
    tokens. ``prompt_name`` names one of the prompts that the model's folder has for the beginnings
    of texts; without one its default counts.
    """

    task: PoolingTask
    query: str = ""
    instruction: str | None = None
    dimensions: int | None = None
    most_tokens: int | None = None
    prompt_name: str | None = None


def row_text(numbers: bytes) -> str:
    """A row as it is written: of numbers in 32 bits, the lowest byte first."""
    return f"{base64.b64encode(numbers).decode('ascii')} "


def rows_in(text: str) -> list[str]:
    """The rows of an answer, in base64."""
    return text.split()
