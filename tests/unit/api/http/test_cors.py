"""Which origins of web pages may read responses."""

from __future__ import annotations

from redis import Redis
from starlette.testclient import TestClient

from tests.support.fake_api import fake_api
from wire.settings import Settings


def test_a_page_of_a_named_origin_may_send_the_headers_of_openais_client(
    redis: Redis,
) -> None:
    app = fake_api(redis, Settings(cors_origins=("https://chat.example",)))
    sent = "authorization,content-type,x-stainless-lang,x-stainless-retry-count"
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": sent}
    with TestClient(app) as client:
        preflight = client.options(
            "/v1/chat/completions", headers=asked | {"Origin": "https://chat.example"}
        )
        assert preflight.status_code == 200
        assert "x-stainless-lang" in preflight.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in preflight.headers
        assert (
            client.options(
                "/v1/models", headers=asked | {"Origin": "https://other.example"}
            ).status_code
            == 400
        )


def test_a_foreign_origin_gets_no_cors_headers_and_a_named_one_may_read_the_job_id(
    redis: Redis,
) -> None:
    app = fake_api(redis, Settings(cors_origins=("https://chat.example",)))
    with TestClient(app) as client:
        named = client.get("/health", headers={"origin": "https://chat.example"}).headers
        foreign = client.get("/health", headers={"origin": "https://evil.example"}).headers
    assert named["access-control-allow-origin"] == "https://chat.example"
    assert "X-Job-Id" in named["access-control-expose-headers"]
    assert "access-control-allow-origin" not in foreign


def test_a_page_without_an_origin_may_do_what_it_is_allowed_by_name_and_nothing_else(
    redis: Redis,
) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Origin": "null"}
    stop = "/api/engine/chat/stop"
    with TestClient(fake_api(redis, Settings(cors_origins=("null",)))) as client:
        preflight = client.options(stop, headers=asked)
        answer = client.post(stop, headers={"Origin": "null"})
        foreign = client.post(stop, headers={"Origin": "https://evil.example"})
    assert preflight.headers["access-control-allow-origin"] == "null"
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "null")
    assert foreign.status_code == 403
    with TestClient(fake_api(redis, Settings(cors_origins=("https://chat.example",)))) as client:
        assert client.options(stop, headers=asked).status_code == 400
        assert client.post(stop, headers={"Origin": "null"}).status_code == 403
