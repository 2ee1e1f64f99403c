"""Vectors and scores out of a job's events, or out of the result of a batch's line. Pure."""

from __future__ import annotations

import base64
import json
from array import array
from collections.abc import Sequence
from typing import Any

from wire.messages import Delta, Event, rows_in

Json = dict[str, Any]


def rows_of(events: Sequence[Event]) -> list[str]:
    """The rows that the events hold, in base64."""
    return rows_in("".join(event.text for event in events if isinstance(event, Delta)))


def vectors(rows: Sequence[str], asked: str) -> list[Any]:
    """Vectors as they are asked for: lists of numbers, or numbers of 32 bits in base64."""
    as_sent = json.loads(asked).get("encoding_format") == "base64"
    return list(rows) if as_sent else [numbers(row) for row in rows]


def numbers(row: str) -> list[float]:
    """The numbers of a row."""
    return array("f", base64.b64decode(row)).tolist()


def ranked(rows: Sequence[str], asked: str) -> list[Json]:
    """The documents by their scores, the best first, as many as are asked for."""
    told = json.loads(asked)
    scores = [numbers(row)[0] for row in rows]
    order = sorted(range(len(scores)), key=lambda number: -scores[number])
    documents = told.get("documents")
    return [
        {"index": number, "relevance_score": scores[number]}
        | ({} if documents is None else {"document": {"text": documents[number]}})
        for number in order[: told.get("top_n")]
    ]
