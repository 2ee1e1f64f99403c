"""Counting prompts beside the queue: right numbers, refusals as a worker's, and processes that die,
hang or are too many."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from fakeredis import FakeRedis

from api.auth.caller import Caller
from api.chat.request import ChatSpec
from api.errors import ApiError
from api.http.data_urls import DataUrls
from api.http.host_names import HostNames
from api.images.draft import DraftMessage, ImageUrl, message_of
from api.images.fetch import ImageFetcher
from api.images.intake import ImageIntake
from api.images.urls import TOO_LARGE
from api.jobs.policy import Policy
from api.serving import token_counter
from api.serving.token_counter import LIMITS, TokenCounter
from tests.support import picture_files as files
from wire.messages import ChatJob, OutputFormat, Role, Sampling
from wire.processes.pool import Limits
from worker.backends.echo import (
    CONTEXT_WINDOW,
    DEADLY_PROMPT,
    ECHO_MODEL,
    HANGING_PROMPT,
    EchoBackend,
)
from worker.sequence import Sequence

Make = Callable[..., TokenCounter]
ME = Caller("me")
HANGS_ONCE = """
import pathlib, runpy, sys
if not pathlib.Path(sys.argv[1]).exists():
    pathlib.Path(sys.argv[1]).touch()
    sys.stdin.buffer.read()
runpy.run_module("worker.prompt_counter", run_name="__main__")
"""
SILENT = (sys.executable, "-c", "import sys; sys.stdin.buffer.read()")


@pytest.fixture
def redis() -> FakeRedis:
    return FakeRedis()


@pytest.fixture
async def made(redis: FakeRedis) -> AsyncIterator[Make]:
    images = ImageIntake(redis, 1 << 30, ImageFetcher(HostNames(), TOO_LARGE))
    counters: list[TokenCounter] = []

    def make(**more: object) -> TokenCounter:
        counters.append(TokenCounter(images, **more))  # type: ignore[arg-type]
        return counters[-1]

    yield make
    for counter in counters:
        counter.close()
    images.close()


def spec(*said: str | ImageUrl, role: Role = "user", **form: object) -> ChatSpec:
    return chat([DraftMessage(role, said)], **form)


def chat(messages: list[DraftMessage], max_tokens: int = 16, **form: object) -> ChatSpec:
    sampling = Sampling(seed=1, max_tokens=max_tokens)
    return ChatSpec(messages, sampling, Policy("cancel"), OutputFormat(**form))  # type: ignore[arg-type]


async def count(counter: TokenCounter, asked: ChatSpec) -> int:
    return await counter.count(asked, ECHO_MODEL, DataUrls(), ME)


async def refusal(counter: TokenCounter, asked: ChatSpec) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await count(counter, asked)
    return caught.value


async def test_a_count_is_what_the_worker_bills(made: Make) -> None:
    counter = made()
    assert counter.pool.pids() == []
    asked = {
        "short": spec("hällo"),
        "raw": spec("hello", raw=True),
        "ids": spec("", raw=True, prompt_ids=(1, 2, 3)),
        "shortened": chat([DraftMessage("user", ("x" * 900,)) for _ in range(9)], 512),
    }
    counted = {name: await count(counter, one) for name, one in asked.items()}
    billed = {name: worker_tokens(one) for name, one in asked.items()}
    assert counted == billed
    assert counted["short"] == len("user:hällo\n".encode())
    assert counted["ids"] == 3
    assert 0 < counted["shortened"] <= CONTEXT_WINDOW - 512
    assert len(counter.pool.pids()) == 1


def worker_tokens(asked: ChatSpec) -> int:
    """The prompt's tokens as the worker's backend counts them."""
    job = ChatJob(
        job_id="j",
        owner="me",
        model_id="echo",
        model_revision="echo",
        messages=tuple(message_of(draft, {}) for draft in asked.messages),
        sampling=asked.sampling,
        form=asked.form,
        submitted_ms=0,
    )
    sequence = Sequence(job)
    EchoBackend(0, 128).prepare(sequence)
    return sequence.usage.prompt_tokens


@pytest.mark.parametrize(
    ("asked", "code", "sentence"),
    [
        (spec("x" * 5000), "prompt_too_long", "an answer of 16: 926 too many."),
        (spec("x" * 5000, truncation="disabled"), "prompt_too_long", "911 tokens too long"),
        (spec("", raw=True), "bad_prompt", "empty prompt"),
        (spec("", raw=True, prompt_ids=(70_000,)), "bad_prompt", "a token id that no word has"),
        (spec("a", json_schema="{}"), "unsupported", "no schema"),
    ],
)
async def test_what_a_worker_refuses_is_refused(
    made: Make, asked: ChatSpec, code: str, sentence: str
) -> None:
    refused = await refusal(made(), asked)
    assert refused.code == code
    assert sentence in refused.message


async def test_pictures_are_opened_and_none_is_stored(made: Make, redis: FakeRedis) -> None:
    counter = made()
    picture = ImageUrl(files.url(files.plain()))
    assert await count(counter, spec("what?", picture)) == len(b"user:what?\n")
    assert (await refusal(counter, spec(ImageUrl("data:image/png;base64,AAAA")))).code == (
        "invalid_image"
    )
    assert redis.keys("*") == []


async def test_fifty_at_once_are_counted_by_two_processes(made: Make) -> None:
    counter = made()
    texts = ["y" * (3000 + i) for i in range(50)]
    counted = await asyncio.gather(*(count(counter, spec(text)) for text in texts))
    assert counted == [len(f"user:{text}\n") for text in texts]
    assert len(counter.pool.pids()) == token_counter.CHILDREN


async def test_one_too_many_is_told_to_come_again(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_counter, "MOST_WAITING", 3)
    counter = made()
    results = await asyncio.gather(
        *(count(counter, spec("hi")) for _ in range(4)), return_exceptions=True
    )
    [refused] = [one for one in results if isinstance(one, ApiError)]
    assert (refused.code, refused.retry_after) == ("busy", token_counter.RETRY_S)
    assert await count(counter, spec("hi")) == 8


async def test_a_process_killed_in_the_middle_is_asked_again(made: Make) -> None:
    counter = made()
    counting = asyncio.create_task(refusal(counter, spec(HANGING_PROMPT)))
    first = await busy_child(counter)
    os.kill(first, signal.SIGKILL)
    second = await busy_child(counter, besides=first)
    # It reads the same again; a second death is the prompt's fault.
    os.kill(second, signal.SIGKILL)
    assert (await counting).code == "engine_failed"
    assert await count(counter, spec("hi")) == 8


async def busy_child(counter: TokenCounter, besides: int = 0) -> int:
    """A process that has a question."""
    async with asyncio.timeout(60):
        while not (pids := [pid for pid in counter.pool.pids() if pid != besides]):
            await asyncio.sleep(0.01)
    return pids[0]


async def test_what_a_killed_process_was_asked_the_next_one_answers(
    made: Make, tmp_path: Path
) -> None:
    hung = tmp_path / "hung"
    counter = made(command=(sys.executable, "-P", "-c", HANGS_ONCE, str(hung)))
    counting = asyncio.create_task(count(counter, spec("hi")))
    async with asyncio.timeout(60):
        while not hung.exists():
            await asyncio.sleep(0.01)
    os.kill(await busy_child(counter), signal.SIGKILL)
    assert await counting == 8


async def test_a_killed_idle_process_is_replaced(made: Make) -> None:
    counter = made()
    assert await count(counter, spec("hi")) == 8
    (pid,) = counter.pool.pids()
    os.kill(pid, signal.SIGKILL)
    assert await count(counter, spec("ho!")) == 9


async def test_a_prompt_that_crashes_its_reader_is_named(made: Make) -> None:
    counter = made()
    refused = await refusal(counter, spec(DEADLY_PROMPT))
    assert (refused.code, "crashes" in refused.message) == ("engine_failed", True)


async def test_a_prompt_that_takes_too_long_is_given_up(made: Make) -> None:
    limits = Limits(0.3, LIMITS.memory, LIMITS.answer, LIMITS.questions)
    counter = made(command=SILENT, limits=limits)
    refused = await refusal(counter, spec("hi"))
    assert (refused.code, refused.message) == ("job_timeout", "The prompt takes too long to count.")
    assert counter.pool.pids() == []


async def test_who_waits_too_long_for_a_turn_is_told_so(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_counter, "WAIT_S", 0.3)
    counter = made(command=SILENT)
    assert (await refusal(counter, spec("hi"))).code == "busy"


async def test_what_cannot_be_started_is_told(made: Make) -> None:
    assert (await refusal(made(command=("/nowhere/python",)), spec("hi"))).code == "busy"


async def test_a_stop_in_the_middle_says_that_the_service_restarts(made: Make) -> None:
    counter = made(command=SILENT)
    counting = asyncio.create_task(refusal(counter, spec("hi")))
    pid = await busy_child(counter)
    counter.close()
    assert (await counting).code == "job_lost"
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def test_idle_processes_end(made: Make) -> None:
    counter = made()
    await count(counter, spec("hi"))
    counter.pool.close_idle(3600)
    assert len(counter.pool.pids()) == 1
    counter.pool.close_idle(0)
    assert counter.pool.pids() == []
    assert await count(counter, spec("hi")) == 8


async def test_a_worn_process_is_asked_nothing_more(made: Make) -> None:
    worn = "import worker.prompt_counter as p; p.WORN_BYTES = 0; p.main()"
    counter = made(command=(sys.executable, "-c", worn))
    for _ in range(3):
        assert await count(counter, spec("hi")) == 8
        assert counter.pool.pids() == []
