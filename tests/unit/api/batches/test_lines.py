"""Lines of batches are refused as requests are: with the same code, and by the field that was
sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.batches.lines import LineParser, parse_line
from api.batches.routes import read
from api.openai.batches.batch_lines import CHAT, COMPLETION, ENDPOINTS
from api.openai.schemas import ChatBody, CompletionBody
from tests.support.api_support import MODEL
from wire.batches import BatchLine, LineResult

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
NATIVE = LineParser([MODEL], read, default_model=MODEL)
OPENAI = LineParser([MODEL], ENDPOINTS[CHAT].read, default_model=MODEL, model_field="model")


def parsed(parser: LineParser, row: dict[str, Any]) -> BatchLine | LineResult:
    return parse_line(json.dumps({"custom_id": "a"} | row).encode(), 1, parser)


def refusal(parser: LineParser, row: dict[str, Any]) -> tuple[str, str, str | None]:
    result = parsed(parser, row)
    assert isinstance(result, LineResult)
    assert result.error is not None
    return (*result.error, result.param)


def of_openai(body: dict[str, Any], **beside: Any) -> dict[str, Any]:
    return {"method": "POST", "url": CHAT, "body": ASKED | body} | beside


@pytest.mark.parametrize("asked", [{}, {"include_reasoning": True}])
def test_a_line_may_ask_for_thinking_apart_from_its_text(asked: dict[str, Any]) -> None:
    line = parsed(NATIVE, {"model_id": MODEL.id, "prompt": "Hi", "reasoning_effort": "low"} | asked)
    assert isinstance(line, BatchLine)
    assert line.form.separate == bool(asked)
    assert line.form.template_options == '{"reasoning_effort": "low"}'


@pytest.mark.parametrize(
    ("prompt", "rest"),
    [
        (None, ": Value error, a message of role user needs content"),
        (5, ": Input should be a valid list"),
        (["a"], " -> 0: Input should be an object"),
        ("a\0", ": Value error, a NUL character is not text"),
    ],
)
def test_a_prompt_is_refused_by_its_own_name(prompt: Any, rest: str) -> None:
    code, sentence, param = refusal(NATIVE, {"model_id": MODEL.id, "prompt": prompt})
    place = "prompt[0]" if isinstance(prompt, list) else "prompt"
    assert (code, sentence, param) == ("invalid_request", f"prompt{rest}", place)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream_options": {}}, "stream_options"),
        ({"on_disconnect": "cancel"}, "on_disconnect"),
        ({"prompt": "a"} | ASKED, "prompt"),
    ],
)
def test_what_a_line_can_not_have_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    code, sentence, named = refusal(NATIVE, {"model_id": MODEL.id, "prompt": "a"} | fields)
    assert (code, named) == ("invalid_request", param)
    assert sentence.startswith(f"{param}: ")


@pytest.mark.parametrize("fields", [{"service_tier": "priority"}, {"priority": -1}])
def test_a_line_asks_for_no_class_before_chats(fields: dict[str, Any]) -> None:
    code, _, named = refusal(OPENAI, of_openai({"model": MODEL.id} | fields))
    assert (code, named) == ("unsupported", next(iter(fields)))


def test_a_model_that_is_not_there_is_refused_as_in_a_request() -> None:
    absent = LineParser([MODEL.model_copy(update={"downloaded": False})], ENDPOINTS[CHAT].read)
    for parser, row, param in (
        (NATIVE, {"model_id": "nope", "prompt": "a"}, "model_id"),
        (OPENAI, of_openai({"model": "nope"}), "model"),
    ):
        code, sentence, named = refusal(parser, row)
        assert (code, named) == ("model_not_found", param)
        assert sentence.startswith("No model of this id or name is registered.")
    code, sentence, _ = refusal(absent, of_openai({"model": MODEL.id}))
    assert (code, sentence) == ("model_not_found", "This model has not been downloaded yet.")


def test_an_image_is_refused_by_its_place() -> None:
    content = [{"type": "text", "text": "What is this?"}, IMAGE]
    turns = {"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": content}]}
    for parser, row in ((NATIVE, {"model_id": MODEL.id} | turns), (OPENAI, of_openai(turns))):
        code, _, param = refusal(parser, row)
        assert (code, param) == ("invalid_image", "messages[1].content[1]")


def test_fields_beside_the_body_are_named_in_a_warning() -> None:
    line = parsed(OPENAI, of_openai({"chat_id": 1}, temperature=0.5, metadata=None))
    assert isinstance(line, BatchLine)
    assert line.warnings == ("Unknown fields were ignored: chat_id, temperature.",)


def test_one_line_with_a_deep_schema_is_refused_alone() -> None:
    code, _, param = refusal(OPENAI, of_openai({"guided_json": "[" * 5_000}))
    assert (code, param) == ("invalid_schema", "guided_json")


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        (COMPLETION, {"prompt": [1, 2]}),
        (COMPLETION, {"prompt": "a", "logprobs": 1, "echo": True}),
        (CHAT, {"messages": [*ASKED["messages"], {"role": "assistant", "content": "1,"}]}),
        (CHAT, ASKED | {"thinking_token_budget": 5}),
        (CHAT, ASKED | {"top_k": 5}),
    ],
)
def test_what_an_older_worker_can_not_do_is_named_as_it_was_sent(
    endpoint: str, fields: dict[str, Any]
) -> None:
    older = LineParser([MODEL], ENDPOINTS[endpoint].read, default_model=MODEL, version=3)
    code, sentence, param = refusal(older, {"method": "POST", "url": endpoint, "body": fields})
    assert code == "workers_outdated"
    shape = ChatBody if endpoint == CHAT else CompletionBody
    assert param in shape.model_fields
    assert f"can't honour {param}." in sentence
