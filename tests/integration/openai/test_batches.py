"""OpenAI's batches, through the official client, against a running service on the echo backend."""

from __future__ import annotations

import json
import signal
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from tests.integration.openai.batch_service import CHAT, ENDED, BatchService, line, wait
from wire import keys
from worker.backends.echo import BAD_PROMPT, answer, word
from worker.backends.echo_script import SAY


def test_a_batch_runs_from_the_upload_to_its_results(batch_service: BatchService) -> None:
    batch = batch_service.submit(
        *(line(f"c{n}", f"chat {n}", seed=n) for n in range(40)), metadata={"for": "a test"}
    )
    assert batch.status in ("validating", "in_progress")
    assert batch.expires_at == batch.created_at + 24 * 3600
    batch = batch_service.until(batch, *ENDED)
    assert batch.status == "completed"
    assert batch.request_counts.to_dict() == {"total": 40, "completed": 40, "failed": 0}
    assert batch.metadata == {"for": "a test"}
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    assert batch.usage.output_tokens == 160
    assert batch.error_file_id is None
    rows = batch_service.rows(batch.output_file_id)
    for n in range(40):
        row = rows[f"c{n}"]
        assert row.keys() == {"id", "custom_id", "response", "error"}
        assert row["response"].keys() == {"status_code", "request_id", "body"}
        assert (row["response"]["status_code"], row["error"]) == (200, None)
        body = row["response"]["body"]
        assert (body["object"], body["model"]) == ("chat.completion", "demo-chat")
        assert body["choices"][0]["message"] == {
            "role": "assistant",
            "content": answer(f"chat {n}", n, 4),
            "refusal": None,
            "annotations": [],
        }
        assert body["usage"]["completion_tokens"] == 4
        assert (body["sampling"]["seed"], body["sampling"]["top_k"]) == (n, 0)
    assert len({row["id"] for row in rows.values()}) == 40
    about = batch_service.client.files.retrieve(batch.output_file_id)
    assert (about.purpose, about.bytes) == (
        "batch_output",
        len(batch_service.client.files.content(about.id).content),
    )


def test_lines_that_fail_are_in_the_error_file_each_with_its_reason(
    batch_service: BatchService,
) -> None:
    batch = batch_service.submit(
        line("good"),
        line("prompt", BAD_PROMPT),
        line("model", model="nope"),
        line("field", temperature=9),
        line("method") | {"method": "GET"},
        line("url") | {"url": "/v1/completions"},
        {"custom_id": "body", "method": "POST", "url": CHAT},
        line("stream", stream=True),
        "not json",
    )
    batch = batch_service.until(batch, *ENDED)
    assert batch.request_counts.to_dict() == {"total": 9, "completed": 1, "failed": 8}
    assert batch_service.rows(batch.output_file_id).keys() == {"good"}
    rows = batch_service.rows(batch.error_file_id)
    codes = {
        name: (row["response"]["status_code"], row["response"]["body"]["error"]["code"])
        for name, row in rows.items()
    }
    assert codes == {
        "prompt": (500, "engine_failed"),
        "model": (404, "model_not_found"),
        "field": (400, "invalid_request"),
        "method": (400, "invalid_request"),
        "url": (400, "invalid_request"),
        "body": (400, "invalid_request"),
        "stream": (400, "unsupported"),
        None: (400, "bad_request"),
    }
    field = rows["field"]["response"]["body"]["error"]
    assert (field["param"], "temperature" in field["message"]) == ("temperature", True)


def line_with_schema(
    custom_id: str, schema: dict[str, Any], *, strict: bool = False
) -> dict[str, Any]:
    wanted = {"name": "x", "strict": strict, "schema": schema}
    return line(custom_id, response_format={"type": "json_schema", "json_schema": wanted})


def test_a_line_whose_schema_cannot_be_kept_fails_alone_with_the_reason_that_a_chat_gets(
    batch_service: BatchService,
) -> None:
    call = {"type": "function", "function": {"name": "f", "parameters": {"$ref": "#"}}}
    batch = batch_service.submit(
        line("good"),
        line_with_schema("crash", {"const": -9223372036854775808}),
        line_with_schema("not", {"not": {"type": "string"}}, strict=True),
        line_with_schema("reference", {"$ref": "#/$defs/missing"}),
        line("call", tools=[call], tool_choice="required"),
    )
    batch = batch_service.until(batch, *ENDED)
    assert batch_service.rows(batch.output_file_id).keys() == {"good"}
    rows = batch_service.rows(batch.error_file_id)
    errors = {name: row["response"]["body"]["error"] for name, row in rows.items()}
    assert {
        (row["response"]["status_code"], row["response"]["body"]["error"]["code"])
        for row in rows.values()
    } == {(400, "invalid_schema")}
    with pytest.raises(openai.BadRequestError) as refused:
        batch_service.client.chat.completions.create(
            **line_with_schema("crash", {"const": -9223372036854775808})["body"]
        )
    assert errors["crash"]["message"] == refused.value.body["message"]  # type: ignore[index]
    assert "beyond 2^53" in errors["crash"]["message"]
    assert '"not"' in errors["not"]["message"]
    assert "/$defs/missing" in errors["reference"]["message"]
    assert "contains itself" in errors["call"]["message"]


def test_a_batch_in_which_no_line_succeeds_comes_to_its_end(batch_service: BatchService) -> None:
    batch = batch_service.until(
        batch_service.submit(*(line(f"c{n}", BAD_PROMPT) for n in range(40))), *ENDED
    )
    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert batch.request_counts.to_dict() == {"total": 40, "completed": 0, "failed": 40}
    assert len(batch_service.rows(batch.error_file_id)) == 40


def test_thinking_and_tool_calls_are_separate_from_the_text(
    batch_service: BatchService,
) -> None:
    function = {"name": "look", "parameters": {"type": "object", "properties": {}}}
    prompt = SAY + '<think>hm</think>Well.<tool_call>{"name": "look", "arguments": {}}</tool_call>'
    row = line("a", prompt, tools=[{"type": "function", "function": function}], max_tokens=200)
    batch = batch_service.until(batch_service.submit(row), *ENDED)
    choice = batch_service.rows(batch.output_file_id)["a"]["response"]["body"]["choices"][0]
    message = choice["message"]
    assert (message["content"], message["reasoning_content"]) == ("Well.", "hm")
    assert message["tool_calls"][0]["function"]["name"] == "look"
    assert choice["finish_reason"] == "tool_calls"


def test_completions_continue_their_prompt_as_it_is(batch_service: BatchService) -> None:
    body: dict[str, Any] = {"model": "demo-chat", "prompt": "once upon", "max_tokens": 3, "seed": 5}
    row = {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": body}
    batch = batch_service.until(batch_service.submit(row, endpoint="/v1/completions"), *ENDED)
    completion = batch_service.rows(batch.output_file_id)["a"]["response"]["body"]
    assert completion["object"] == "text_completion"
    direct = batch_service.client.completions.create(**body)
    assert completion["choices"][0]["text"] == direct.choices[0].text
    assert completion["choices"][0]["text"] == "".join(
        f"w{word(list(b'once upon'), 5, n)} " for n in range(3)
    )


def test_responses_are_whole_in_the_output_file(batch_service: BatchService) -> None:
    prompt = SAY + '<think>hm</think>Well.<tool_call>{"name": "look", "arguments": {}}</tool_call>'
    look = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
    body = {"model": "demo-chat", "input": prompt, "tools": [look], "seed": 5}
    rows = [
        {"custom_id": name, "method": "POST", "url": "/v1/responses", "body": body | more}
        for name, more in (("whole", {}), ("stored", {"store": True}), ("cut", {"input": "x"}))
    ]
    rows[-1]["body"]["max_output_tokens"] = 4  # type: ignore[index]
    batch = batch_service.submit(*rows, endpoint="/v1/responses")
    # What a line repeats of its request doesn't depend on the file.
    batch_service.until(batch, "in_progress", *ENDED)
    batch_service.client.files.delete(batch.input_file_id)
    batch = batch_service.until(batch, *ENDED)
    told = batch_service.rows(batch.output_file_id)
    assert told.keys() == {"whole", "cut"}
    response = Response.model_validate(told["whole"]["response"]["body"])
    assert (response.status, response.output_text, response.model) == (
        "completed",
        "Well.",
        "demo-chat",
    )
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
    assert [tool.name for tool in response.tools] == ["look"]  # type: ignore[union-attr]
    asked = {name: value for name, value in body.items() if name != "seed"} | {"store": False}
    direct: Any = batch_service.client.responses.create(**asked, extra_body={"seed": 5})  # type: ignore[call-overload]
    assert set(told["whole"]["response"]["body"]) == set(direct.to_dict())
    assert told["cut"]["response"]["body"]["status"] == "incomplete"
    [refused] = batch_service.rows(batch.error_file_id).values()
    assert refused["response"]["body"]["error"]["param"] == "store"
    with pytest.raises(openai.NotFoundError):
        batch_service.client.responses.retrieve(response.id)


def test_a_batch_that_is_cancelled_keeps_what_was_finished(batch_service: BatchService) -> None:
    batch = batch_service.submit(*(line(f"c{n}", max_tokens=200) for n in range(400)))
    wait(lambda: batch_service.client.batches.retrieve(batch.id).request_counts.completed)
    assert batch_service.client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    batch = batch_service.until(batch, *ENDED)
    assert batch.status == "cancelled"
    assert batch.cancelling_at <= batch.cancelled_at
    done = batch.request_counts.completed
    assert 0 < done < 400
    assert len(batch_service.rows(batch.output_file_id)) == done
    assert batch_service.client.batches.cancel(batch.id).status == "cancelled"


def test_a_window_that_ends_leaves_partial_results_and_names_the_rest(
    batch_service: BatchService,
) -> None:
    batch = batch_service.submit(*(line(f"c{n}", max_tokens=300) for n in range(600)))
    wait(lambda: batch_service.client.batches.retrieve(batch.id).request_counts.completed)
    record = keys.batch(batch.id.removeprefix("batch_"))
    batch_service.redis.hset(record, "details", json.dumps({"ends_by_ms": 1}))
    batch = batch_service.until(batch, *ENDED)
    assert batch.status == "expired"
    assert batch.expired_at is not None
    done, rest = batch_service.rows(batch.output_file_id), batch_service.rows(batch.error_file_id)
    assert len(done) == batch.request_counts.completed
    assert done.keys() | rest.keys() == {f"c{n}" for n in range(600)}
    assert not done.keys() & rest.keys()
    [code] = {row["error"]["code"] for row in rest.values()}
    assert code == "batch_expired"


@pytest.mark.parametrize(
    ("rows", "says", "place"),
    [([line("same"), line("same")], "custom_id: used in line 1", 2), (["", ""], "no lines", None)],
)
def test_a_file_that_cannot_be_a_batch_fails_with_a_reason(
    batch_service: BatchService, rows: list[Any], says: str, place: int | None
) -> None:
    batch = batch_service.until(batch_service.submit(*rows), *ENDED)
    assert (batch.status, batch.output_file_id) == ("failed", None)
    [failure] = batch.errors.data or []
    assert says in failure.message
    assert failure.line == place
    assert batch.failed_at is not None
    assert batch_service.client.batches.cancel(batch.id).status == "failed"


def test_an_api_that_is_killed_while_it_reads_a_file_in_loses_no_batch(
    batch_service: BatchService,
) -> None:
    batch = batch_service.submit(*(line(f"c{n}", "x" * 600, max_tokens=1) for n in range(3000)))
    assert batch.status == "validating"
    [api] = [
        p
        for p in batch_service.running.descendants()
        if p.is_running() and p.cmdline()[-1] == "api"
    ]
    api.send_signal(signal.SIGKILL)
    batch_service.running.line("listening on")
    # The dead process' lease lasts a minute; the test doesn't wait for its end.
    batch_service.redis.delete(keys.order_lease(batch.id.removeprefix("batch_")))
    batch = batch_service.until(batch, *ENDED)
    assert (batch.status, batch.request_counts.completed) == ("completed", 3000)
    assert len(batch_service.rows(batch.output_file_id)) == 3000
