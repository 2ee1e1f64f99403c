"""The shape of OpenAI's responses: whole ones, streams, warnings and failures."""

from __future__ import annotations

import json
from typing import Any

import openai.types.chat
import pytest

from api.openai.response_schemas import ChatCompletion, Completion
from tests.support.openai_support import ANSWER, CHAT, COMPLETIONS, Api, body, error
from wire.messages import Delta, ErrorCode, Failed, Finished, ToolCallDelta, Usage, Warning


def test_a_whole_answer_has_openais_shape(api: Api) -> None:
    answer = api.client.post(CHAT, json=body(CHAT) | {"model": "Tiny Chat"}).json()
    assert answer.pop("id") == f"chatcmpl-{api.worker.seen[-1].job_id}"
    assert answer.pop("created") > 1_700_000_000
    assert answer.pop("sampling")["max_tokens"] == 32768
    assert answer == {
        "object": "chat.completion",
        "model": "Tiny Chat",
        "system_fingerprint": "r1",
        "service_tier": "default",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello",
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "stop",
                "stop_reason": None,
            }
        ],
        "usage": {
            "prompt_tokens": 5,
            "completion_tokens": 3,
            "total_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def test_answers_are_as_the_description_says(api: Api) -> None:
    described = api.client.get("/openapi.json").json()
    schemas = described["components"]["schemas"]
    for path, whole, chunk in (
        (CHAT, "ChatCompletion", "ChatCompletionChunk"),
        (COMPLETIONS, "Completion", "Completion"),
    ):
        content = described["paths"][path]["post"]["responses"]["200"]["content"]
        assert content["application/json"]["schema"] == {"$ref": f"#/components/schemas/{whole}"}
        done, data = content["text/event-stream"]["schema"]["properties"]["data"]["anyOf"]
        assert done == {"const": "[DONE]"}
        assert {"$ref": f"#/components/schemas/{chunk}"} in data["contentSchema"]["anyOf"]
        assert {whole, chunk} <= set(schemas)
    call = ToolCallDelta(id="c1", name="clock", arguments="{}")
    api.worker.answer = lambda _: (
        Warning("Slow."),
        Delta("Hi", (1,), "Hm.", (call,)),
        Finished("cancelled"),
    )
    # As we describe them, and as OpenAI's client does.
    for kind in (ChatCompletion, openai.types.chat.ChatCompletion):
        kind.model_validate(api.client.post(CHAT, json=body(CHAT)).json())
    for text_kind in (Completion, openai.types.Completion):
        text_kind.model_validate(api.client.post(COMPLETIONS, json=body(COMPLETIONS)).json())
    chunks = api.chunks()
    for chunk in chunks:
        openai.types.chat.ChatCompletionChunk.model_validate(chunk)
    assert chunks[-1]["cancelled"]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_warnings_are_in_the_header_and_in_a_field(api: Api, path: str) -> None:
    warnings = (Warning("Old turns were left out."), Warning("Memory is short."))
    api.worker.answer = lambda _: (*warnings, *ANSWER)
    sentences = ["Old turns were left out.", "Memory is short."]
    answer = api.client.post(path, json=body(path))
    assert (answer.json()["warnings"], answer.headers["x-warning"]) == (
        sentences,
        " ".join(sentences),
    )
    first, *rest = api.chunks(path)
    assert first["warnings"] == sentences
    assert not any("warnings" in chunk for chunk in rest)
    stream = api.client.post(path, json=body(path) | {"stream": True})
    assert stream.headers["x-warning"].startswith(sentences[0])


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("stream", [False, True])
def test_a_warning_that_names_any_text_makes_a_header_of_ascii(
    api: Api, stream: bool, n: int
) -> None:
    told = 'The format "ключ\r\nX-Evil: 1" is not enforced.'
    api.worker.answer = lambda _: (Warning(told), Warning("x" * 5_000), *ANSWER)
    answer = api.client.post(CHAT, json=body(CHAT) | {"stream": stream, "n": n})
    assert answer.status_code == 200, answer.text
    line = answer.headers["x-warning"]
    assert line.startswith('The format "??????X-Evil: 1" is not enforced. xxx')
    assert len(line) == 2048
    assert "x-evil" not in answer.headers
    assert json.dumps(told) in answer.text or told in answer.json()["warnings"]


@pytest.mark.parametrize("code", ["prompt_too_long", "bad_prompt", "template_failed"])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_stream_that_fails_before_its_first_word_is_a_status(
    api: Api, path: str, code: ErrorCode
) -> None:
    api.worker.answer = lambda _: (Failed(code, "This prompt can't be read."),)
    response = api.client.post(path, json=body(path) | {"stream": True})
    assert response.status_code == 400
    details = error(response)
    assert (details["code"], details["param"]) == (
        "context_length_exceeded" if code == "prompt_too_long" else code,
        "messages" if path == CHAT else "prompt",
    )
    assert response.headers["x-request-id"] == api.worker.seen[-1].job_id


def test_a_stream_begins_with_the_role_and_ends_with_the_reason(api: Api) -> None:
    chunks = api.chunks()
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert (
        len({(chunk["id"], chunk["created"], chunk["system_fingerprint"]) for chunk in chunks}) == 1
    )
    choices = [chunk["choices"][0] for chunk in chunks]
    deltas = [choice["delta"] for choice in choices]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]
    assert not any("usage" in chunk for chunk in chunks)


def test_usage_comes_in_a_chunk_of_its_own(api: Api) -> None:
    *chunks, last = api.chunks(stream_options={"include_usage": True})
    assert {chunk["usage"] for chunk in chunks} == {None}
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 8


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_tokens_of_thinking_are_told_whole_and_streamed(api: Api, path: str) -> None:
    end = Finished("stop", Usage(5, 9, 2, reasoning_tokens=4))
    api.worker.answer = lambda _: (Delta("Hi", (1,)), end)
    whole = api.client.post(path, json=body(path)).json()
    *_, streamed = api.chunks(path, stream_options={"include_usage": True})
    for usage in (whole["usage"], streamed["usage"]):
        assert usage["completion_tokens_details"] == {"reasoning_tokens": 4}
        assert (usage["completion_tokens"], usage["total_tokens"]) == (9, 14)


def test_a_failure_in_mid_stream_is_an_error_event(api: Api) -> None:
    api.worker.answer = lambda _: (
        Delta("Hel", (1,)),
        Failed("engine_failed", "Generation failed."),
    )
    *_, last = api.chunks()
    assert last == {
        "error": {
            "message": "Generation failed.",
            "type": "server_error",
            "param": None,
            "code": "engine_failed",
        }
    }


@pytest.mark.parametrize(
    ("code", "status"), [("engine_failed", 500), ("load_failed", 422), ("prompt_too_long", 400)]
)
def test_a_failure_without_a_stream_is_a_status(api: Api, code: Any, status: int) -> None:
    api.worker.answer = lambda _: (Failed(code, "It failed."),)
    response = api.client.post(CHAT, json=body(CHAT))
    assert response.status_code == status
    assert error(response)["message"] == "It failed."
