"""Vectors through a killed worker: a request goes on with the first text that had none yet, and
each line of a batch has one result."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import httpx
import pytest

from tests.faults.stack import LIMIT_S, Stack, until
from wire import keys
from wire.log_entries import decode_rows
from wire.messages import Delta
from worker.backends.pooling.echo import vector

MODEL = "echo-embeddings"
TEXTS = [f"text {number:04}" for number in range(300)]


def url(stack: Stack, path: str) -> str:
    return f"http://127.0.0.1:{stack.port()}{path}"


def done(stack: Stack, job_id: str) -> int:
    """How many vectors are in the job's log."""
    rows = cast(list[Any], stack.redis.xrange(keys.log(job_id)))
    events = [entry.event for entry in decode_rows(rows)]
    return sum(len(event.token_ids) for event in events if isinstance(event, Delta))


def slow_down(stack: Stack) -> None:
    """Until the worker is started again, it takes ten seconds for the texts."""
    stack.kill("worker")
    stack.start_worker(MLXQ_ECHO_DELAY_MS="100")


async def killed_in_the_middle(stack: Stack) -> int:
    """Kill the worker once some of the vectors of the one job are in its log, start it again;
    returns how many there were."""

    found: list[str] = []

    def some() -> bool:
        live = cast(list[bytes], stack.redis.zrange(keys.live(keys.EVERYONE), 0, -1))
        found[:] = [job.decode() for job in live if done(stack, job.decode()) >= 20]
        return bool(found)

    await until(some, what="some vectors")
    stack.kill("worker")
    [job_id] = found
    before = done(stack, job_id)
    stack.start_worker()
    return before


def test_a_request_goes_on_with_the_first_text_that_had_no_vector(stack: Stack) -> None:
    async def run() -> tuple[httpx.Response, int]:
        async with httpx.AsyncClient(timeout=LIMIT_S) as client:
            asked = client.post(
                url(stack, "/v1/embeddings"),
                json={"model": MODEL, "input": TEXTS},
                headers={"Idempotency-Key": "through-a-kill"},
            )
            return await asyncio.gather(asked, killed_in_the_middle(stack))  # type: ignore[return-value]

    slow_down(stack)
    answer, before = asyncio.run(run())
    assert 0 < before < len(TEXTS)
    rows = answer.json()["data"]
    assert [row["embedding"] for row in rows] == [
        pytest.approx(vector(text), abs=1e-6) for text in TEXTS
    ]
    assert answer.json()["usage"]["prompt_tokens"] == sum(map(len, TEXTS))
    # Each once, although two workers wrote them.
    assert done(stack, answer.headers["X-Job-Id"]) == len(TEXTS)


def test_each_line_of_a_batch_has_one_result(stack: Stack) -> None:
    lines = [
        {"custom_id": str(number), "model_id": MODEL, "input": [text, f"{text} again"]}
        for number, text in enumerate(TEXTS)
    ]
    sent = "".join(json.dumps(line) + "\n" for line in lines)

    async def run() -> tuple[dict[str, Any], list[dict[str, Any]]]:
        async with httpx.AsyncClient(timeout=LIMIT_S) as client:
            headers = {"Content-Type": "application/jsonl"}
            route = url(stack, "/api/engine/batches")
            made = (await client.post(route, content=sent, headers=headers)).json()
            place = f"{route}/{made['id']}"

            def state() -> dict[str, Any]:
                return cast(dict[str, Any], httpx.get(place, timeout=LIMIT_S).json())

            await until(lambda: state()["counts"]["done"] >= 60, what="progress")
            stack.kill("worker")
            stack.start_worker()
            await until(lambda: state()["status"] == "completed", what="the end")
            results = await client.get(f"{place}/results")
            return state(), [json.loads(row) for row in results.text.splitlines()]

    ended, rows = asyncio.run(run())
    assert ended["counts"]["done"] == len(TEXTS)
    assert ended["usage"]["prompt_tokens"] == sum(2 * len(text) + len(" again") for text in TEXTS)
    assert [row["custom_id"] for row in rows] == [line["custom_id"] for line in lines]
    for row, line in zip(rows, lines, strict=True):
        wanted = [pytest.approx(vector(text), abs=1e-6) for text in line["input"]]
        assert row["embeddings"] == wanted
