"""Items that a request refers to by their ids."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.api_support import FakeWorker, LogWriter, announce
from tests.support.fake_api import fake_api, fake_redis
from tests.support.openai_support import TAKES_TOOLS, error
from tests.unit.api.responses.logged_answers import END, called
from tests.unit.api.responses.responses_support import (
    CLOCK,
    PATCH,
    RESPONSES,
    ResponsesApi,
    output,
    user,
)
from wire.messages import Delta, ToolCallDelta
from wire.model_registry import Registry
from wire.settings import Settings


def reference(item_id: str) -> dict[str, Any]:
    return {"type": "item_reference", "id": item_id}


def ids(response: dict[str, Any]) -> list[str]:
    return [item["id"] for item in response["output"]]


def input_ids(api: ResponsesApi, response: dict[str, Any]) -> list[str]:
    path = f"{RESPONSES}/{response['id']}/input_items"
    listed = api.client.get(path, params={"order": "asc"}).json()["data"]
    return [item["id"] for item in listed]


def test_references_are_the_items_themselves(api: ResponsesApi) -> None:
    api.answers(Delta("", (1,), "Hm."), Delta("One.", (2,)), called('{"zone": "UTC"}'), END)
    asked = [user("What time is it?")]
    first = api.whole(input=asked, tools=[CLOCK])
    referred = [reference(name) for name in (*input_ids(api, first), *ids(first))]
    by_reference = api.job(input=[*referred, output("c1")], tools=[CLOCK])
    as_items = api.job(input=[*asked, *first["output"], output("c1")], tools=[CLOCK])
    assert by_reference.messages == as_items.messages
    assert [message.role for message in by_reference.messages] == ["user", "assistant", "tool"]
    assert by_reference.messages[1].reasoning == "Hm."
    # Without a type as well, as OpenAI's clients may send them.
    bare = [{"id": one["id"]} for one in referred]
    assert api.job(input=[*bare, output("c1")], tools=[CLOCK]).messages == as_items.messages


def test_a_custom_call_is_referred_to_with_a_summary_before_it(api: ResponsesApi) -> None:
    call = ToolCallDelta(id="c1", name="apply_patch", arguments='{"input": "a"}')
    api.answers(Delta("", (1,), "Hm."), Delta("", (2,), tool_calls=(call,)), END)
    first = api.whole(tools=[PATCH], reasoning={"summary": "auto"})
    answered = {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"}
    job = api.job(input=[user(), *map(reference, ids(first)), answered], tools=[PATCH])
    assert job.messages[1].reasoning == "Hm."
    assert job.messages[1].tool_calls[0].arguments == '{"input": "a"}'


def test_what_is_referred_to_is_kept_with_the_response(api: ResponsesApi) -> None:
    first = api.whole(input="One")
    second = api.whole(input=[user("One"), reference(ids(first)[0]), user("Two")])
    # The response that had the item first is not needed any more.
    assert api.client.delete(f"{RESPONSES}/{first['id']}").status_code == 200
    third = api.job(input="Three", previous_response_id=second["id"])
    assert [message.content for message in third.messages] == [
        "One",
        "Hello",
        "Two",
        "Hello",
        "Three",
    ]
    referred = [reference(name) for name in input_ids(api, second)]
    assert [m.content for m in api.job(input=referred).messages] == ["One", "Hello", "Two"]


def test_counting_tokens_refuses_unknown_items_too(api: ResponsesApi) -> None:
    body = {"model": "model-1", "input": [user("One"), reference("msg_" + "0" * 36)]}
    refused = api.client.post(f"{RESPONSES}/input_tokens", json=body)
    assert (refused.status_code, error(refused)["param"]) == (404, "input[1].id")


def test_items_that_are_not_there(api: ResponsesApi) -> None:
    first = api.whole(input="One")
    known = ids(first)[0]
    api.worker.seen.clear()
    beyond = known[:-4] + "0001"
    for missing in (beyond, known + "0", known[4:], "msg_" + "f" * 36, "msg_1", "x" * 5000):
        refusal = api.refused(404, input=[user(), reference(known), reference(missing)])
        assert (refusal["param"], refusal["code"]) == ("input[2].id", "not_found")
        assert refusal["type"] == "invalid_request_error"
        assert missing not in str(refusal)
    twice = api.refused(400, input=[reference(known), user(), reference(known)])
    assert (twice["param"], twice["code"]) == ("input[2].id", "invalid_request")
    # Nothing is lost of what was there.
    assert api.job(input=[reference(known), user()]).messages[0].content == "Hello"
    api.client.delete(f"{RESPONSES}/{first['id']}")
    api.worker.seen.clear()
    assert api.refused(404, input=[user(), reference(known)])["param"] == "input[1].id"


def test_items_together_are_no_longer_than_a_body_may_be(
    api: ResponsesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = api.whole(), api.whole()
    referred = [reference(ids(one)[0]) for one in (first, second)]
    monkeypatch.setattr("api.responses.stored.references.MAX_BODY", 300)
    api.worker.seen.clear()
    assert api.refused(413, input=[user(), *referred])["param"] == "input[2].id"


def test_an_item_that_goes_on_is_refused() -> None:
    redis = fake_redis()
    announce(redis)
    Registry(redis).put(TAKES_TOOLS)
    with TestClient(fake_api(redis)) as client:
        sent = {"model": "model-1", "input": "Hi", "background": True}
        response_id = client.post(RESPONSES, json=sent).json()["id"]
        LogWriter(redis, response_id.removeprefix("resp_")).write(Delta("Hel", (1,)))
        item = client.get(f"{RESPONSES}/{response_id}").json()["output"][0]
        refused = client.post(RESPONSES, json={"input": [user(), reference(item["id"])]})
        assert refused.status_code == 400
        assert error(refused)["param"] == "input[1].id"


def test_items_of_another_key_are_not_there() -> None:
    redis = fake_redis()
    announce(redis)
    ann, bob = ({"Authorization": f"Bearer {name}-0123456789abcdef"} for name in ("ann", "bob"))
    known = ("ann:ann-0123456789abcdef", "bob:bob-0123456789abcdef")
    with (
        TestClient(fake_api(redis, Settings(api_keys=known))) as client,
        FakeWorker(redis).running(),
    ):
        told = client.post(RESPONSES, json={"model": "model-1", "input": "Hi"}, headers=ann).json()
        sent = {"model": "model-1", "input": [user(), reference(ids(told)[0])]}
        refused = client.post(RESPONSES, json=sent, headers=bob)
        assert (refused.status_code, error(refused)["param"]) == (404, "input[1].id")
        assert client.post(RESPONSES, json=sent, headers=ann).status_code == 200


def test_without_a_store_they_are_refused_by_name() -> None:
    redis = fake_redis()
    announce(redis)
    with TestClient(fake_api(redis, Settings(store_responses="off"))) as client:
        sent = {"model": "model-1", "input": [user(), reference("msg_" + "f" * 36)]}
        refused = client.post(RESPONSES, json=sent)
        assert (refused.status_code, error(refused)["code"]) == (400, "unsupported")
        assert error(refused)["param"] == "input[1].id"
