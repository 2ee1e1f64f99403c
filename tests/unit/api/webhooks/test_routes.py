"""Webhook endpoints over HTTP, as OpenAI's clients call them: whose they are, what is shown, and a
delivery from the end of a response to the client's ``unwrap``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI
from openai.types.webhooks import WebhookEndpoint, WebhookEndpointTestResult
from openai.types.webhooks.webhook_endpoint_with_secret import WebhookEndpointWithSecret
from redis import Redis
from starlette.testclient import TestClient

from tests.support.api_support import FakeWorker, announce, wait_for
from tests.support.fake_api import fake_api
from tests.unit.api.webhooks.receiver import HOST, receiving
from wire.settings import Settings

URL = "/v1/webhook_endpoints"
KEYS = {"ann": "ann-0123456789abcdef", "bob": "bob-0123456789abcdef"}
WANTED: dict[str, Any] = {
    "name": "CI",
    "url": "https://ci.example/hook",
    "event_types": ["response.completed", "batch.completed"],
}


@pytest.fixture
def client(redis: Redis) -> Iterator[TestClient]:
    announce(redis)
    named = tuple(f"{name}:{key}" for name, key in KEYS.items())
    settings = Settings(api_keys=named, webhook_hosts=(HOST,))
    with TestClient(fake_api(redis, settings)) as client:
        client.headers["authorization"] = f"Bearer {KEYS['ann']}"
        yield client


def as_bob() -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS['bob']}"}


def test_an_endpoint_has_openais_shape_and_its_secret_is_shown_once(client: TestClient) -> None:
    created = client.post(URL, json=WANTED)
    whole = WebhookEndpointWithSecret.model_validate(created.json(), strict=True)
    assert whole.signing_secret.startswith("whsec_")
    for answer in (client.get(f"{URL}/{whole.id}").json(), client.get(URL).json()["data"][0]):
        one = WebhookEndpoint.model_validate(answer, strict=True)
        assert (one.name, one.url, one.event_types) == (*map(WANTED.get, ("name", "url", "event_types")),)  # fmt: skip
        assert whole.signing_secret not in str(answer)
    assert client.delete(f"{URL}/{whole.id}").json()["deleted"] is True
    assert client.get(f"{URL}/{whole.id}").status_code == 404


def test_endpoints_of_others_are_unknown(client: TestClient) -> None:
    made = client.post(URL, json=WANTED).json()["id"]
    assert client.get(URL, headers=as_bob()).json()["data"] == []
    answers = [
        client.get(f"{URL}/{made}", headers=as_bob()),
        client.delete(f"{URL}/{made}", headers=as_bob()),
        client.post(f"{URL}/{made}/test", json={"event_type": "batch.failed"}, headers=as_bob()),
    ]
    assert {answer.status_code for answer in answers} == {404}


def test_ends_of_all_keys_are_for_the_role_admin(client: TestClient) -> None:
    key = client.post("/api/engine/keys", json={"name": "cid", "roles": ["chat"]}).json()["key"]
    mine = {"authorization": f"Bearer {key}"}
    refused = client.post(URL, json=WANTED | {"all_keys": True}, headers=mine)
    assert (refused.status_code, refused.json()["error"]["param"]) == (403, "all_keys")
    assert client.post(URL, json=WANTED, headers=mine).json()["all_keys"] is False
    assert client.post(URL, json=WANTED | {"all_keys": True}).json()["all_keys"] is True


@pytest.mark.parametrize(
    "more",
    [{"event_types": []}, {"event_types": ["eval.run.failed"]}, {"name": ""}, {"url": ""}, {"secret": "mine"},
     {"url": "http://ci.example/"}, {"url": "https://127.0.0.2/"}],
)  # fmt: skip
def test_an_endpoint_that_makes_no_sense_is_refused(client: TestClient, more: Any) -> None:
    answer = client.post(URL, json=WANTED | more)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert client.get(URL).json()["data"] == []


def test_an_owner_has_so_many_endpoints(client: TestClient) -> None:
    made = [client.post(URL, json=WANTED).status_code for _ in range(21)]
    assert made == [200] * 20 + [409]
    page = client.get(URL, params={"limit": 5}).json()
    assert (len(page["data"]), page["has_more"]) == (5, True)


def test_a_background_response_reaches_openais_unwrap_and_a_sample_as_well(
    client: TestClient, redis: Redis
) -> None:
    with receiving() as receiver, FakeWorker(redis).running():
        endpoint = client.post(URL, json=WANTED | {"url": receiver.url}).json()
        openai = OpenAI(api_key="none", webhook_secret=endpoint["signing_secret"])
        sample = {"event_type": "batch.expired"}
        tested = client.post(f"{URL}/{endpoint['id']}/test", json=sample).json()
        assert WebhookEndpointTestResult.model_validate(tested, strict=True).status_code == 200
        body = {"input": "canary", "background": True}
        response = client.post("/v1/responses", json=body).json()["id"]
        wait_for(lambda: len(receiver.received) == 2)
    events = [openai.webhooks.unwrap(one.body, one.headers) for one in receiver.received]
    assert [event.type for event in events] == ["batch.expired", "response.completed"]
    assert events[1].data.id == response
    assert b"canary" not in receiver.received[1].body


def test_a_sample_that_can_not_be_sent_is_502(client: TestClient) -> None:
    made = client.post(URL, json=WANTED | {"url": f"http://{HOST}:9/"}).json()["id"]
    answer = client.post(f"{URL}/{made}/test", json={"event_type": "batch.failed"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "webhook_failed")
