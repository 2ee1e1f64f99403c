"""What responses of OpenAI's routes carry beside the text: refusals that clients act on, warnings,
reasons and ids."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.support.api_support import wait_for
from tests.support.openai_service import MODEL, Service, text_of
from worker.backends.echo import CONTEXT_WINDOW
from worker.backends.echo_script import SAY

FILL = "one two three four five six seven eight nine ten. " * 20
"""A thousand tokens: one a byte on the echo backend."""
LONG: Any = [
    {"role": role, "content": text}
    for _ in range(5)
    for role, text in (("user", FILL), ("assistant", "All right!"))
] + [{"role": "user", "content": "What is my name?"}]
SENTENCE = f"This model's maximum context length is {CONTEXT_WINDOW} tokens. However, your messages resulted in 5"
SHORTENED = "The prompt was shortened: the 4 oldest messages were left out."
CALL = '<tool_call>{"name": "clock", "arguments": {}}</tool_call>'
CLOCK: Any = {
    "type": "function",
    "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}},
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_that_does_not_fit_is_refused_in_the_words_that_agents_look_for(
    service: Service, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        service.client.chat.completions.create(model=MODEL, messages=LONG, stream=stream)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")
    assert SENTENCE in refused.value.message
    assert "Please reduce the length of the messages." in refused.value.message
    with pytest.raises(openai.BadRequestError) as text:
        service.client.completions.create(model=MODEL, prompt=FILL * 5, stream=stream)
    assert (text.value.code, text.value.param) == ("context_length_exceeded", "prompt")
    wait_for(lambda: service.live() == 0)


def test_what_is_known_too_late_for_a_status_is_an_error_in_the_stream(service: Service) -> None:
    busy = service.all_slots_busy()
    connection = service.raw({"model": MODEL, "messages": LONG, "stream": True})
    # The chat waits in the queue for long: the headers are sent before.
    response = connection.getresponse()
    assert response.status == 200
    for stream in busy:
        stream.close()
    *_, error, done = [line for line in response.read().splitlines() if line.startswith(b"data: ")]
    connection.close()
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "context_length_exceeded"
    assert done == b"data: [DONE]"


def test_a_limit_beyond_the_context_leaves_what_there_is(service: Service) -> None:
    remaining = 50
    text = "x" * (CONTEXT_WINDOW - remaining - len("user:\n"))
    completion = service.chat(text, max_tokens=remaining)
    assert (completion.choices[0].finish_reason, completion.usage.completion_tokens) == (
        "length",
        remaining,
    )
    assert (
        service.chat(text + "x" * (remaining - 1), max_tokens=1).usage.total_tokens
        == CONTEXT_WINDOW
    )


def test_the_native_route_goes_on_shortening_with_its_warning(service: Service) -> None:
    connection = service.raw(
        {"model_id": MODEL, "messages": LONG, "max_tokens": 2}, "/api/engine/chat"
    )
    frames = [
        json.loads(line[6:]) for line in connection.getresponse() if line.startswith(b"data: ")
    ]
    connection.close()
    assert [frame["warning"] for frame in frames if "warning" in frame] == [SHORTENED]
    assert frames[-1] == {"text": "", "done": True}


def test_a_batch_refuses_openais_lines_and_warns_in_its_own(service: Service) -> None:
    row = {"custom_id": "long", "method": "POST", "url": "/v1/chat/completions"}
    lines = [
        row | {"body": {"model": MODEL, "messages": LONG}},
        row | {"custom_id": "field", "body": {"model": MODEL, "messages": LONG[-1:], "lora": 1}},
        row
        | {
            "custom_id": "unknown",
            "body": {"messages": LONG[-1:], "chat_id": "x", "max_tokens": 2},
        },
    ]
    data = "\n".join(json.dumps(line) for line in lines).encode()
    file = service.client.files.create(file=("lines.jsonl", data), purpose="batch")
    batch = service.client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    wait_for(lambda: service.client.batches.retrieve(batch.id).status == "completed")
    batch = service.client.batches.retrieve(batch.id)
    failed = {row["custom_id"]: row["response"] for row in _rows(service, batch.error_file_id)}
    error = failed["long"]["body"]["error"]
    assert (failed["long"]["status_code"], error["code"], error["param"]) == (
        400,
        "context_length_exceeded",
        "messages",
    )
    assert SENTENCE in error["message"]
    error = failed["field"]["body"]["error"]
    assert (failed["field"]["status_code"], error["code"], error["param"]) == (
        400,
        "unsupported",
        "lora",
    )
    (good,) = _rows(service, batch.output_file_id)
    assert good["response"]["body"]["warnings"] == ["Unknown fields were ignored: chat_id."]
    assert good["response"]["body"]["model"] == MODEL


def test_a_native_batch_shortens_and_warns(service: Service) -> None:
    native = {"model_id": "default", "prompts": [{"messages": LONG}], "max_tokens": 2}
    batch_id = service.json("/api/engine/batches", native)["id"]
    wait_for(lambda: service.json(f"/api/engine/batches/{batch_id}")["status"] == "completed")
    assert service.json(f"/api/engine/batches/{batch_id}/results")["warnings"] == [SHORTENED]


def _rows(service: Service, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    return [json.loads(line) for line in service.client.files.content(file_id).text.splitlines()]


def test_the_stop_text_that_ended_an_answer_is_named(service: Service) -> None:
    choice = service.chat(f"{SAY}One EN, two END three", stop=["never", "END"]).choices[0]
    assert (choice.message.content, choice.stop_reason) == ("One EN, two ", "END")
    last = service.stream(f"{SAY}One END", stop=["E", "END"])[-1].choices[0]
    assert (last.finish_reason, last.stop_reason) == ("stop", "E")
    assert service.chat(f"{SAY}Over.").choices[0].stop_reason is None


def test_of_several_calls_a_client_that_wants_one_gets_the_first(service: Service) -> None:
    fields: Any = {"tools": [CLOCK], "parallel_tool_calls": False}
    choice = service.chat(f"{SAY}{CALL}{CALL}", **fields).choices[0]
    assert (len(choice.message.tool_calls), choice.finish_reason) == (1, "tool_calls")
    chunks = service.stream(f"{SAY}{CALL}{CALL}", **fields)
    told = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert len([call for call in told if call.function.name]) == 1
    assert {call.index for call in told} == {0}


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_that_was_stopped_ends_with_a_word_that_clients_know_and_a_mark(
    service: Service, stream: bool
) -> None:
    connection = service.raw(
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": "stop me"}],
            "max_tokens": 4000,
            "stream": stream,
        }
    )
    wait_for(lambda: service.live() == 1)
    service.json("/api/engine/chat/stop", {})
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    if stream:
        completion = json.loads(
            [line for line in body.splitlines() if line.startswith("data: ")][-2].removeprefix(
                "data: "
            )
        )
    else:
        completion = json.loads(body)
        assert response.headers["x-cancelled"] == "true"
    assert (completion["choices"][0]["finish_reason"], completion["cancelled"]) == ("stop", True)


def test_every_answer_has_a_request_id_and_a_jobs_is_its_own(service: Service) -> None:
    completion = service.chat("hello", max_tokens=1)
    assert completion._request_id == completion.id.removeprefix("chatcmpl-")
    with pytest.raises(openai.InternalServerError) as failed:
        service.chat("please fail in decode")
    assert len(failed.value.request_id or "") == 32
    with pytest.raises(openai.NotFoundError) as missing:
        service.chat("hello", model="no/such-model")
    assert len(missing.value.request_id or "") == 32
    raw = service.client.chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "user", "content": "hello"}], max_tokens=1, stream=True
    )
    assert raw.headers["x-request-id"] == raw.headers["x-job-id"]
    raw.http_response.close()


@pytest.mark.parametrize("name", ["", "default", None])
def test_who_names_no_model_gets_the_default_one(service: Service, name: str | None) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
    completion = service.json(
        "/v1/chat/completions", body | ({} if name is None else {"model": name})
    )
    assert completion["model"] == MODEL


def test_a_conversation_keeps_its_thinking_under_both_names(service: Service) -> None:
    text = f"{SAY}<think>Hm.</think>Yes."
    message = service.chat(text).choices[0].message
    assert (message.reasoning, message.reasoning_content, message.content) == ("Hm.", "Hm.", "Yes.")
    chunks = service.stream(text)
    for name in ("reasoning", "reasoning_content"):
        assert (
            "".join(getattr(chunk.choices[0].delta, name, None) or "" for chunk in chunks) == "Hm."
        )
    turns: Any = [
        {"role": "user", "content": text},
        message.model_dump(),
        {"role": "user", "content": "So?"},
    ]
    assert text_of(
        list(
            service.client.chat.completions.create(
                model=MODEL, messages=turns, stream=True, max_tokens=2
            )
        )
    )
