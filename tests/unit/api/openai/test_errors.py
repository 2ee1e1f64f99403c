"""Errors below /v1 have OpenAI's shape, whatever raised them."""

from __future__ import annotations

from tests.support.openai_support import CHAT, MODELS, Api, body, error
from wire import keys


def test_addresses_and_methods_that_are_none_are_refused_in_the_same_shape(api: Api) -> None:
    assert error(api.client.get("/v1/assistants"))["code"] == "not_found"
    assert error(api.client.get(CHAT))["code"] == "method_not_allowed"
    assert error(api.client.get(f"{MODELS}/no/such"))["code"] == "model_not_found"
    assert api.refused(404, model="no/such")["code"] == "model_not_found"
    assert set(api.client.get("/api/nothing").json()) == {"detail", "code", "errors"}


def test_bodies_that_are_none_are_refused_in_the_same_shape(api: Api) -> None:
    bad = api.client.post(CHAT, content=b"{", headers={"content-type": "application/json"})
    assert (bad.status_code, error(bad)["code"]) == (400, "bad_request")
    form = api.client.post(CHAT, content=b"a=b", headers={"content-type": "text/plain"})
    assert (form.status_code, error(form)["code"]) == (415, "unsupported_media_type")
    huge = api.client.post(CHAT, content=b"x", headers={"content-length": str(1 << 40)})
    assert (huge.status_code, error(huge)["code"]) == (413, "too_large")


def test_without_a_worker_it_says_when_to_come_back(api: Api) -> None:
    api.redis.delete(keys.WORKER_SEEN)
    try:
        response = api.client.post(CHAT, json=body(CHAT))
    finally:
        api.redis.set(keys.WORKER_SEEN, 1)
    assert (response.status_code, error(response)["code"]) == (503, "no_worker")
    assert int(response.headers["retry-after"]) > 0


def test_the_description_tells_of_errors_in_the_same_shape(api: Api) -> None:
    paths = api.client.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        wanted = [f"#/components/schemas/{name}" for name in error_bodies(path)]
        for operation in operations.values():
            for status in ("422", "4XX", "5XX"):
                told = operation["responses"][status]["content"]["application/json"]["schema"]
                assert [shape["$ref"] for shape in told.get("anyOf", [told])] == wanted


def error_bodies(path: str) -> list[str]:
    """The shapes of errors below a path: the list of models is in either API."""
    if path.startswith("/v1/messages"):
        return ["AnthropicErrorBody"]
    if path.startswith("/v1/models"):
        return ["OpenAiErrorBody", "AnthropicErrorBody"]
    return ["OpenAiErrorBody"] if path.startswith("/v1") else ["ErrorBody"]
