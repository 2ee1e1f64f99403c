"""Fields that some routes honour are refused by name on those that can't."""

from __future__ import annotations

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.api_support import announce, message


@pytest.mark.parametrize(
    "field", ["adapters", "lora", "max_queue_s", "not_before", "priority", "service_tier"]
)
@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank"])
def test_what_texts_cant_have_is_refused_by_name(
    client: TestClient, redis: Redis, path: str, field: str
) -> None:
    announce(redis)
    body = {"input": "x"} if path == "/v1/embeddings" else {"query": "x", "documents": ["y"]}
    refused = client.post(path, json=body | {field: "flex"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)


@pytest.mark.parametrize("field", ["adapters", "lora", "lora_request"])
def test_adapters_by_other_names_are_refused_in_messages(
    client: TestClient, redis: Redis, field: str
) -> None:
    announce(redis)
    refused = client.post(
        "/v1/messages", json={"messages": [message()], "max_tokens": 9, field: "pirate"}
    )
    assert refused.status_code == 400
    assert field in refused.json()["error"]["message"]
