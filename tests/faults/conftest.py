"""One service for all fault tests: it is complete before each test, and what each test leaves in
Redis and in the log is checked."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator

import pytest

from tests.faults.checker import Checker, leftovers
from tests.faults.stack import Stack, until

LONG = bool(os.environ.get("FAULTS_LONG"))
"""The long form: more repetitions, longer outages. The short one is part of every test run."""


@pytest.fixture(scope="session")
def long() -> bool:
    return LONG


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("faults"))
    yield stack
    stack.close()


@pytest.fixture(scope="session")
def checker(shared_stack: Stack) -> Iterator[Checker]:
    invariants = Checker(shared_stack)
    yield invariants
    assert invariants.changed() == []


@pytest.fixture
def rng() -> random.Random:
    """The source of random numbers. Its seed is printed with a failure; FAULTS_SEED repeats it."""
    seed = int(os.environ.get("FAULTS_SEED") or random.randrange(1 << 32))
    print(f"FAULTS_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def stack(shared_stack: Stack) -> Iterator[Stack]:
    """The service with all its processes; after the test nothing may be left in Redis and no
    traceback in the API's log."""
    asyncio.run(_whole(shared_stack))
    before = shared_stack.log("api").stat().st_size
    yield shared_stack
    asyncio.run(_whole(shared_stack))
    asyncio.run(_settled(shared_stack))
    with shared_stack.log("api").open("rb") as log:
        log.seek(before)
        assert b"Traceback" not in (written := log.read()), written.decode()


async def _whole(stack: Stack) -> None:
    assert stack.server.process is not None
    if stack.server.process.poll() is not None:
        await stack.start_redis()
    for name, process in stack.processes.items():
        if name not in ("worker", "api") and process.poll() is None:
            stack.kill(name)
    if not stack.runs("worker"):
        stack.start_worker()
    if not stack.runs("api"):
        stack.start_api()
    await stack.worker_ready()
    await stack.api_ready()


async def _settled(stack: Stack) -> None:
    try:
        await until(lambda: not leftovers(stack.redis), 20.0)
    except AssertionError:
        raise AssertionError(f"I6 left in Redis: {leftovers(stack.redis)}") from None
