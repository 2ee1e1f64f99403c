"""The official client's sampling fields, and those that it takes in ``extra_body``, reach the job;
the service says what was used."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.integration.openai.test_response_details import LONG, SHORTENED
from tests.support.openai_service import MODEL, Service
from worker.backends.echo import CONTEXT_WINDOW

EXTRA = {
    "top_k": 40.0,
    "min_p": 0.05,
    "xtc_probability": 0.5,
    "xtc_threshold": 0.2,
    "repetition_penalty": 1.2,
    "repetition_context_size": 64,
    "min_tokens": 2,
    "stop_token_ids": [70_000],
}
OWN: dict[str, Any] = {
    "temperature": 0.3,
    "top_p": 0.8,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "logit_bias": {"17": -100},
    "seed": 5,
    "max_tokens": 3,
}
USED = EXTRA | OWN | {"ignore_eos": False}


def test_a_chat_says_what_was_used(service: Service) -> None:
    whole = service.chat("hello", stop=["never"], extra_body=EXTRA, **OWN)
    assert {name: whole.sampling[name] for name in USED} == USED
    assert "stop" not in whole.sampling
    chunks = service.stream(
        "hello", extra_body=EXTRA, stream_options={"include_usage": True}, **OWN
    )
    assert {name: chunks[-1].sampling[name] for name in USED} == USED
    job = service.json(f"/api/engine/jobs/{whole.id.removeprefix('chatcmpl-')}")
    assert job["sampling"] == whole.sampling


def test_so_does_a_completion(service: Service) -> None:
    answer: Any = service.client.completions.create(
        model=MODEL, prompt="Once", extra_body=EXTRA, **OWN
    )
    assert {name: answer.sampling[name] for name in USED} == USED


def test_a_native_stream_says_it_with_its_usage(service: Service) -> None:
    body = {"model_id": MODEL, "messages": [{"role": "user", "content": "hello"}], **EXTRA, **OWN}
    connection = service.raw(body | {"stream_options": {"include_usage": True}}, "/api/engine/chat")
    *_, last = [line for line in connection.getresponse() if line.startswith(b"data: ")]
    connection.close()
    assert b'"sampling"' in last
    assert b'"xtc_threshold": 0.2' in last


def test_a_wrong_value_is_the_clients_own_error(service: Service) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        service.chat("hello", extra_body={"min_tokens": 9}, max_tokens=8)
    assert (refused.value.param, refused.value.code) == ("min_tokens", "invalid_request")


def test_a_conversation_that_does_not_fit_is_refused_by_how_much(service: Service) -> None:
    tokens = sum(len(f"{turn['role']}:{turn['content']}\n") for turn in LONG)
    excess = tokens - (CONTEXT_WINDOW - 1)
    with pytest.raises(openai.BadRequestError) as refused:
        service.client.chat.completions.create(model=MODEL, messages=LONG)
    assert (
        f"your messages resulted in {tokens} tokens. Please reduce the length of the messages. "
        f"The prompt is {excess} tokens too long: {CONTEXT_WINDOW - 1} fit beside the answer."
    ) in refused.value.message


@pytest.mark.parametrize("stream", [False, True])
def test_or_shortened_with_a_warning_where_that_is_asked_for(
    service: Service, stream: bool
) -> None:
    answer = service.client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=LONG,
        max_tokens=2,
        stream=stream,
        extra_body={"truncation": "auto"},
    )
    assert answer.headers["x-warning"] == SHORTENED
    parsed: Any = answer.parse()
    assert (next(iter(parsed)) if stream else parsed).warnings == [SHORTENED]
    if stream:
        parsed.close()
