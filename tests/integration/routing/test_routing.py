"""Two workers that keep prompts: a later turn runs where the earlier ones are, and is not lost when
that worker dies on taking it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rq.job import Job
from rq.serializers import JSONSerializer

from tests.faults.stack import LIMIT_S, Stack, until
from tests.support.http_client import Message, Service, Stream
from wire.routing.told import ROUTED

CONVERSATIONS = 5
"""An odd number: taken up in turn, every second later turn is taken up by the other worker."""
TOKENS = 30
PATIENT = """
from wire.routing import offers
offers.WAIT_MS, offers.OFFER_LIFETIME_MS = 4000, 4500
"""
"""On a busy machine a worker may not get to an offer in a tenth of a second."""
WORKER = f"""{PATIENT}
from worker import __main__
__main__.main()
"""
TAKEN = "test:taken"
"""Holds the id of the chat with which a worker died."""
DIES_WITH_AN_OFFER = f"""{PATIENT}
import os, signal
from worker import __main__
from worker.jobs.rq_worker import chat_worker

def die(worker, job, queue):
    worker.connection.set("{TAKEN}", job.id)
    os.kill(os.getpid(), signal.SIGKILL)

chat_worker.ChatWorker._take_offer = die
__main__.main()
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("routing")
    settings = {"MLXQ_ECHO_DELAY_MS": "5", "MLXQ_ECHO_PROMPT_CACHE": "1", "MLXQ_SLOTS": "1"}
    running = Stack(folder, **settings)
    for name in ("one", "two"):
        running.start_worker(name, command=("-c", WORKER))
    running.start_api()
    asyncio.run(ready(running, "one", "two"))
    yield running
    running.close()


async def ready(stack: Stack, *workers: str) -> None:
    for name in workers:
        await stack.worker_ready(name)
    await stack.api_ready()
    there = [stack.workers()[stack.processes[name].pid] for name in workers]
    await until(lambda: all(stack.redis.exists(f"mlxq:worker-room:{name}") for name in there))


@dataclass
class Conversation:
    name: str
    messages: list[Message] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    workers: list[str] = field(default_factory=list)
    cached: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    def ask(self, stack: Stack) -> Stream:
        words = f"{self.name} {len(self.messages)} " * 20
        self.messages.append({"role": "user", "content": words})
        service = Service(f"http://127.0.0.1:{stack.port()}")
        return service.conversation(
            self.messages, "echo", max_tokens=TOKENS, stream_options={"include_usage": True}
        )

    def hear(self, stack: Stack, stream: Stream) -> None:
        text = stream.rest()
        usage = stream.frames[-1]["usage"]
        assert (stream.frames[-1]["done"], usage["completion_tokens"]) == (True, TOKENS)
        self.messages.append({"role": "assistant", "content": text})
        job = Job.fetch(stream.job_id, stack.redis, JSONSerializer)
        asyncio.run(until(lambda: job.get_status() == "finished", what="RQ's record"))
        job.refresh()
        self.jobs.append(job.id)
        self.workers.append(job.worker_name)
        self.cached.append(usage["cached_tokens"])
        self.lengths.append(usage["prompt_tokens"])


def conversations(stack: Stack, name: str) -> list[Conversation]:
    """After their first turns, at the same time: each worker has had a share of them."""
    made = [Conversation(f"{name}{number}") for number in range(CONVERSATIONS)]
    for one, stream in [(one, one.ask(stack)) for one in made]:
        one.hear(stack, stream)
    assert len({one.workers[0] for one in made}) == 2
    return made


def test_later_turns_run_on_the_worker_that_holds_the_earlier_ones(stack: Stack) -> None:
    made = conversations(stack, "kept")
    for one in made * 2:
        one.hear(stack, one.ask(stack))
    assert [len(set(one.workers)) for one in made] == [1] * CONVERSATIONS
    for one in made:
        # All of the earlier prompt, which is bytes; the echo backend's answers are other tokens.
        assert one.cached[1:] == one.lengths[:-1]
    counted = asyncio.run(until(lambda: int(stack.redis.hget(ROUTED, "prompt") or 0) > 0))
    assert counted < 60


def test_a_chat_is_not_lost_with_the_worker_that_dies_on_taking_it(stack: Stack) -> None:
    stack.kill("two", signal.SIGTERM)
    stack.start_worker("deadly", command=("-c", DIES_WITH_AN_OFFER))
    asyncio.run(ready(stack, "one", "deadly"))
    made = conversations(stack, "lost")
    deadly = stack.processes["deadly"]
    for one in made * 2:
        one.hear(stack, one.ask(stack))
        if deadly.poll() is not None:
            break
    assert deadly.wait(LIMIT_S) == -signal.SIGKILL
    survivor = stack.workers()[stack.processes["one"].pid]
    # Not always the last one: it may look at an offer late, while the next chat is being answered.
    taken = stack.redis.getdel(TAKEN).decode()
    [dead] = [one for one in made if taken in one.jobs]
    assert dead.workers[dead.jobs.index(taken)] == survivor != dead.workers[0]
