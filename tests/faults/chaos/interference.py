"""Interference from outside a running service: RQ's own tools, batches and schemas that crash
processes, second starts.

None of it may affect the clients' chats. Checks the results of what it sent itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from redis.exceptions import RedisError
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from tests.faults.batches import Batch, prompts
from tests.faults.client import ask
from tests.faults.stack import ROOT, Stack
from wire import keys
from worker.backends.echo import DEADLY_PROMPT

T = TypeVar("T")
GAVE_UP = "gave_up_after_crashes"
BATCH_S = 300.0
"""A batch that has not ended after this time has hung."""
REFUSED_S = 20.0
DEADLY_SCHEMA = {"const": -9223372036854775808}
"""Crashes the process in llguidance 1.9."""
_STOCK = "from rq.cli import main; main()"


class Interference:
    """Interferes until it is stopped. ``cancelled`` are the chats that were cancelled through RQ.

    ``lost_since`` says whether Redis has lost its data since a time.
    """

    def __init__(
        self,
        stack: Stack,
        port: Callable[[], int],
        rng: random.Random,
        lost_since: Callable[[float], bool],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.cancelled: set[str] = set()
        self.violations: list[str] = []
        self._stack = stack
        self._port = port
        self._rng = rng
        self._lost_since = lost_since
        self._stopped = asyncio.Event()
        self._kinds = {
            "chat cancelled through RQ": (12, self._cancel_in_rq),
            "stock worker": (4, self._stock_worker),
            "batch line that kills at preparing": (1, self._deadly_batch),
            "schema that kills": (6, self._deadly_schema),
            "second start": (4, self._second_start),
        }

    async def run(self, pace_s: float) -> None:
        """Interfere at this mean pace until :meth:`stop`; all of it has ended when this returns."""
        names = list(self._kinds)
        weights = [self._kinds[name][0] for name in names]
        async with asyncio.TaskGroup() as group:
            while not self._stopped.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), self._rng.expovariate(1 / pace_s))
                    return
                [name] = self._rng.choices(names, weights)
                self.counts[name] += 1
                group.create_task(self._kinds[name][1]())

    def stop(self) -> None:
        self._stopped.set()

    async def _cancel_in_rq(self) -> None:
        with suppress(RedisError, NoSuchJobError, InvalidJobOperation):
            redis = self._stack.redis
            waiting = redis.lrange(f"rq:queue:{keys.CHAT_QUEUE}", 0, -1)
            running = [
                member.split(b":")[0] for member in redis.zrange(f"rq:wip:{keys.CHAT_QUEUE}", 0, -1)
            ]  # type: ignore[union-attr]
            ids = [value.decode() for value in [*waiting, *running]]  # type: ignore[misc]
            if ids:
                job_id = self._rng.choice(ids)
                self.cancelled.add(job_id)
                Job.fetch(job_id, connection=redis, serializer=JSONSerializer).cancel()

    async def _stock_worker(self) -> None:
        """RQ's own worker on the chat queue, as someone unaware of ours might start it."""
        words = ["worker", keys.CHAT_QUEUE, "--url", self._stack.server.url, "--serializer"]
        process = self._start(
            [sys.executable, "-c", _STOCK, *words, "rq.serializers.JSONSerializer"]
        )
        await asyncio.sleep(self._rng.uniform(2, 6))
        process.terminate()
        await self._wait(process, 10.0)

    async def _deadly_batch(self) -> None:
        began, number = time.monotonic(), self.counts["batch line that kills at preparing"]
        rows = prompts(f"outside-{number}", 5, max_tokens=20)
        deadly = f"outside-{number}-2"
        rows[2]["prompt"] = f"{DEADLY_PROMPT} {number}"
        batch = await self._until_answered(lambda: Batch(self._port(), rows))
        if batch is None or not await self._until_answered(batch.ended, BATCH_S):
            self._violation(
                began, f"a batch with a deadly line has not ended: {batch and batch.id}"
            )
            return
        # Workers are killed all the time: any line may be in flight at three crashes in a row.
        results = await self._until_answered(batch.results) or []
        given_up = {
            row["custom_id"]: GAVE_UP
            for row in results
            if row.get("error", {}).get("code") == GAVE_UP
        }
        wrong = await self._until_answered(lambda: batch.wrong(given_up)) or []
        missing = {row["custom_id"] for row in rows} - {row["custom_id"] for row in results}
        if deadly not in given_up or wrong or missing:
            self._violation(
                began,
                f"a batch with a deadly line: {sorted(given_up)}, missing {sorted(missing)}, "
                f"{wrong}",
            )

    async def _deadly_schema(self) -> None:
        began = time.monotonic()
        body = {
            "model": "echo",
            "messages": [{"role": "user", "content": "hello"}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": DEADLY_SCHEMA},
            },
        }
        with suppress(OSError, TimeoutError):
            answer = await ask(self._port(), "POST", "/v1/chat/completions", body)
            code = json.loads(answer.body)["error"]["code"]
            if (answer.status, code) != (400, "invalid_schema") and answer.status not in (429, 503):
                self._violation(
                    began, f"a schema that kills was answered with {answer.status} {code}"
                )

    async def _second_start(self) -> None:
        """Start the service a second time on a data folder that is in use."""
        began, folder = time.monotonic(), str(self._stack.folder)
        process = self._start(
            [sys.executable, "-P", "-m", "mlxq.service.launch", "--data", folder, "--port", "0"]
        )
        status = await self._wait(process, REFUSED_S)
        if status == 0 or not self._stack.server.socket.parent.exists():
            self._violation(began, f"a second start on a data folder ended with {status}")

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith("MLXQ_") and k != "REDIS_URL"
        }
        with self._stack.log("outside").open("ab") as log:
            return subprocess.Popen(
                command,
                env={**clean, "PYTHONPATH": str(ROOT), "MLXQ_BACKEND": "echo"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _wait(self, process: subprocess.Popen[bytes], limit_s: float) -> int:
        try:
            return await asyncio.to_thread(process.wait, limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return 0

    async def _until_answered(self, call: Callable[[], T], limit_s: float = 60.0) -> T | None:
        """The first result of a call that is not empty; None if there is none in time."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            with suppress(OSError, AssertionError, ValueError, KeyError):
                if answer := await asyncio.to_thread(call):
                    return answer
            await asyncio.sleep(0.3)
        return None

    def _violation(self, began: float, sentence: str) -> None:
        if not self._lost_since(began):
            self.violations.append(sentence)
