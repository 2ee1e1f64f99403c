"""How long a request may wait, and from when on: what it is asked for by, and refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from api.anthropic.schemas import CreateBody
from api.chat.schemas import ChatRequest
from api.openai.schemas import ChatBody, CompletionBody
from api.responses.schemas import ResponsesBody
from tests.support.api_support import MODEL, message
from tests.support.openai_support import CHAT, COMPLETIONS, Api, body

AT = {
    1_900_000_000: 1_900_000_000_000,
    1_900_000_000.5: 1_900_000_000_500,
    "1900000000": 1_900_000_000_000,
    "2030-03-17T17:46:40Z": 1_900_000_000_000,
    "2030-03-17T19:46:40+02:00": 1_900_000_000_000,
}
BODIES: list[tuple[type[Any], dict[str, Any]]] = [
    (ChatBody, body(CHAT)),
    (CompletionBody, body(COMPLETIONS)),
    (ResponsesBody, {"model": MODEL.id, "input": "Hi"}),
    (CreateBody, {"max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}),
    (ChatRequest, {"model_id": MODEL.id, "messages": [message()]}),
]


@pytest.mark.parametrize(("shape", "sent"), BODIES)
def test_each_route_takes_a_limit_and_a_time(shape: type[Any], sent: dict[str, Any]) -> None:
    for time, due_ms in AT.items():
        read = shape.model_validate(sent | {"max_queue_s": 2.5, "not_before": time})
        spec = read.asked().spec if shape is ResponsesBody else _first(read)
        assert (spec.policy.max_queue_s, spec.policy.not_before_ms) == (2.5, due_ms)
    read = shape.model_validate(sent)
    spec = read.asked().spec if shape is ResponsesBody else _first(read)
    assert (spec.policy.max_queue_s, spec.policy.not_before_ms) == (None, 0)


def _first(read: Any) -> Any:
    return read.specs()[0] if hasattr(read, "specs") else read.spec()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_queue_s", 0),
        ("max_queue_s", -1),
        ("max_queue_s", "long"),
        ("max_queue_s", 10**7),
        ("not_before", "2030-03-17T17:46:40"),
        ("not_before", "02:00"),
        ("not_before", "soon"),
        ("not_before", True),
        ("not_before", -5),
        ("not_before", 4_000_000_000),
        ("not_before", 10**40),
        ("not_before", 10**400),
        ("not_before", [1]),
    ],
)
def test_other_values_are_refused_by_name(api: Api, field: str, value: Any) -> None:
    assert api.refused(400, **{field: value})["param"] == field
