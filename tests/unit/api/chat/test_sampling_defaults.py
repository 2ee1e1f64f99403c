"""What a request leaves out: the model's own defaults come before the service's, on every route;
and what was used is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from api.batches.lines import LineParser, parse_line
from api.batches.routes import read
from api.openai.batches.batch_lines import ENDPOINTS
from tests.support.api_support import MODEL, chat_body
from tests.support.fake_api import fake_redis
from tests.support.openai_support import ANSWER, CHAT, COMPLETIONS, Api, body, serving
from wire import keys
from wire.batches import BatchLine
from wire.messages import ChatJob, Sampling
from wire.model_registry import ModelRecord, Registry, SamplingDefaults, decode
from wire.versions import VERSION

NATIVE = "/api/engine/chat"
OWN = SamplingDefaults(temperature=0.6, top_p=0.95, top_k=20, min_p=0.01, repetition_penalty=1.05)
RECOMMENDED = MODEL.model_copy(update={"sampling_defaults": OWN})
OURS = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
LEFT_OUT = ("stop", "logprobs", "top_logprobs", "echo")
"""What of a request is no part of the sampling that answers tell."""
CONTRACT = {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.1}


@pytest.fixture(scope="module")
def running() -> Iterator[Api]:
    with serving() as api:
        yield api


@pytest.fixture
def api(running: Api) -> Api:
    Registry(running.redis).put(RECOMMENDED)
    running.worker.seen.clear()
    running.worker.answer = lambda _: ANSWER
    return running


def shown(sampling: Sampling) -> dict[str, float]:
    return {name: getattr(sampling, name) for name in OURS}


def job(api: Api, path: str, fields: dict[str, Any]) -> ChatJob:
    asked = chat_body() if path == NATIVE else body(path)
    response = api.client.post(path, json=asked | fields)
    assert response.status_code == 200, response.text
    made = api.worker.seen[-1]
    assert isinstance(made, ChatJob)
    return made


def line(model: ModelRecord, endpoint: str | None, fields: dict[str, Any]) -> BatchLine:
    if endpoint is None:
        row = {"custom_id": "a", "model_id": model.id, "prompt": "Hello"} | fields
        made = parse_line(json.dumps(row).encode(), 1, LineParser([model], read))
    else:
        row = {
            "custom_id": "a",
            "method": "POST",
            "url": endpoint,
            "body": body(endpoint) | {"model": model.id} | fields,
        }
        parser = LineParser([model], ENDPOINTS[endpoint].read)
        made = parse_line(json.dumps(row).encode(), 1, parser)
    assert isinstance(made, BatchLine), made
    return made


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_below_v1_the_models_own_defaults_come_before_ours(api: Api, path: str) -> None:
    assert shown(job(api, path, {}).sampling) == OWN.given()
    assert shown(line(RECOMMENDED, path, {}).sampling) == OWN.given()
    assert shown(line(MODEL, path, {}).sampling) == OURS


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_request_comes_before_both(api: Api, path: str) -> None:
    asked = {"temperature": 0, "top_p": 0.5, "top_k": 0, "min_p": 0, "repetition_penalty": 1}
    assert shown(job(api, path, asked).sampling) == asked
    assert shown(line(RECOMMENDED, path, asked).sampling) == asked
    some = {"temperature": 0.2, "top_k": None}
    assert shown(job(api, path, some).sampling) == OWN.given() | {"temperature": 0.2}


def test_natively_only_what_the_contract_has_no_default_for_is_the_models(api: Api) -> None:
    expected = CONTRACT | {"top_k": 20, "min_p": 0.01}
    assert shown(job(api, NATIVE, {}).sampling) == expected
    assert shown(line(RECOMMENDED, None, {}).sampling) == expected
    off = {"top_k": -1, "min_p": 0.0}
    assert shown(job(api, NATIVE, off).sampling) == CONTRACT | {"top_k": 0, "min_p": 0.0}
    assert shown(line(MODEL, None, {}).sampling) == CONTRACT | {"top_k": 0, "min_p": 0.0}


@pytest.mark.parametrize("path", [NATIVE, CHAT, COMPLETIONS])
def test_beside_an_older_worker_nobody_is_refused_for_what_only_the_model_asks(
    api: Api, path: str
) -> None:
    older = keys.worker_reads("w1")
    api.redis.set(older, 3)
    try:
        made, sampling = used(api, path)
        assert (made.sampling.top_k, made.sampling.min_p) == (0, 0.0)
        assert (sampling["top_k"], sampling["min_p"]) == (0, 0.0)
        assert made.sampling.temperature == (0.7 if path == NATIVE else 0.6)
        asked = (chat_body() if path == NATIVE else body(path)) | {"top_k": 5}
        refused = api.client.post(path, json=asked)
        assert (refused.status_code, "top_k" in refused.text) == (503, True)
    finally:
        api.redis.set(older, VERSION)
    parser = LineParser([RECOMMENDED], read, version=3)
    row = json.dumps({"custom_id": "a", "model_id": MODEL.id, "prompt": "Hello"})
    made_line = parse_line(row.encode(), 1, parser)
    assert isinstance(made_line, BatchLine)
    assert made_line.sampling.top_k == 0


def test_lists_of_models_tell_their_defaults(api: Api) -> None:
    for path in ("/models", "/v1/models"):
        rows = api.client.get(path).json()
        [row] = rows["data"] if path.startswith("/v1") else rows
        assert row["sampling_defaults"] == OWN.given()


def used(api: Api, path: str, **fields: Any) -> tuple[ChatJob, dict[str, Any]]:
    """A job, and what its view says was used."""
    made = job(api, path, fields)
    view = api.client.get(f"/api/engine/jobs/{made.job_id}").json()
    return made, view["sampling"]


@pytest.mark.parametrize("path", [NATIVE, CHAT, COMPLETIONS])
def test_the_view_of_a_job_says_what_was_used(api: Api, path: str) -> None:
    made, sampling = used(api, path, logit_bias={"7": 5}, stop=["secret"], max_tokens=9)
    assert sampling["seed"] == made.sampling.seed
    assert {name: sampling[name] for name in OURS} == shown(made.sampling)
    assert (sampling["logit_bias"], sampling["max_tokens"]) == ({"7": 5.0}, 9)
    untold = {"stop", "logprobs", "prompt_logprobs", "thinking_budget"}
    assert set(sampling) == set(Sampling.model_fields) - untold
    assert b"secret" not in api.redis.hget(keys.job(made.job_id), "sampling")


def test_a_job_of_a_release_that_kept_nothing_has_a_view(api: Api) -> None:
    made = job(api, NATIVE, {})
    api.redis.hdel(keys.job(made.job_id), "sampling")
    view = api.client.get(f"/api/engine/jobs/{made.job_id}").json()
    assert (view["sampling"], view["text"]) == (None, "Hello")


def frames(response: Any) -> list[Any]:
    assert response.status_code == 200, response.text
    lines = [line for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines if line != "data: [DONE]"]


def test_the_last_frame_with_usage_says_what_was_used_also_when_it_is_read_again(api: Api) -> None:
    with_usage = {"stream_options": {"include_usage": True}}
    response = api.client.post(NATIVE, json=chat_body(**with_usage))
    *others, last = frames(response)
    job_id = response.headers["x-job-id"]
    expected = api.client.get(f"/api/engine/jobs/{job_id}").json()["sampling"]
    assert last["sampling"] == expected
    assert expected["top_k"] == 20
    assert all("sampling" not in frame for frame in others)
    again = api.client.get(f"/api/engine/chat/{job_id}/events")
    assert frames(again)[-1] == last
    plain = api.client.post(NATIVE, json=chat_body())
    assert frames(plain)[-1] == {"text": "", "done": True}


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_below_v1_it_stands_beside_the_usage(api: Api, path: str) -> None:
    whole = api.client.post(path, json=body(path) | {"seed": 5}).json()
    assert (whole["sampling"]["seed"], whole["sampling"]["temperature"]) == (5, 0.6)
    chunks = api.chunks(path, seed=5, stream_options={"include_usage": True})
    assert chunks[-1]["sampling"] == whole["sampling"]
    assert all("sampling" not in chunk for chunk in chunks[:-1])
    assert all("sampling" not in chunk for chunk in api.chunks(path, seed=5))


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"seed": -7, "thinking_token_budget": 30, "logprobs": True, "top_logprobs": 2}),
        (CHAT, {"logit_bias": {"3": 1.5}, "xtc_probability": 0.5, "stop": ["x"], "min_tokens": 2}),
        (COMPLETIONS, {"logprobs": 2, "echo": True, "stop_token_ids": [7], "ignore_eos": True}),
        (COMPLETIONS, {}),
    ],
)
def test_what_was_used_can_be_sent_again(api: Api, path: str, fields: dict[str, Any]) -> None:
    told = api.client.post(path, json=body(path) | fields).json()["sampling"]
    beside = {name: fields[name] for name in LEFT_OUT if name in fields}
    first, again = api.worker.seen[-1], api.job(path, **told, **beside)
    assert isinstance(first, ChatJob)
    assert again.sampling == first.sampling


def test_what_a_native_chat_used_can_be_sent_again(api: Api) -> None:
    asked = chat_body(top_k=3, stream_options={"include_usage": True}, logit_bias={"3": 1})
    told = frames(api.client.post(NATIVE, json=asked))[-1]["sampling"]
    first = api.worker.seen[-1]
    response = api.client.post(NATIVE, json=chat_body() | told)
    assert response.status_code == 200, response.text
    again = api.worker.seen[-1]
    assert isinstance(first, ChatJob)
    assert isinstance(again, ChatJob)
    assert again.sampling == first.sampling


def test_a_repeated_request_is_told_the_sampling_of_the_first(api: Api) -> None:
    first, second = (
        api.client.post(CHAT, json=body(CHAT), headers={"Idempotency-Key": "again"}).json()
        for _ in range(2)
    )
    assert first["id"] == second["id"]
    assert first["sampling"] == second["sampling"]


def test_a_models_record_is_as_the_release_before_reads_it(api: Api) -> None:
    """That one reads no record with a field that it doesn't know."""
    stored = json.loads(api.redis.hget(keys.MODELS, MODEL.id))
    beside = {"sampling_defaults", "prompt_revision", "reasoning_efforts", "demo"}
    beside |= {"tasks", "dimensions", "shorter_dimensions", "draft_model", "draft_size"}
    beside |= {"base_id", "adapter_path", "problem"}
    of_downloads = {"download_speed", "download_eta", "download_error"}
    assert set(stored) == set(ModelRecord.model_fields) - beside - of_downloads
    assert json.loads(api.redis.hget(keys.MODEL_SAMPLING, MODEL.id)) == OWN.given()


def test_efforts_are_stored_beside_a_record_and_shown_with_it(api: Api) -> None:
    Registry(api.redis).put(MODEL.model_copy(update={"reasoning_efforts": ("none", "high")}))
    [row] = api.client.get("/models").json()
    assert row["reasoning_efforts"] == ["none", "high"]


def test_defaults_go_with_their_model_and_unreadable_ones_are_none() -> None:
    redis = fake_redis()
    registry = Registry(redis)
    registry.put(RECOMMENDED)
    registry.put(MODEL)
    assert not redis.exists(keys.MODEL_SAMPLING)
    registry.put(RECOMMENDED)
    registry.remove(MODEL.id)
    assert not redis.exists(keys.MODEL_SAMPLING)
    record = RECOMMENDED.model_dump_json().encode()
    for defaults in (b"{", b'{"top_k": "many"}'):
        assert decode([record], {MODEL.id.encode(): defaults}) == [MODEL]
    later = {MODEL.id.encode(): b'{"top_k": 5, "later": 1}'}
    assert decode([record], later)[0].sampling_defaults.given() == {"top_k": 5}
