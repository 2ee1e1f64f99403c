"""Two owners' API keys, and requests with them."""

from __future__ import annotations

import hashlib
from typing import Any

from redis import Redis
from starlette.testclient import TestClient

from tests.support.fake_api import fake_api
from wire.settings import Settings

ANN, BOB, ODD = "ann-0123456789abcdef", "bob-0123456789abcdef", "schlüssel-鍵-0123456789"
DIGEST = hashlib.sha256(BOB.encode()).hexdigest()
CHAT = "/api/engine/chat"
PATHS = [
    "/",
    "/models",
    "/api/engine/status",
    "/api/engine/session",
    "/openapi.json",
    "/nowhere",
    "/rq",
]


def bearer(key: str) -> dict[str, Any]:
    return {"authorization": b"Bearer " + key.encode()}


def served(redis: Redis, settings: Settings) -> TestClient:
    return TestClient(fake_api(redis, settings), follow_redirects=False)


def sign_in(client: TestClient, key: str = ANN, **form: str) -> Any:
    return client.post("/login", data={"key": key, **form}, headers={"origin": "http://127.0.0.1"})
