"""Jobs that a worker can't read: of a later release, of an unknown task, broken. Their clients get
an error with a code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from tests.faults.checker import Checker
from tests.faults.client import ask
from tests.faults.running_chats import chats, streamed
from tests.faults.stack import LIMIT_S, Stack, until
from wire import keys

CODE = "job_unreadable"
BATCHES = "/api/engine/batches"


def later(job: Job) -> None:
    job.kwargs = {"job": job.kwargs["job"] | {"flavour": "vanilla"}, "version": 99}


def broken(job: Job) -> None:
    job.kwargs = {"job": "nothing of the kind"}


def unknown_task(job: Job) -> None:
    job.func_name = "worker.tasks.brew"


HARMS = [later, broken, unknown_task]


def harm(stack: Stack, job_id: str, how: Callable[[Job], None]) -> None:
    """Change a queued job in Redis, as another release or anyone with access to Redis could have
    written it."""
    job = Job.fetch(job_id, connection=stack.redis, serializer=JSONSerializer)
    assert job.func_name  # RQ reads all of it at once, and only then can a part be changed.
    how(job)
    job.save()


@pytest.mark.parametrize("how", HARMS)
def test_a_chat_that_a_worker_cannot_read_ends_by_name_and_takes_no_place_of_its_owner(
    stack: Stack, checker: Checker, how: Callable[[Job], None]
) -> None:
    [bad] = chats(f"unreadable {how.__name__}", 1, tokens=20)
    [good] = chats("readable", 1, tokens=20)

    async def run() -> None:
        await until(lambda: bad.job_id)
        harm(stack, bad.job_id, how)
        stack.start_worker()

    async def both() -> None:
        await streamed(stack, [bad], run())
        await streamed(stack, [good])

    stack.kill("worker")
    asyncio.run(both())
    assert checker.check([bad], code=CODE) == []
    assert checker.check([good]) == []
    assert not stack.redis.exists(keys.live("everyone"))
    assert (
        Job.fetch(bad.job_id, connection=stack.redis, serializer=JSONSerializer).get_status()
        == "failed"
    )
    if how is later:
        assert "later release" in bad.end["error"]


@pytest.mark.parametrize("how", HARMS)
def test_a_slice_that_a_worker_cannot_read_ends_its_lines_by_name(
    stack: Stack, how: Callable[[Job], None]
) -> None:
    async def run() -> tuple[Any, str]:
        body = {"model_id": "echo", "prompts": ["one", "two", "three"], "max_tokens": 5}
        made = (await ask(stack.port(), "POST", BATCHES, body)).json
        [job_id] = Queue(
            keys.BATCH_QUEUE, connection=stack.redis, serializer=JSONSerializer
        ).job_ids
        harm(stack, job_id, how)
        stack.start_worker()
        batch = f"{BATCHES}/{made['id']}"
        while (view := (await ask(stack.port(), "GET", batch)).json)["status"] != "completed":
            await asyncio.sleep(0.05)
        return view, (await ask(stack.port(), "GET", f"{batch}/results")).body.decode()

    stack.kill("worker")
    view, results = asyncio.run(asyncio.wait_for(run(), LIMIT_S))
    assert view["counts"]["failed"] == 3
    assert results.count(CODE) == 3


def test_a_command_to_models_that_a_worker_cannot_read_is_answered(stack: Stack) -> None:
    async def run() -> Any:
        asked = asyncio.create_task(ask(stack.port(), "POST", "/models/scan"))
        queue = Queue(keys.CHAT_QUEUE, connection=stack.redis, serializer=JSONSerializer)
        await until(lambda: queue.job_ids, what="the command")
        [job_id] = queue.job_ids
        harm(stack, job_id, later)
        stack.start_worker()
        return await asked

    stack.kill("worker")
    answer = asyncio.run(asyncio.wait_for(run(), LIMIT_S))
    assert (answer.status, answer.json["code"]) == (500, CODE)
