"""Shared by the tests of the API: a model, worker statuses, and a fake worker that writes token
logs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer

from tests.support.http_client import LIMIT_S
from wire import keys
from wire.log_entries import position_after
from wire.messages import ChatJob, Delta, Event, Finished, ModelCommand, Timings, Usage
from wire.model_registry import ModelRecord, Registry
from wire.token_log import Append, JobEnded, TokenLog
from wire.versions import VERSION
from wire.worker_status import LoadedModel, Memory, PromptCacheUse, RunningJob, WorkerStatus

MODEL = ModelRecord(
    id="model-1",
    name="Tiny Chat",
    path="models/tiny",
    size=1234,
    architecture="llama",
    context_window=2048,
    is_vision=False,
    repository="someone/tiny-chat",
    revision="r1",
)
QUEUE = "rq:queue:chat"


def message(text: str = "Hello", role: str = "user") -> dict[str, object]:
    return {"role": role, "content": text}


def chat_body(**more: object) -> dict[str, object]:
    return {"model_id": MODEL.id, "messages": [message()], **more}


def status(name: str = "w1", **more: object) -> WorkerStatus:
    fields: dict[str, object] = {
        "name": name,
        "host": "here",
        "pid": 7,
        "started_ms": 1,
        "slots": 4,
        "draining": False,
        "running": (
            RunningJob(
                job_id="a" * 32,
                model_id=MODEL.id,
                tokens=3,
                tokens_per_second=9,
                ttft_ms=8,
                elapsed_ms=7,
            ),
        ),
        "models": (LoadedModel(id=MODEL.id, kv_quantization=8, bytes=99),),
        "active_model": MODEL.id,
        "memory": Memory(percent=50, available_bytes=1, mlx_bytes=2),
        "prompt_cache": PromptCacheUse(bytes=1, entries=1, prompt_tokens=10, cached_tokens=5),
    }
    return WorkerStatus(**(fields | more))  # type: ignore[arg-type]


def announce(redis: Redis, *statuses: WorkerStatus) -> None:
    """Write what a running worker keeps in Redis."""
    Registry(redis).put(MODEL)
    redis.set(keys.WORKER_SEEN, 1)
    for one in statuses or (status(),):
        redis.sadd(keys.WORKERS, one.name)
        redis.set(keys.worker_status(one.name), one.model_dump_json())
        redis.set(keys.worker_reads(one.name), VERSION)


class LogWriter:
    """Writes the token log of one job, as a worker does."""

    def __init__(self, redis: Redis, job_id: str, owner: str = "everyone") -> None:
        self._log = TokenLog(redis)
        self._job, self._owner = job_id, owner
        self.attempt, before = self._log.begin(job_id)
        self.sequence, self.position = len(before), position_after(before)

    def write(self, *events: Event) -> list[int]:
        step = []
        for event in events:
            self.sequence += 1
            step.append(
                Append(self._job, self._owner, self.attempt, self.sequence, event, self.position)
            )
            if isinstance(event, Delta):
                self.position += event.positions
        return self._log.append(step)

    def text(self, *texts: str) -> list[int]:
        return self.write(*(Delta(text, (token,)) for token, text in enumerate(texts)))

    def progress(self, event: Event) -> None:
        self._log.append([Append(self._job, self._owner, self.attempt, 0, event)])

    def finish(self) -> list[int]:
        return self.write(Finished("stop", Usage(5, 2, 1), Timings(1, 2, 3, 4, 50)))


Answer = Callable[[ChatJob | ModelCommand], Sequence[Event]]


def hello(_: ChatJob | ModelCommand) -> Sequence[Event]:
    return (Delta("Hello", (1,)), Finished("stop"))


@dataclass
class FakeWorker:
    """Pops jobs from the queue in a thread and writes prepared answers."""

    redis: Redis
    answer: Answer = hello
    seen: list[ChatJob | ModelCommand] = field(default_factory=list)
    _at_work: threading.Lock = field(default_factory=threading.Lock)

    def step(self) -> bool:
        with self._at_work:
            return self._step()

    def settle(self) -> None:
        """Wait until all that was queued has been answered, also what nobody waits for."""
        wait_for(lambda: not self.redis.llen(QUEUE))
        with self._at_work:
            pass

    def _step(self) -> bool:
        popped: Any = self.redis.lpop(QUEUE)
        if popped is None:
            return False
        job = Job.fetch(popped.decode(), connection=self.redis, serializer=JSONSerializer)
        kind = ChatJob if job.func_name == keys.CHAT_TASK else ModelCommand
        request = kind.model_validate(job.kwargs["job"])
        self.seen.append(request)
        with suppress(JobEnded):  # The API ended it after it was popped.
            writer = LogWriter(self.redis, request.job_id, getattr(request, "owner", "everyone"))
            writer.write(*self.answer(request))
        return True

    @contextmanager
    def running(self) -> Iterator[FakeWorker]:
        stopped = threading.Event()

        def work() -> None:
            while not stopped.is_set():
                if not self.step():
                    time.sleep(0.003)

        thread = threading.Thread(target=work, name="fake worker")
        thread.start()
        try:
            yield self
        finally:
            stopped.set()
            thread.join()


def wait_for(condition: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Wait until the condition is true; fail after the limit: far longer than a busy machine takes
    where nothing is promised."""
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, "timed out"
        time.sleep(0.005)


def frames(text: str) -> list[Any]:
    """The data of a stream's events."""
    lines = [line for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]
