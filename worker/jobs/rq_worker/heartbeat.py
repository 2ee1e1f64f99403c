"""How a worker of many jobs stays known to RQ: its own record, and those of its running jobs."""

from __future__ import annotations

import heapq
import threading
import time
from typing import Any

import redis.exceptions
from rq.job import Job
from rq.utils import now
from rq.worker.base import WorkerStatus

from wire import redis_refusals
from worker.jobs.rq_worker.bookkeeping import EXECUTION_LIFETIME_S, Run
from worker.jobs.rq_worker.intake import RqIntake
from worker.jobs.rq_worker.ports import JobRecovery, Runner, WorkerBeat

HEARTBEAT_S = 1.0
THREAD = "heartbeat"
WORKER_LIFETIME_S = 10
"""RQ's record of this worker outlives its last heartbeat by this."""
RENEWED_AT_ONCE = 16
"""Running jobs whose RQ records are renewed with each heartbeat, longest ago first. Their scores
are a day ahead, so nothing depends on it, and a round trip for each of a thousand jobs would hold
up the engine's thread."""


class RqHeartbeat(RqIntake):
    """Renews RQ's records from a thread of its own."""

    runner: Runner
    recovery: JobRecovery
    worker_beat: WorkerBeat

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._runs: dict[str, Run] = {}
        self._records = threading.RLock()
        """Held while RQ's records of jobs are written, which two threads do."""
        self._beating = threading.Event()

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:  # noqa: ARG002 (RQ's signature)
        return EXECUTION_LIFETIME_S

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:  # noqa: ARG002 (RQ's signature)
        """Skip RQ's own calls after every job: the heartbeat thread makes them unnecessary."""
        if pipeline is not None or threading.current_thread().name == THREAD:
            super().heartbeat(WORKER_LIFETIME_S, pipeline)

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """Stay busy while jobs run, although RQ's loop sets idle whenever it waits for a job."""
        if self._runs and state == WorkerStatus.IDLE:
            state = WorkerStatus.BUSY
        if pipeline is not None or state != self._state:
            super().set_state(state, pipeline)

    def run_maintenance_tasks(self) -> None:
        with self.ignore_outage():
            self.clean_registries()

    def clean_registries(self) -> None:
        """In place of RQ's maintenance, which compares wall clocks."""
        self.recovery.run({run.execution.composite_key for run in list(self._runs.values())})
        self.last_cleaned_at = now()

    def start_heartbeat(self) -> None:
        threading.Thread(target=self._beat_for_ever, name=THREAD, daemon=True).start()

    def stop_heartbeat(self) -> None:
        self._beating.set()

    def _beat_for_ever(self) -> None:
        while not self._beating.wait(HEARTBEAT_S):
            try:
                self._beat()
            except redis.exceptions.RedisError as error:
                self.log.warning(
                    "Worker %s: no heartbeat (%s)", self.name, redis_refusals.kind(error)
                )
            except Exception:
                self.log.exception("Worker %s: heartbeat failed", self.name)

    def _beat(self) -> None:
        self.worker_beat.beat()
        with self._records:
            self._restore_record()
            self.heartbeat()
        for run in heapq.nsmallest(
            RENEWED_AT_ONCE, list(self._runs.values()), key=lambda run: run.renewed
        ):
            with self._records:  # Anew for each: a job that starts meanwhile waits for one.
                if run.execution.id in self.executions:  # Its end has not been recorded.
                    run.renewed = time.monotonic()
                    self.maintain_heartbeats(run.job, run.execution)

    def _restore_record(self) -> None:
        """Register again if Redis has lost or dropped this worker's record."""
        if not self.connection.sismember(
            self.redis_workers_keys, self.key
        ) or not self.connection.exists(self.key):
            self.connection.delete(self.key)
            self.register_birth()
            super().set_state(self._state)
