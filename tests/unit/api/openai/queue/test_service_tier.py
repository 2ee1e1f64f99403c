"""The class of service of a request: what it is asked for by, and that answers say it."""

from __future__ import annotations

from typing import Any

import pytest
from fakeredis import FakeRedis

from tests.support.api_support import MODEL, message
from tests.support.openai_support import CHAT, COMPLETIONS, Api, body, error
from wire import keys
from wire.queueing.turns import TIER

HEADER = "X-Service-Tier"
NATIVE, RESPONSES, MESSAGES = "/api/engine/chat", "/v1/responses", "/v1/messages"


def kept(api: Api) -> str | None:
    """The class in the record of the last job."""
    assert isinstance(api.redis, FakeRedis)
    tier: Any = api.redis.hget(keys.job(api.worker.seen[-1].job_id), TIER)
    return None if tier is None else tier.decode()


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    ("asked", "header", "used"),
    [
        (None, None, "default"),
        ("auto", None, "default"),
        ("default", "flex", "default"),
        ("flex", None, "flex"),
        ("priority", None, "priority"),
        ("auto", "flex", "flex"),
        (None, "priority", "priority"),
        (None, "auto", "default"),
    ],
)
def test_an_answer_says_the_class_that_was_used(
    api: Api, path: str, asked: str | None, header: str | None, used: str
) -> None:
    headers = {} if header is None else {HEADER: header}
    sent = body(path) | {"service_tier": asked}
    answer = api.client.post(path, json=sent, headers=headers).json()
    assert answer["service_tier"] == used
    assert kept(api) == (None if used == "default" else used)


def test_every_chunk_says_it_and_so_does_a_response_that_is_asked_for_again(api: Api) -> None:
    assert {chunk["service_tier"] for chunk in api.chunks(service_tier="flex")} == {"flex"}
    key = {"Idempotency-Key": "of-the-tiers"}
    for tiers in ({HEADER: "flex"}, {HEADER: "priority"}):
        answer = api.client.post(CHAT, json=body(CHAT), headers=key | tiers).json()
        assert answer["service_tier"] == "flex"


def test_responses_and_messages_say_it_in_their_words(api: Api) -> None:
    asked: dict[str, Any] = {"model": MODEL.id, "input": "Hi", "service_tier": "flex"}
    assert api.client.post(RESPONSES, json=asked).json()["service_tier"] == "flex"
    assert kept(api) == "flex"
    asked = {"model": MODEL.id, "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
    for tier, used in {"auto": "priority", "standard_only": "standard"}.items():
        sent = asked | {"service_tier": tier}
        answer = api.client.post(MESSAGES, json=sent, headers={HEADER: "priority"}).json()
        assert answer["usage"]["service_tier"] == used
    refused = api.client.post(MESSAGES, json=asked | {"service_tier": "flex"})
    assert refused.status_code == 400
    assert "service_tier" in refused.text


@pytest.mark.parametrize(
    ("priority", "tier"), [("low", "flex"), ("normal", None), ("high", "priority")]
)
def test_a_native_chat_has_a_priority(api: Api, priority: str, tier: str | None) -> None:
    sent = {"model_id": MODEL.id, "messages": [message()], "priority": priority}
    answer = api.client.post(NATIVE, json=sent, headers={HEADER: "flex"})
    assert answer.status_code == 200
    assert answer.headers["X-Priority"] == priority
    assert kept(api) == tier


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    ("priority", "header", "used"),
    [
        (-(2**63), None, "priority"),
        (-1, "flex", "priority"),
        (0, None, "default"),
        (0, "flex", "flex"),
        (1, None, "flex"),
        (7.0, "priority", "flex"),
    ],
)
def test_of_vllms_priorities_lower_ones_go_first(
    api: Api, path: str, priority: float, header: str | None, used: str
) -> None:
    headers = {} if header is None else {HEADER: header}
    answer = api.client.post(path, json=body(path) | {"priority": priority}, headers=headers)
    assert "X-Ignored-Fields" not in answer.headers
    assert answer.json()["service_tier"] == used
    assert kept(api) == (None if used == "default" else used)


def test_responses_take_vllms_priority(api: Api) -> None:
    asked = {"model": MODEL.id, "input": "Hi", "priority": 2}
    assert api.client.post(RESPONSES, json=asked).json()["service_tier"] == "flex"


def test_vllms_priority_agrees_with_the_class_of_service_or_is_refused(api: Api) -> None:
    for tier, priority in (("flex", -1), ("default", 3), ("priority", 3)):
        refused = api.refused(400, service_tier=tier, priority=priority)
        assert refused["param"] == "priority"
    for wrong in ("soon", True, 0.5, 2**63):
        assert api.refused(400, priority=wrong)["param"] == "priority"
    for tier, priority in (("flex", 3), ("auto", 3), ("flex", 0)):
        sent = body(CHAT) | {"service_tier": tier, "priority": priority}
        assert api.client.post(CHAT, json=sent).json()["service_tier"] == "flex"


def test_what_a_web_ui_asks_for_behind_its_users_back_is_flex(api: Api) -> None:
    for task, asked, used in (
        ("title_generation", {}, "flex"),
        ("", {}, "default"),
        ("tags_generation", {"service_tier": "default"}, "default"),
    ):
        answer = api.client.post(CHAT, json=body(CHAT) | asked, headers={"X-Task": task}).json()
        assert answer["service_tier"] == used


def test_other_classes_are_refused_by_name(api: Api) -> None:
    assert api.refused(400, service_tier="scale")["param"] == "service_tier"
    answer = api.client.post(CHAT, json=body(CHAT), headers={HEADER: "soon"})
    assert answer.status_code == 400
    assert HEADER.lower() in (error(answer)["param"] or "").lower()
    sent = {"model_id": MODEL.id, "messages": [message()], "priority": 3}
    answer = api.client.post(NATIVE, json=sent)
    assert answer.status_code == 422
    assert "priority" in answer.text
    assert not api.worker.seen
