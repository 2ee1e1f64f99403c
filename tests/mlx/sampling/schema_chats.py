"""Chats whose answers a schema constrains."""

from __future__ import annotations

import json
from typing import Any

from tests.mlx.conftest import Bench
from tests.support.schema_support import settled
from wire.messages import Delta, LoggedEvent, OutputFormat
from worker.sequence import Sequence

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "likes": {"type": "array", "items": {"enum": ["tea", "coffee"]}, "maxItems": 2},
        "friend": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
    },
    "required": ["name", "age", "likes", "friend"],
    "additionalProperties": False,
}


def constrained(bench: Bench, text: str, schema: dict[str, Any] = PERSON, **more: Any) -> Sequence:
    """A chat whose answer a schema constrains."""
    chat = bench.chat(text, **{"max_tokens": 200, "repetition_penalty": 1.0, **more})
    job = chat.job.model_copy(
        update={"form": OutputFormat(separate=True, json_schema=settled(schema))}
    )
    return Sequence(job, emitted=chat.emitted)


def texts_of(bench: Bench, *chats: Sequence) -> list[str]:
    """The texts of chats in one batch."""
    events_of: dict[Sequence, list[LoggedEvent]] = {chat: [] for chat in chats}
    bench.start(*chats)
    while bench.backend.sequences():
        for token in bench.backend.step().tokens:
            if token.end == "stop":
                token.sequence.accept_last(token.token_id)
                events_of[token.sequence] += token.sequence.finish("stop")
            else:
                events_of[token.sequence] += token.sequence.accept(token.token_id)
    return [
        "".join(event.text for event in events if isinstance(event, Delta))
        for events in events_of.values()
    ]


def check_person(text: str) -> None:
    person = json.loads(text)
    assert list(person) == ["name", "age", "likes", "friend"]
    assert isinstance(person["name"], str)
    assert len(person["name"]) <= 8
    assert 0 <= person["age"] <= 120
    assert set(person["likes"]) <= {"tea", "coffee"}
    assert person["friend"] in (None, True, False)
