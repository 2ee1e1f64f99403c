"""What OpenAI's routes make of a request, what they refuse, and in which shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.openai.response_schemas import ChatCompletion, Completion
from tests.support.api_support import MODEL, message
from tests.support.openai_support import (
    ANSWER,
    CHAT,
    CLOCK,
    COMPLETIONS,
    MODELS,
    TAKES_TOOLS,
    Api,
    body,
    error,
)
from wire import keys
from wire.messages import ChatJob, Delta, Failed, Finished, ToolCall, Usage, Warning
from wire.model_registry import Registry


def test_defaults_are_openais(api: Api) -> None:
    sampling = api.job().sampling
    assert sampling.model_dump(exclude={"seed"}) == {
        "temperature": 1.0,
        "max_tokens": 32768,
        "top_p": 1.0,
        "repetition_penalty": 1.0,
        "stop": (),
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }
    assert 0 <= sampling.seed < 2**63


@pytest.mark.parametrize("wanted", ["model-1", "Tiny Chat", "someone/tiny-chat"])
def test_a_model_is_known_by_id_name_and_repository(api: Api, wanted: str) -> None:
    assert api.job(model=wanted).model_id == "model-1"


@pytest.mark.parametrize(
    ("sent", "field", "value"),
    [
        ({"max_tokens": 7}, "max_tokens", 7),
        ({"max_completion_tokens": 8}, "max_tokens", 8),
        ({"max_tokens": 7, "max_completion_tokens": 8}, "max_tokens", 8),
        ({"max_tokens": 100_000}, "max_tokens", 32768),
        ({"stop": "END"}, "stop", ("END",)),
        ({"stop": ["a", "", "b"]}, "stop", ("a", "b")),
        ({"stop": None}, "stop", ()),
        ({"seed": -3}, "seed", -3),
        ({"temperature": 0}, "temperature", 0.0),
        ({"temperature": None}, "temperature", 1.0),
        ({"top_p": 0.5}, "top_p", 0.5),
        ({"repetition_penalty": 1.2}, "repetition_penalty", 1.2),
        ({"presence_penalty": -0.5}, "presence_penalty", -0.5),
        ({"frequency_penalty": 2}, "frequency_penalty", 2.0),
    ],
)
def test_sampling_fields_are_translated(
    api: Api, sent: dict[str, Any], field: str, value: object
) -> None:
    assert getattr(api.job(**sent).sampling, field) == value


def test_a_developer_is_the_system_and_names_are_kept(api: Api) -> None:
    job = api.job(messages=[message("Be brief.", "developer"), message("Hi") | {"name": "ann"}])
    assert [(m.role, m.content, m.name) for m in job.messages] == [
        ("system", "Be brief.", None),
        ("user", "Hi", "ann"),
    ]


def test_calls_of_tools_and_their_answers_are_turns_like_others(api: Api) -> None:
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "clock", "arguments": '{"zone": "UTC"}'},
    }
    turns = [message(), {"role": "assistant", "content": None, "tool_calls": [call]}]
    job = api.job(messages=[*turns, {"role": "tool", "tool_call_id": "c1", "content": "noon"}])
    _, asked, answered = job.messages
    assert asked.content == ""
    assert [(c.id, c.name, c.arguments) for c in asked.tool_calls] == [
        ("c1", "clock", '{"zone": "UTC"}')
    ]
    assert (answered.role, answered.content, answered.tool_call_id) == ("tool", "noon", "c1")


def schema(of: Any) -> dict[str, Any]:
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "strict": True, "schema": of},
        }
    }


def test_a_schema_goes_with_the_job(api: Api) -> None:
    held = json.loads(api.job(**schema({"type": "integer"})).form.json_schema or "")
    assert held["type"] == "integer"
    assert (
        json.loads(api.job(response_format={"type": "json_object"}).form.json_schema or "")["type"]
        == "object"
    )
    assert api.job(response_format={"type": "text"}).form.json_schema is None


@pytest.mark.parametrize("strict", [None, False])
def test_what_a_schema_cannot_have_is_refused_only_when_strict(
    api: Api, strict: bool | None
) -> None:
    wanted: dict[str, Any] = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    told = api.refused(400, **schema(wanted))
    assert told["message"] == (
        "Answers can't be held to this schema: "
        'the keyword "uniqueItems" can\'t be enforced while an answer is written; '
        "leave it out, or ask without strict."
    )
    loose = schema(wanted)
    loose["response_format"]["json_schema"]["strict"] = strict
    held = json.loads(api.job(**loose).form.json_schema or "")
    assert "uniqueItems" not in held
    assert held["x-warnings"] == ['The schema\'s keyword "uniqueItems" is not enforced.']


def test_a_client_cannot_set_the_matchers_options_nor_the_warnings(api: Api) -> None:
    held = json.loads(
        api.job(
            **schema(
                {
                    "type": "integer",
                    "x-guidance": {"lenient": True},
                    "x-warnings": ["boo"],
                    "x-strict": 0,
                }
            )
        ).form.json_schema
        or ""
    )
    assert (held["x-guidance"]["lenient"], held["x-warnings"], "x-strict" in held) == (
        False,
        [],
        False,
    )


@pytest.mark.parametrize(
    "of",
    [
        {"type": "nonsense"},
        {"type": "string", "pattern": "("},
        {"$ref": "http://somewhere/schema.json"},
        {"$ref": "#/definitions/missing"},
        {"not": {}},
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"enum": ["x" * 70_000]},
        {"type": "nonsense", "x-guidance": {"lenient": True}},
        {"const": -9223372036854775808},
        {"const": 2**53 + 1},
        {"$ref": "#"},
    ],
)
def test_a_schema_that_cannot_be_kept_is_refused_with_a_reason(
    api: Api, of: dict[str, Any]
) -> None:
    told = api.refused(400, **schema(of))
    assert (told["code"], told["param"]) == ("invalid_schema", "response_format")
    assert 20 < len(told["message"]) < 300


@pytest.mark.parametrize("inside", ["[" * 400 + "]" * 400, '"\\ud800"', "NaN", "1e999"])
@pytest.mark.parametrize("where", ["tools", "schema"])
def test_json_that_nobody_could_keep_is_refused(api: Api, where: str, inside: str) -> None:
    function = json.dumps([{"type": "function", "function": {"name": "f", "parameters": {"a": 0}}}])
    held = {
        "tools": f'"tools": {function}',
        "schema": f'"response_format": {json.dumps(schema({"const": 0}))[20:-1]}',
    }
    text = json.dumps(body(CHAT))[:-1] + ", " + held[where].replace(": 0}", f": {inside}}}") + "}"
    response = api.client.post(
        CHAT, content=text.encode(), headers={"content-type": "application/json"}
    )
    assert response.status_code == 400
    assert len(response.content) < 1024


def test_tools_go_with_the_job_as_they_are(api: Api) -> None:
    assert api.job(tools=[CLOCK]).form.tools == (CLOCK,)
    assert api.job(tools=[CLOCK], tool_choice="none").form.tools == ()


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "clock"}}]
)
def test_a_call_that_must_be_made_is_a_schema(api: Api, choice: object) -> None:
    zone = {"$defs": {"Zone": {"enum": ["UTC"]}}, "properties": {"zone": {"$ref": "#/$defs/Zone"}}}
    tools = [CLOCK, {"type": "function", "function": {"name": "clock", "parameters": zone}}]
    form = api.job(tools=tools, tool_choice=choice).form
    assert (form.must_call, len(form.tools)) == (True, 2)
    assert [call["properties"]["name"] for call in json.loads(form.json_schema or "")["anyOf"]] == [
        {"const": "clock"},
        {"const": "clock"},
    ]


def test_a_tools_strictness_is_its_own(api: Api) -> None:
    function = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"not": {}}}}}
    other = {"type": "function", "function": {"name": "g"}}
    told = api.refused(
        400,
        tools=[{"type": "function", "function": function | {"strict": True}}],
        tool_choice="required",
    )
    assert (told["code"], told["param"]) == ("invalid_schema", "tools")
    job = api.job(tools=[{"type": "function", "function": function}, other], tool_choice="required")
    calls = [
        call["properties"]["arguments"] for call in json.loads(job.form.json_schema or "")["anyOf"]
    ]
    assert [(call["properties"], call["additionalProperties"]) for call in calls] == [
        ({"a": {}}, False),
        ({}, False),
    ]


def test_a_call_that_was_cut_is_told_as_far_as_it_goes(api: Api) -> None:
    cut = Delta("", (1,), "", (ToolCall(id="c", name="clock", arguments='{"zo'),))
    api.worker.answer = lambda _: (cut, Finished("length", Usage(5, 3, 2)))
    choice = api.client.post(
        CHAT, json=body(CHAT) | {"tools": [CLOCK], "tool_choice": "required"}
    ).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "clock", "arguments": '{"zo'}
    *_, call, end = api.chunks(tools=[CLOCK], tool_choice="required")
    assert call["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] == '{"zo'
    assert end["choices"][0]["finish_reason"] == "length"


def test_a_tool_that_nobody_could_call_is_refused_with_a_reason(api: Api) -> None:
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"properties": {"a": {"type": "nonsense"}}}},
    }
    told = api.refused(400, tools=[tool], tool_choice="required")
    assert (told["code"], told["param"]) == ("invalid_schema", "tools")


@pytest.mark.parametrize("choice", [None, "auto"])
def test_a_model_without_tools_answers_without_them_and_says_so(
    api: Api, choice: str | None
) -> None:
    sentence = "This model has no way to call tools. Answered without them."
    Registry(api.redis).put(MODEL)
    try:
        fields = body(CHAT) | {"tools": [CLOCK], "tool_choice": choice}
        answer = api.client.post(CHAT, json=fields)
        assert answer.json()["warnings"] == [sentence]
        assert answer.headers["x-warning"] == sentence
        assert [chunk.get("warnings") for chunk in api.chunks(**fields)] == [
            [sentence],
            None,
            None,
            None,
        ]
        assert [job.form.tools for job in api.worker.seen if isinstance(job, ChatJob)] == [(), ()]
        api.worker.seen.clear()
        assert api.refused(400, tools=[CLOCK], tool_choice="required")["param"] == "tools"
    finally:
        Registry(api.redis).put(TAKES_TOOLS)


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"n": 2}, "n"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [CLOCK], "tool_choice": "perhaps"}, "tool_choice"),
        (
            {"tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "bell"}}},
            "tool_choice",
        ),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function"),
        ({"tools": [CLOCK], "response_format": {"type": "json_object"}}, "response_format"),
        ({"functions": [{"name": "clock"}]}, "functions"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"logprobs": True}, "logprobs"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "oracle", "content": "x"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "audio"}]}]},
            "messages[0].content[0]",
        ),
        ({"seed": 2**63}, "seed"),
    ],
)
def test_what_cannot_be_is_refused_by_name(api: Api, sent: dict[str, Any], param: str) -> None:
    told = api.refused(400, **sent)
    assert told["type"] == "invalid_request_error"
    assert told["param"] == param


def test_an_image_that_is_none_is_refused_like_natively(api: Api) -> None:
    part = {"type": "image_url", "image_url": {"url": "http://somewhere/cat.png", "detail": "low"}}
    Registry(api.redis).put(TAKES_TOOLS.model_copy(update={"is_vision": True}))
    try:
        told = api.refused(400, messages=[{"role": "user", "content": [part]}])
    finally:
        Registry(api.redis).put(TAKES_TOOLS)
    assert (told["code"], told["param"]) == ("unsupported", "messages[0].content[0].image_url")


def test_a_picture_for_a_model_that_sees_none_is_refused_where_it_stands(api: Api) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    turns = [
        message(),
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]},
    ]
    told = api.refused(400, messages=turns)
    assert (told["code"], told["param"]) == ("unsupported", "messages[1].content[1]")


def test_a_whole_answer_has_openais_shape(api: Api) -> None:
    answer = api.client.post(CHAT, json=body(CHAT) | {"model": "Tiny Chat"}).json()
    assert answer.pop("id") == f"chatcmpl-{api.worker.seen[-1].job_id}"
    assert answer.pop("created") > 1_700_000_000
    assert answer == {
        "object": "chat.completion",
        "model": "Tiny Chat",
        "system_fingerprint": "r1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
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
        },
    }


def test_answers_are_as_the_description_says(api: Api) -> None:
    described = api.client.get("/openapi.json").json()
    schemas = described["components"]["schemas"]
    for path, whole, chunk in (
        (CHAT, "ChatCompletion", "ChatCompletionChunk"),
        (COMPLETIONS, "Completion", "Completion"),
    ):
        told = described["paths"][path]["post"]["responses"]["200"]["content"]
        assert told["application/json"]["schema"] == {"$ref": f"#/components/schemas/{whole}"}
        done, data = told["text/event-stream"]["schema"]["properties"]["data"]["anyOf"]
        assert done == {"const": "[DONE]"}
        assert {"$ref": f"#/components/schemas/{chunk}"} in data["contentSchema"]["anyOf"]
        assert {whole, chunk} <= set(schemas)
    call = ToolCall(id="c1", name="clock", arguments="{}")
    api.worker.answer = lambda _: (
        Warning("Slow."),
        Delta("Hi", (1,), "Hm.", (call,)),
        Finished("cancelled"),
    )
    ChatCompletion.model_validate(api.client.post(CHAT, json=body(CHAT)).json())
    Completion.model_validate(api.client.post(COMPLETIONS, json=body(COMPLETIONS)).json())
    assert api.chunks()[-1]["cancelled"]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_warnings_are_in_the_header_and_in_a_field(api: Api, path: str) -> None:
    told = (Warning("Old turns were left out."), Warning("Memory is short."))
    api.worker.answer = lambda _: (*told, *ANSWER)
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


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_stream_that_fails_before_its_first_word_is_a_status(api: Api, path: str) -> None:
    api.worker.answer = lambda _: (
        Failed("prompt_too_long", "This model's maximum context length is 5 tokens."),
    )
    response = api.client.post(path, json=body(path) | {"stream": True})
    assert response.status_code == 400
    told = error(response)
    assert (told["code"], told["param"]) == (
        "context_length_exceeded",
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


def test_a_completion_continues_the_prompt_as_it_is(api: Api) -> None:
    job = api.job(COMPLETIONS, prompt=["Once upon"])
    assert (job.form.raw, job.messages[0].content, job.sampling.max_tokens) == (
        True,
        "Once upon",
        16,
    )
    answer = api.client.post(COMPLETIONS, json=body(COMPLETIONS)).json()
    assert answer["object"] == "text_completion"
    told = {
        "index": 0,
        "text": "Hello",
        "logprobs": None,
        "finish_reason": "stop",
        "stop_reason": None,
    }
    assert answer["choices"] == [told]
    chunks = api.chunks(COMPLETIONS)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "Hello"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"suffix": "end"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 3}, "logprobs"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": ""}, "prompt"),
    ],
)
def test_what_a_completion_cannot_do_is_refused(api: Api, sent: dict[str, Any], param: str) -> None:
    assert api.refused(400, COMPLETIONS, **sent)["param"] == param


def test_models_are_listed_by_the_name_to_ask_for(api: Api) -> None:
    twin = MODEL.model_copy(
        update={"id": "model-2", "repository": "other/tiny", "name": "Tiny Chat"}
    )
    loading = MODEL.model_copy(
        update={"id": "model-3", "name": "later", "repository": None, "downloaded": False}
    )
    unnamed = MODEL.model_copy(update={"id": "model-4", "repository": None})
    registry = Registry(api.redis)
    for record in (twin, loading, unnamed):
        registry.put(record)
    try:
        answer = api.client.get(MODELS).json()
        assert answer["object"] == "list"
        # The last one's name is the first one's as well, so only its id leads to it.
        assert [row["id"] for row in answer["data"]] == [
            "someone/tiny-chat",
            "other/tiny",
            "model-4",
        ]
        assert api.client.get(f"{MODELS}/later").status_code == 404
    finally:
        for record in (twin, loading, unnamed):
            registry.remove(record.id)


@pytest.mark.parametrize("name", ["model-1", "Tiny Chat", "someone/tiny-chat"])
def test_a_model_is_found_by_any_of_its_names_slashes_and_all(api: Api, name: str) -> None:
    row = api.client.get(f"{MODELS}/{name}").json()
    assert (row["id"], row["object"], row["owned_by"]) == (name, "model", "someone")
    assert (row["created"], row["max_model_len"]) == (0, MODEL.context_window)


def test_a_model_is_as_old_as_its_files(api: Api) -> None:
    Registry(api.redis).put(TAKES_TOOLS, created=1_700_000_000)
    assert [row["created"] for row in api.client.get(MODELS).json()["data"]] == [1_700_000_000]
    assert api.client.get(f"{MODELS}/model-1").json()["created"] == 1_700_000_000
    Registry(api.redis).remove(TAKES_TOOLS.id)
    Registry(api.redis).put(TAKES_TOOLS)
    assert [row["created"] for row in api.client.get(MODELS).json()["data"]] == [0]


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


def test_the_same_key_is_the_same_answer(api: Api) -> None:
    first, second = (
        api.client.post(CHAT, json=body(CHAT), headers={"Idempotency-Key": "once"}).json()
        for _ in range(2)
    )
    assert first["id"] == second["id"]
    assert second["choices"][0]["message"]["content"] == "Hello"
    assert len(api.worker.seen) == 1
    other = api.client.post(
        CHAT, json=body(CHAT) | {"seed": 1}, headers={"Idempotency-Key": "once"}
    )
    assert (other.status_code, error(other)["code"]) == (409, "conflict")


def test_the_description_tells_of_errors_in_the_same_shape(api: Api) -> None:
    paths = api.client.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        wanted = "OpenAiErrorBody" if path.startswith("/v1") else "ErrorBody"
        for operation in operations.values():
            for status in ("422", "4XX", "5XX"):
                shape = operation["responses"][status]["content"]["application/json"]["schema"][
                    "$ref"
                ]
                assert shape == f"#/components/schemas/{wanted}"
