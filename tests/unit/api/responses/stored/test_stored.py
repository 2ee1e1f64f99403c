"""Stored responses: read again, continued, cancelled, deleted, and nobody else's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis
from starlette.testclient import TestClient

from api.responses.answer.expansion import View
from api.responses.answer.response_object import ID
from api.responses.response_schemas import Response
from api.responses.stored.record import ResponseRecord
from api.responses.stored.store import ResponseStore
from tests.support.api_support import FakeWorker, LogWriter, announce, wait_for
from tests.support.fake_api import fake_api, fake_redis, server_of
from tests.support.openai_support import TAKES_TOOLS, error
from tests.unit.api.responses.logged_answers import END, called, goes_on
from tests.unit.api.responses.responses_support import (
    CLOCK,
    RESPONSES,
    ResponsesApi,
    output,
    read,
    user,
)
from wire import keys
from wire.messages import Delta, Failed, Finished
from wire.model_registry import Registry
from wire.settings import Settings

LONG = [Delta("", (1,), "Hm."), *(Delta(f"w{n} ", (n,)) for n in range(60)), called('{"a": ')]
LONG += [goes_on("1"), goes_on("}")]


def get(api: ResponsesApi, response_id: str, **query: Any) -> Any:
    return api.client.get(f"{RESPONSES}/{response_id}", params=query)


def test_a_response_is_read_again_as_it_was(api: ResponsesApi) -> None:
    api.answers(*LONG, END)
    told = api.whole(tools=[CLOCK], metadata={"a": "b"})
    assert told["store"] is True
    again = get(api, told["id"])
    assert (again.status_code, again.json()) == (200, told)
    Response.model_validate(again.json())


def test_a_stream_is_read_again_to_the_byte_from_any_number_on(api: ResponsesApi) -> None:
    api.answers(*LONG, END)
    stream = api.client.post(RESPONSES, json={"model": "model-1", "input": "Hi", "stream": True})
    events = read(stream.text)
    response_id = events[0]["response"]["id"]
    assert get(api, response_id, stream="true").text == stream.text
    chance = random.Random(5)
    last = events[-1]["sequence_number"]
    for _ in range(40):
        after = chance.randint(0, last + 3)
        rest = get(api, response_id, stream="true", starting_after=after).text
        assert rest == "".join(
            block + "\n\n"
            for block, event in zip(stream.text.split("\n\n"), events, strict=False)
            if event["sequence_number"] > after
        )


def test_a_conversation_goes_on_behind_a_response(api: ResponsesApi) -> None:
    api.answers(Delta("", (1,), "Hm."), Delta("One.", (2,)), called("{}"), END)
    first = api.whole(input="What time is it?", instructions="Be brief.", tools=[CLOCK])
    api.answers(Delta("Noon.", (1,)), END)
    second = api.whole(input=[output("c1")], previous_response_id=first["id"], tools=[CLOCK])
    assert second["previous_response_id"] == first["id"]
    # A deleted parent does not break its child.
    assert api.client.delete(f"{RESPONSES}/{first['id']}").json()["deleted"] is True
    assert get(api, first["id"]).status_code == 404
    api.job(input="Thanks", previous_response_id=second["id"])
    messages = api.worker.seen[-1].messages
    assert [(m.role, m.content) for m in messages] == [
        ("user", "What time is it?"),
        ("assistant", "One."),
        ("tool", "noon"),
        ("assistant", "Noon."),
        ("user", "Thanks"),
    ]
    assert messages[1].reasoning == "Hm."
    assert messages[1].tool_calls[0].id == messages[2].tool_call_id == "c1"


def test_what_cannot_be_continued(api: ResponsesApi) -> None:
    api.answers(called("{}"), END)
    asks = api.whole(tools=[CLOCK])["id"]
    failed = api.client.post(RESPONSES, json={"model": "model-1", "input": "Hi"})
    api.worker.seen.clear()
    refusal = api.refused(400, previous_response_id=asks)
    assert (refusal["param"], failed.status_code) == ("previous_response_id[1].call_id", 200)
    unknown = api.refused(404, previous_response_id=ID + "f" * 32)
    assert unknown["param"] == "previous_response_id"


def test_the_items_of_a_chain_are_listed_in_pages(api: ResponsesApi) -> None:
    first = api.whole(input=[user("One"), user("Two")])
    second = api.whole(input="Three", previous_response_id=first["id"])
    path = f"{RESPONSES}/{second['id']}/input_items"
    page = api.client.get(path, params={"order": "asc", "limit": 3}).json()
    said = [part["text"] for item in page["data"] for part in item["content"]]
    assert (said, page["has_more"]) == (["One", "Two", "Hello"], True)
    rest = api.client.get(path, params={"order": "asc", "after": page["last_id"]}).json()
    assert [item["content"][0]["text"] for item in rest["data"]] == ["Three"]
    assert len({item["id"] for item in (*page["data"], *rest["data"])}) == 4
    newest = api.client.get(path).json()["data"][0]
    assert newest["content"][0]["text"] == "Three"


def test_nothing_is_stored_that_should_not_be(api: ResponsesApi) -> None:
    told = api.whole(store=False)
    assert told["store"] is False
    assert error(get(api, told["id"]))["code"] == "not_found"
    for name in ("resp_", "resp_x", "0" * 32, f"{told['id']}0"):
        assert get(api, name).status_code == 404
    assert get(api, told["id"], stream="true").status_code == 404


def test_a_failure_is_kept_too(api: ResponsesApi) -> None:
    api.answers(Delta("Hel", (1,)), Failed("engine_failed", "Broken."))
    events = api.events()
    told = get(api, events[0]["response"]["id"]).json()
    assert told == events[-1]["response"]
    assert (told["status"], told["error"]["code"]) == ("failed", "engine_failed")


def test_numbers_are_for_streams(api: ResponsesApi) -> None:
    told = api.whole()
    refusal = error(get(api, told["id"], starting_after=3))
    assert refusal["param"] == "starting_after"
    assert get(api, told["id"], stream="true", starting_after=-1).status_code == 400
    assert api.client.head(f"{RESPONSES}/{told['id']}?stream=true").status_code == 405
    assert api.client.head(f"{RESPONSES}/{told['id']}").status_code == 200


@pytest.fixture
def idle() -> Iterator[TestClient]:
    """An API with a worker that takes no job."""
    redis = fake_redis()
    announce(redis)
    Registry(redis).put(TAKES_TOOLS)
    with TestClient(fake_api(redis)) as client:
        client.redis = redis  # type: ignore[attr-defined]
        yield client


def background(client: TestClient, **fields: Any) -> dict[str, Any]:
    sent = {"model": "model-1", "input": "Hi", "background": True} | fields
    response = client.post(RESPONSES, json=sent)
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    Response.model_validate(told)
    return told


def test_a_response_in_the_background_is_queued_runs_and_ends(idle: TestClient) -> None:
    told = background(idle)
    assert (told["status"], told["background"], told["output"]) == ("queued", True, [])
    redis: Any = idle.redis  # type: ignore[attr-defined]
    writer = LogWriter(redis, told["id"].removeprefix(ID))
    writer.write(Delta("Hel", (1,)))
    now = idle.get(f"{RESPONSES}/{told['id']}").json()
    assert now["status"] == "in_progress"
    assert (now["output"][0]["status"], now["output"][0]["content"][0]["text"]) == (
        "in_progress",
        "Hel",
    )
    refused = idle.post(RESPONSES, json={"input": "x", "previous_response_id": told["id"]})
    assert error(refused)["param"] == "previous_response_id"
    writer.write(Delta("lo", (2,)), Finished("stop"))
    assert idle.get(f"{RESPONSES}/{told['id']}").json()["status"] == "completed"


def test_a_cancel_can_be_repeated(idle: TestClient) -> None:
    told = background(idle)
    path = f"{RESPONSES}/{told['id']}"
    answers = [idle.post(f"{path}/cancel") for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 200]
    assert [one.json()["status"] for one in answers] == ["cancelled", "cancelled"]
    assert idle.get(path).json() == answers[0].json()


def test_deleting_a_response_stops_it(idle: TestClient) -> None:
    told = background(idle)
    assert idle.delete(f"{RESPONSES}/{told['id']}").status_code == 200
    redis: Any = idle.redis  # type: ignore[attr-defined]
    wait_for(lambda: redis.hget(keys.job(told["id"].removeprefix(ID)), "state") == b"ended")
    assert idle.delete(f"{RESPONSES}/{told['id']}").status_code == 404


def test_another_key_finds_nothing() -> None:
    redis = fake_redis()
    announce(redis)
    ann, bob = ({"Authorization": f"Bearer {name}-0123456789abcdef"} for name in ("ann", "bob"))
    known = ("ann:ann-0123456789abcdef", "bob:bob-0123456789abcdef")
    with (
        TestClient(fake_api(redis, Settings(api_keys=known))) as client,
        FakeWorker(redis).running(),
    ):
        sent = {"model": "model-1", "input": "Hi"}
        told = client.post(RESPONSES, json=sent, headers=ann).json()
        path = f"{RESPONSES}/{told['id']}"
        assert client.get(path, headers=ann).status_code == 200
        tried = [
            client.get(path, headers=bob),
            client.get(f"{path}?stream=true", headers=bob),
            client.get(f"{path}/input_items", headers=bob),
            client.post(f"{path}/cancel", headers=bob),
            client.delete(path, headers=bob),
            client.post(RESPONSES, json=sent | {"previous_response_id": told["id"]}, headers=bob),
        ]
        assert [one.status_code for one in tried] == [404] * 6
        assert client.get(path, headers=ann).status_code == 200


def test_the_operators_switch() -> None:
    redis = fake_redis()
    announce(redis)
    settings = Settings(store_responses="off")
    with TestClient(fake_api(redis, settings)) as client, FakeWorker(redis).running():
        sent = {"model": "model-1", "input": "Hi"}
        asked = client.post(RESPONSES, json=sent | {"store": True})
        assert (asked.json()["store"], asked.headers["x-ignored-fields"]) == (False, "store")
        plain = client.post(RESPONSES, json=sent)
        assert plain.json()["store"] is False
        assert "x-ignored-fields" not in plain.headers
        assert not redis.keys(keys.response("*"))
        refused = client.post(RESPONSES, json=sent | {"background": True})
        assert error(refused)["param"] == "background"


async def test_the_oldest_go_when_the_budget_is_used_up() -> None:
    redis = fake_redis()
    store = ResponseStore(FakeAsyncRedis(server=server_of(redis)), 4_000, enabled=True)
    chance = random.Random(1)

    def record() -> ResponseRecord:
        return ResponseRecord("everyone", "m", {}, View({}), items=({"x": chance.random()},))

    ids = [f"{number:032x}" for number in range(20)]
    for job_id in ids:
        await store.put(job_id, record())
    kept = [job_id for job_id in ids if redis.exists(keys.response(job_id))]
    assert kept == ids[-len(kept) :]
    assert 3 <= len(kept) < 8
    sizes = [int(size) for size in redis.hvals(keys.RESPONSE_BYTES)]
    assert (len(sizes), sum(sizes)) == (len(kept), int(redis.get(keys.RESPONSE_BYTES_TOTAL)))
    await store.put(kept[0], record())
    for job_id in kept:
        await store.drop(job_id)
        await store.drop(job_id)
    assert int(redis.get(keys.RESPONSE_BYTES_TOTAL)) == 0
    assert not redis.exists(keys.RESPONSES, keys.RESPONSE_BYTES)
