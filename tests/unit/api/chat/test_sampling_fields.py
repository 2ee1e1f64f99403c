"""The sampling fields that all request bodies have: what they ask for, and which are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from api.batches.lines import LineParser, parse_line
from api.batches.routes import read
from tests.support.api_support import MODEL, chat_body
from tests.support.openai_support import ANSWER, CHAT, COMPLETIONS, Api, body, serving
from wire.batches import BatchLine, LineResult
from wire.messages import ChatJob, Sampling

NATIVE = "/api/engine/chat"
ROUTES = (NATIVE, CHAT, COMPLETIONS)


@pytest.fixture(scope="module")
def running() -> Iterator[Api]:
    with serving() as api:
        yield api


@pytest.fixture
def api(running: Api) -> Api:
    running.worker.seen.clear()
    running.worker.answer = lambda _: ANSWER
    return running


def sent(api: Api, path: str, fields: dict[str, Any]) -> Any:
    asked = chat_body() if path == NATIVE else body(path)
    return api.client.post(path, json=asked | fields)


def sampling(api: Api, path: str, **fields: Any) -> Sampling:
    """The sampling of the job that a request becomes."""
    response = sent(api, path, fields)
    assert response.status_code == 200, response.text
    job = api.worker.seen[-1]
    assert isinstance(job, ChatJob)
    return job.sampling


def line(**fields: Any) -> BatchLine | LineResult:
    """A line of a native batch as it is read."""
    row = {"custom_id": "a", "model_id": MODEL.id, "prompt": "Hello"} | fields
    return parse_line(json.dumps(row).encode(), 1, LineParser([MODEL], read))


FIELDS = [
    ({"top_k": 40}, {"top_k": 40}),
    ({"top_k": 40.0}, {"top_k": 40}),
    ({"top_k": 0}, {"top_k": 0}),
    ({"top_k": -1}, {"top_k": 0}),
    ({"min_p": 1}, {"min_p": 1.0}),
    ({"xtc_probability": 0.5}, {"xtc_probability": 0.5, "xtc_threshold": 0.1}),
    (
        {"xtc_probability": 1, "xtc_threshold": 0.5},
        {"xtc_probability": 1.0, "xtc_threshold": 0.5},
    ),
    ({"xtc_threshold": 0.3}, {"xtc_probability": 0.0, "xtc_threshold": 0.0}),
    ({"logit_bias": {"17": -100, "05": 2.5}}, {"logit_bias": ((17, -100.0), (5, 2.5))}),
    ({"logit_bias": {"17": 0}}, {"logit_bias": ()}),
    ({"logit_bias": {}}, {"logit_bias": ()}),
    ({"presence_penalty": -2, "frequency_penalty": 2}, {"frequency_penalty": 2.0}),
    ({"repetition_context_size": 64.0}, {"repetition_context_size": 64}),
    ({"stop": "END"}, {"stop": ("END",)}),
    ({"stop": ["a", "", "b"]}, {"stop": ("a", "b")}),
    ({"stop_token_ids": [3, 1.0, 3]}, {"stop_token_ids": (3, 1)}),
    ({"ignore_eos": True}, {"ignore_eos": True}),
    ({"min_tokens": 5, "max_tokens": 5}, {"min_tokens": 5, "max_tokens": 5}),
    ({"max_tokens": 512.0}, {"max_tokens": 512}),
    ({"max_tokens": -1}, {"max_tokens": 32768}),
    ({"seed": 7.0}, {"seed": 7}),
]


@pytest.mark.parametrize(("asked", "expected"), FIELDS)
@pytest.mark.parametrize("path", ROUTES)
def test_a_field_reaches_the_job_from_every_route(
    api: Api, path: str, asked: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = sampling(api, path, **asked)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(("asked", "expected"), FIELDS)
def test_a_field_reaches_the_job_from_a_line_of_a_batch(
    asked: dict[str, Any], expected: dict[str, Any]
) -> None:
    made = line(**asked)
    assert isinstance(made, BatchLine)
    assert {name: getattr(made.sampling, name) for name in expected} == expected


WRONG: list[tuple[str, Any]] = [
    ("top_k", -2),
    ("top_k", 1_000_001),
    ("top_k", "5"),
    ("top_k", True),
    ("top_k", 1.5),
    ("min_p", -0.1),
    ("min_p", 1.1),
    ("xtc_probability", 1.1),
    ("xtc_threshold", 0.51),
    ("logit_bias", {"17": 101}),
    ("logit_bias", {"17": True}),
    ("logit_bias", {"x": 1}),
    ("logit_bias", {"-1": 1}),
    ("logit_bias", {"1": 1, "01": 2}),
    ("logit_bias", {"2147483648": 1}),
    ("logit_bias", {str(number): 1 for number in range(301)}),
    ("logit_bias", [[17, 1]]),
    ("presence_penalty", 2.1),
    ("frequency_penalty", -2.1),
    ("repetition_context_size", 0),
    ("repetition_context_size", 32769),
    ("stop", ["x"] * 65),
    ("stop", [1]),
    ("stop_token_ids", [-1]),
    ("stop_token_ids", [1] * 65),
    ("stop_token_ids", "1"),
    ("ignore_eos", 1),
    ("min_tokens", -1),
    ("max_tokens", 0),
    ("max_tokens", -2),
    ("max_tokens", 1.5),
    ("seed", 7.5),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
@pytest.mark.parametrize("path", ROUTES)
def test_a_wrong_value_is_refused_by_the_fields_name(
    api: Api, path: str, field: str, value: Any
) -> None:
    response = sent(api, path, {field: value})
    assert response.status_code == (422 if path == NATIVE else 400), response.text
    assert not api.worker.seen
    if path == NATIVE:
        assert response.json()["errors"][0].startswith(f"body -> {field}")
    else:
        assert response.json()["error"]["param"].partition("[")[0].partition(".")[0] == field


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_line_of_a_batch_with_a_wrong_value_fails_alone(field: str, value: Any) -> None:
    failed = line(**{field: value})
    assert isinstance(failed, LineResult)
    assert failed.error is not None
    assert failed.error[0] == "invalid_request"
    assert failed.error[1].startswith(field)


@pytest.mark.parametrize("path", ROUTES)
def test_no_answer_has_fewer_tokens_than_it_may_have(api: Api, path: str) -> None:
    """Also compared with the limit of a request that names none: 512, 16 or the largest."""
    asked = {"min_tokens": 20} | ({} if path == COMPLETIONS else {"max_tokens": 19})
    response = sent(api, path, asked)
    assert response.status_code == (422 if path == NATIVE else 400)
    limit = 16 if path == COMPLETIONS else 19
    sentence = f"min_tokens is more than max_tokens, which is {limit}."
    told = response.json()
    if path == NATIVE:
        assert (told["detail"], told["code"]) == (sentence, "invalid_request")
    else:
        assert (told["error"]["message"], told["error"]["param"]) == (sentence, "min_tokens")
    made = line(min_tokens=20, max_tokens=19)
    assert isinstance(made, LineResult)
    assert made.error == ("invalid_request", "min_tokens is more than max_tokens, which is 19.")


def test_what_asks_for_nothing_leaves_the_job_as_an_older_worker_reads_it(api: Api) -> None:
    plain = set(sampling(api, NATIVE).model_dump())
    nothing = {
        "top_k": -1,
        "min_p": 0,
        "xtc_probability": 0,
        "xtc_threshold": 0.1,
        "logit_bias": {"1": 0},
        "repetition_context_size": 20,
        "ignore_eos": False,
        "min_tokens": 0,
        "stop_token_ids": [],
    }
    assert set(sampling(api, NATIVE, **nothing).model_dump()) == plain


@pytest.mark.parametrize("path", ROUTES)
def test_null_is_the_same_as_leaving_a_field_out(api: Api, path: str) -> None:
    names = ("top_k", "min_p", "logit_bias", "stop", "stop_token_ids", "ignore_eos", "min_tokens")
    assert sampling(api, path, **dict.fromkeys(names)).top_k == 0
