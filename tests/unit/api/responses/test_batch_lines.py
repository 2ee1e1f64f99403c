"""Responses as lines of batches: what is read of a line, and the response that its result is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.batches.lines import LineParser, parse_line
from api.openai.batches.batch_lines import ResultLines
from api.responses.batch_lines import RESPONSE_LINES, RESPONSES
from api.responses.response_schemas import Response
from tests.support.openai_support import TAKES_TOOLS
from tests.unit.api.responses.responses_support import CLOCK, PATCH, ResponsesApi, output, user
from wire.batches import BatchLine, LineResult
from wire.batches.packing import pack, unpack
from wire.messages import Delta, Finished, ToolCall, Usage

NAMES = {TAKES_TOOLS.id: ("model-1", "r1")}
PARSER = LineParser([TAKES_TOOLS], RESPONSE_LINES.read, model_field="model")
USAGE = Usage(5, 3, 2)


def parsed(parser: LineParser = PARSER, /, **body: Any) -> BatchLine | LineResult:
    body = {"model": TAKES_TOOLS.id, "input": "Hi"} | body
    row = {"custom_id": "a", "method": "POST", "url": RESPONSES, "body": body}
    return parse_line(json.dumps(row).encode(), 7, parser)


def line(**body: Any) -> BatchLine:
    """A line as a worker gets it."""
    read = parsed(**body)
    assert isinstance(read, BatchLine), read
    ([kept], lost) = unpack(pack([read]))
    assert not lost
    return kept


def refused(**body: Any) -> tuple[str, str | None]:
    result = parsed(**body)
    assert isinstance(result, LineResult)
    assert result.error is not None
    return result.error[0], result.param


def told(asked: BatchLine, **result: Any) -> dict[str, Any]:
    """The body of the line's result, once its line has run."""
    ran = LineResult(
        asked.number,
        asked.custom_id,
        asked.model_id,
        usage=USAGE,
        warnings=asked.warnings,
        sampling=asked.sampling,
        asked=asked.asked,
        **{"text": "Hello", **result},
    )
    row = ResultLines("b" * 32, RESPONSE_LINES, 100, NAMES).line(json.loads(ran.encode()))
    assert (row["custom_id"], row["error"]) == ("a", None)
    assert row["response"]["status_code"] == 200
    body: dict[str, Any] = row["response"]["body"]
    assert body["id"] == f"resp_{row['response']['request_id']}"
    Response.model_validate(body)
    return body


@pytest.mark.parametrize(
    "fields",
    [
        {"store": False},
        {
            "store": False,
            "instructions": "Be brief.",
            "metadata": {"a": "b"},
            "tools": [CLOCK],
            "tool_choice": "auto",
            "parallel_tool_calls": False,
            "reasoning": {"effort": "xhigh", "summary": "auto"},
            "max_output_tokens": 20,
            "seed": 3,
            "temperature": 0.5,
            "user": "ann",
        },
        {"store": False, "text": {"format": {"type": "json_object"}}, "colour": "red"},
    ],
)
def test_a_result_is_the_response_that_the_route_gives(
    api: ResponsesApi, fields: dict[str, Any]
) -> None:
    api.answers(Delta("", (1,), "Hm."), Delta("Hello", (2,)), Finished("stop", USAGE))
    by_route = api.whole(**{"seed": 5, **fields})
    by_line = told(line(**{"seed": 5, **fields}), reasoning="Hm.")
    own = {"id", "created_at", "completed_at", "output", "warnings"}
    assert set(by_line) - own == set(by_route) - own
    for name in set(by_route) - own:
        assert by_line[name] == by_route[name], name
    items = [[{**one, "id": ""} for one in body["output"]] for body in (by_line, by_route)]
    assert items[0] == items[1]
    assert by_line["store"] is by_line["background"] is False
    ignored = ["Unknown fields were ignored: colour."] if "colour" in fields else []
    assert [one for one in by_line.get("warnings", []) if "ignored" in one] == ignored


def test_calls_have_the_names_that_the_line_gave_its_tools() -> None:
    space = {"type": "namespace", "name": "home", "tools": [CLOCK]}
    asked = line(tools=[space, PATCH])
    calls = (
        ToolCall(id="c1", name="home__clock", arguments="{}"),
        ToolCall(id="c2", name="apply_patch", arguments='{"input": "a"}'),
    )
    first, second = told(asked, text="", tool_calls=calls)["output"]
    assert (first["type"], first["namespace"], first["name"]) == ("function_call", "home", "clock")
    assert (second["type"], second["input"]) == ("custom_tool_call", "a")
    only = told(line(tools=[CLOCK], parallel_tool_calls=False), text="", tool_calls=calls[:1] * 2)
    assert len(only["output"]) == 1


def test_a_line_that_its_limit_cut_is_incomplete() -> None:
    body = told(line(), finish_reason="length")
    assert (body["status"], body["incomplete_details"]["reason"]) == (
        "incomplete",
        "max_output_tokens",
    )
    assert body["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"stream": True}, "stream"),
        ({"background": True}, "background"),
        ({"store": True}, "store"),
        ({"previous_response_id": "resp_" + "f" * 32}, "previous_response_id"),
        ({"input": [user(), {"type": "item_reference", "id": "msg_1"}]}, "input[1].id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"messages": [user()]}, "messages"),
    ],
)
def test_what_a_line_can_not_have_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    assert refused(**body) == ("unsupported", param)


def test_a_line_is_refused_as_a_request_is() -> None:
    assert refused(input=[user(), output("c1")]) == ("invalid_request", "input[1].call_id")
    assert refused(max_output_tokens=0) == ("invalid_request", "max_output_tokens")
    assert refused(model="nope") == ("model_not_found", "model")
    older = LineParser([TAKES_TOOLS], RESPONSE_LINES.read, version=3)
    result = parsed(older)
    assert isinstance(result, LineResult)
    assert result.error is not None
    assert result.error[0] == "workers_outdated"
    error = {"code": "prompt_too_long", "message": "Too long."}
    row = ResultLines("b" * 32, RESPONSE_LINES, 100, NAMES).line(
        {"custom_id": "a", "line": 7, "error": error}
    )
    assert row["response"]["body"]["error"]["param"] == "input"


def test_lines_of_other_endpoints_are_written_as_before() -> None:
    plain = line().model_copy(update={"asked": ""})
    assert "asked" not in plain.model_dump_json()
    assert "asked" not in json.loads(LineResult(1, "a").encode())
