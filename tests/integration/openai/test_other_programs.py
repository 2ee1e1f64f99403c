"""Requests as Open WebUI, Zed and Continue send them."""

from __future__ import annotations

import http.client
import json
from typing import Any

from tests.integration.openai.chat_requests import CALL, body_of
from tests.support.openai_service import MODEL, Service, text_of
from worker.backends.echo_script import SAY


def test_open_webui_lists_models_and_streams_with_its_own_fields(service: Service) -> None:
    models = http.client.HTTPConnection("127.0.0.1", service.stack.port(), timeout=60)
    models.request(
        "GET",
        "/v1/models",
        headers={"Authorization": "Bearer none", "Content-Type": "application/json"},
    )
    name = json.loads(models.getresponse().read())["data"][0]["id"]
    models.close()
    chunks = service.events(
        {
            "stream": True,
            "model": name,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": f"{SAY}<think>Hm.</think>Hello."}]},
            ],
            "stream_options": {"include_usage": True},
            "temperature": 0.8,
            "frequency_penalty": 0,
            "max_tokens": 128,
            "session_id": "s", "chat_id": "c", "id": "i", "background_tasks": {}, "features": {}, "model_item": {},
            "params": {}, "tool_servers": [], "files": None, "metadata": {"user_id": "u"}, "user": {"name": "Ann"},
        }
    )  # fmt: skip
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "Hm."
    assert "".join(delta.get("content", "") for delta in deltas) == "Hello."
    assert chunks[-1]["usage"]["completion_tokens"] == len("<think>Hm.</think>Hello.") + 1


def test_open_webui_asks_for_a_title_without_a_stream(service: Service) -> None:
    body = body_of(
        f'{SAY}{{"title": "Greeting"}}', stream=False, metadata={"task": "title_generation"}
    )
    connection = service.raw(body | {"max_completion_tokens": 1000})
    response = json.loads(connection.getresponse().read())
    connection.close()
    assert response["choices"][0]["message"]["content"] == '{"title": "Greeting"}'


def part(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def zeds_messages() -> list[dict[str, Any]]:
    """A turn in which a tool was called, and the next question."""
    function = {"name": "read_file", "arguments": '{"path": "a.py"}'}
    call = {"id": "c1", "type": "function", "function": function}
    return [
        {"role": "system", "content": "You are an editor's assistant."},
        {"role": "user", "content": part("Read a.py")},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": part("x = 1"), "tool_call_id": "c1"},
        {"role": "user", "content": part(f"{SAY}It sets x.")},
    ]


def test_zed_streams_with_tools_and_parts(service: Service) -> None:
    function = {"name": "read_file", "description": "Reads.", "parameters": {}}
    chunks = service.events(
        {
            "model": MODEL,
            "messages": zeds_messages(),
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_completion_tokens": 4096,
            "stop": [],
            "temperature": 1.0,
            "tool_choice": "auto",
            "parallel_tool_calls": False,
            "tools": [{"type": "function", "function": function}],
            "prompt_cache_key": "thread-1",
        }
    )
    assert (
        "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
        == "It sets x."
    )
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["total_tokens"] > 0


def test_continue_streams_an_agents_turn_and_an_edit_without_a_stream(service: Service) -> None:
    tool = {
        "type": "function",
        "function": {"name": "clock", "description": "The time.", "parameters": {}},
    }
    messages = [
        {"role": "system", "content": "You are in agent mode."},
        {"role": "user", "content": [{"type": "text", "text": f"{SAY}A moment. {CALL}"}]},
    ]
    sent: Any = {
        "model": MODEL,
        "messages": messages,
        "max_tokens": 4096,
        "tools": [tool],
        "parallel_tool_calls": False,
    }
    headers = {"x-api-key": "none"}
    with_usage: Any = {"include_usage": True}
    stream = service.client.chat.completions.create(
        **sent, stream=True, stream_options=with_usage, extra_headers=headers
    )
    chunks = list(stream)
    # The chunk with the usage comes last; Continue reads every other chunk as a piece of the
    # answer.
    *pieces, last = chunks
    assert text_of(pieces) == "A moment. "
    calls = [call.function for one in pieces for call in one.choices[0].delta.tool_calls or ()]
    assert [call.name for call in calls if call.name] == ["clock"]
    assert all(one.usage is None for one in pieces)
    assert last.choices == []
    assert last.usage.completion_tokens > 0
    edit: Any = {
        "prediction": {"type": "content", "content": "x = 1"},
        "stop": ["END"],
        "max_tokens": 2048,
    }
    completion = service.chat(f"{SAY}x = 2END", extra_headers=headers, **edit)
    assert completion.choices[0].message.content == "x = 2"
