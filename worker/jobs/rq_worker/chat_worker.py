"""An RQ worker that runs many jobs at once in one process, with correct RQ records of each of them.

Decides when a job is popped, kept alive and let go; worker.jobs.rq_worker.bookkeeping makes the
entries. What a job does is its runner's business. RQ's private names that this relies on are held
by ``tests/unit/worker/jobs/test_rq_contract.py``.
"""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections.abc import Mapping
from typing import Any

import redis.exceptions
from rq import Queue
from rq.command import handle_command, parse_payload
from rq.exceptions import DequeueTimeout, StopRequested
from rq.job import Job
from rq.utils import now
from rq.worker.base import WorkerStatus

from wire import keys, redis_refusals
from worker.errors import WorkerError
from worker.jobs.crashes.recovery import Recovery
from worker.jobs.rq_worker.bookkeeping import BEAT_THREAD, RETRY_S, Ending, Outcome, Run, Runner
from worker.jobs.rq_worker.intake import POLL_S, SUSPENDED_POLL_S, RqIntake

HEARTBEAT_S = 1.0
NOTED_AT_ONCE = 16
"""Jobs for which RQ's books are told with each heartbeat that they go on, longest ago first.
Their scores are a day ahead, so nobody goes by it, and a round trip for each of a thousand jobs
would hold up the engine's thread."""
MAINTENANCE_S = 2


class ChatWorker(RqIntake):
    """Equip it with a runner, then call ``work()``. RQ itself builds bare ones to read other
    workers' records."""

    runner: Runner
    recovery: Recovery

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("job_monitoring_interval", int(HEARTBEAT_S))
        kwargs.setdefault("maintenance_interval", MAINTENANCE_S)
        kwargs.setdefault("log_job_description", False)
        super().__init__(*args, **kwargs)
        self._runs: dict[str, Run] = {}
        self._slots = 1
        self._drain_s = 0.0
        self._hurry = False
        self._books = threading.RLock()
        self._freed = threading.Condition()
        self._ended: queue.SimpleQueue[tuple[str, Ending] | None] = queue.SimpleQueue()
        self._beating = threading.Event()

    def equip(
        self,
        runner: Runner,
        recovery: Recovery,
        *,
        slots: int,
        drain_s: float,
        kept_s: int = keys.RQ_LIFETIME_S,
    ) -> None:
        """Give the worker what it works with: jobs at once, seconds to end them in when told to
        stop, and seconds that RQ's pages show an ended one."""
        self.runner, self.recovery = runner, recovery
        self._slots, self._drain_s, self.kept_s = slots, drain_s, kept_s

    def ended(
        self, job_id: str, outcome: Outcome, reason: str = "", meta: Mapping[str, Any] | None = None
    ) -> None:
        """Report a job's end. ``reason`` and ``meta`` are shown in RQ's dashboard: they hold
        nothing of the request."""
        self._ended.put((job_id, Ending(outcome, reason, meta)))

    @property
    def running(self) -> list[str]:
        return list(self._runs)

    @property
    def free_slots(self) -> int:
        """How many more chats are popped before one ends."""
        return self._slots - self._chats_running()

    # --- start and heartbeat ----------------------------------------------------------------------

    def bootstrap(self, *args: Any, **kwargs: Any) -> None:
        super().bootstrap(*args, **kwargs)
        self.runner.beat()
        recovered = self.recovery.run_at_start()
        if recovered:
            self.log.warning("Worker %s: %d jobs of a dead worker go on", self.name, recovered)
        threading.Thread(target=self._beat_for_ever, name=BEAT_THREAD, daemon=True).start()
        self._bookkeeper = threading.Thread(target=self._keep_books, name="books", daemon=True)
        self._bookkeeper.start()
        self._slice_taker = threading.Thread(
            target=self._take_slices, name="slice-taker", daemon=True
        )
        self._slice_taker.start()

    def run_maintenance_tasks(self) -> None:
        with self._forgiving():
            self.clean_registries()

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
        self.runner.beat()
        with self._books:
            # After Redis lost or dropped our record we would run on without being listed.
            if not self.connection.sismember(
                self.redis_workers_keys, self.key
            ) or not self.connection.exists(self.key):
                self.connection.delete(self.key)
                self.register_birth()
                super().set_state(self._state)
            for run in heapq.nsmallest(
                NOTED_AT_ONCE, list(self._runs.values()), key=lambda run: run.noted
            ):
                run.noted = time.monotonic()
                self.maintain_heartbeats(run.job, run.execution)
            self.heartbeat()

    def clean_registries(self) -> None:
        """In place of RQ's maintenance, which goes by wall clocks."""
        self.recovery.run({run.execution.composite_key for run in list(self._runs.values())})
        self.last_cleaned_at = now()

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """RQ's loop says idle whenever it waits for a job; with others running the worker is
        busy."""
        if self._runs and state == WorkerStatus.IDLE:
            state = WorkerStatus.BUSY
        if pipeline is not None or state != self._state:
            super().set_state(state, pipeline)

    # --- taking jobs ------------------------------------------------------------------------------

    def dequeue_job_and_maintain_ttl(
        self,
        timeout: int | None,
        max_idle_time: int | None = None,  # noqa: ARG002 (RQ's signature)
    ) -> tuple[Job, Queue] | None:
        """Wait for a free slot, then for a job: a job popped before there is room would wait
        where nobody sees it."""
        with self._forgiving():
            self.set_state(WorkerStatus.IDLE)
        while True:
            with self._freed:
                while self._chats_running() >= self._slots and not self._stop_requested:
                    self._freed.wait(POLL_S)
            if self._stop_requested:
                raise StopRequested
            self._maintain()
            self.wait_while_suspended(self._maintain)
            try:
                taken = self.take(self.queues[0], None if timeout is None else POLL_S)
            except DequeueTimeout:
                continue
            if taken is not None or timeout is None:
                return taken

    def _maintain(self) -> None:
        if self.should_run_maintenance_tasks:
            self.run_maintenance_tasks()

    def _chats_running(self) -> int:
        chats = self.queues[0].name
        return sum(run.queue.name == chats for run in list(self._runs.values()))

    def _take_slices(self) -> None:
        """Take slices of batches beside the chats: each thread pops one queue and waits for that
        alone."""
        batches = self.queues[1]
        while not self._stop_requested:
            try:
                if not self.runner.wait_for_slice_room(POLL_S):
                    continue
                if self.is_suspended():
                    time.sleep(SUSPENDED_POLL_S)
                    continue
                taken = self.take(batches, POLL_S)
                if taken is not None:
                    self.execute_job(*taken)
            except DequeueTimeout:
                continue
            except redis.exceptions.RedisError as error:
                self.log.warning(
                    "Worker %s: waiting for Redis (%s)", self.name, redis_refusals.kind(error)
                )
                time.sleep(RETRY_S[1])
            except Exception:
                self.log.exception("Worker %s: a slice of a batch could not be taken", self.name)
                time.sleep(RETRY_S[1])

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Start a popped job. One that can't be run, whatever is wrong with it, must not end the
        worker."""
        try:
            with self._books:
                start = self._insist(lambda: self.note_start(job, queue, self.runner.ask))
                self._runs[job.id] = Run(job, queue, start.execution)
            self._insist(lambda: self.runner.start(job, start.answers, withdrawn=start.withdrawn))
        except StopRequested:
            raise
        except WorkerError as error:
            self.ended(job.id, Outcome.FAILED, error.message)
        except Exception as error:
            self.log.warning(
                "Worker %s: job %s can't be run (%s)", self.name, job.id, type(error).__name__
            )
            self.ended(job.id, Outcome.FAILED, f"The job can't be run ({type(error).__name__}).")

    # --- ending jobs ------------------------------------------------------------------------------

    def _keep_books(self) -> None:
        while (item := self._ended.get()) is not None:
            job_id, ending = item
            run = self._runs.get(job_id)
            if run is not None:
                self._close_books(run, ending)
            with self._freed:
                # Handed back, it may be running here again already.
                if self._runs.get(job_id) is run:
                    self._runs.pop(job_id, None)
                self._freed.notify_all()

    def _close_books(self, run: Run, ending: Ending) -> None:
        """Write a job's end down, for as long as Redis takes to answer: unwritten, the job would
        run again."""

        def write() -> None:
            well = ending.outcome in (Outcome.FINISHED, Outcome.STOPPED)
            # A job must not count as finished without an end: somebody goes on with it, and writes
            # one.
            lost = well and self.runner.lacks_end(run.job.id)
            with self._books:
                self.write_down(run, Ending(Outcome.HANDED_BACK) if lost else ending)

        try:
            self._insist(write)
        except Exception:
            self.log.exception(
                "Worker %s: the end of job %s could not be written down", self.name, run.job.id
            )

    # --- stop -------------------------------------------------------------------------------------

    def _pubsub_exception_handler(self, exc: Exception, pubsub: Any, pubsub_thread: Any) -> None:  # noqa: ARG002
        """RQ's own gives up on anything but a lost connection; commands must work again once
        Redis does."""
        if not isinstance(exc, redis.exceptions.RedisError):
            self.log.error(
                "Worker %s: a command could not be handled (%s)", self.name, type(exc).__name__
            )
        time.sleep(RETRY_S[1])

    def handle_payload(self, message: Any) -> None:
        """RQ's commands. The stock handler of stop-job looks at the first running job only."""
        payload = parse_payload(message)
        if payload["command"] == "stop-job":
            if payload["job_id"] in self._runs:
                self.runner.cancel(payload["job_id"])
        else:
            handle_command(self, payload)

    def _shutdown(self) -> None:
        """Called in the signal handler: only leaves a note."""
        self._stop_requested = True

    def request_force_stop(self, signum: int, frame: Any) -> None:  # noqa: ARG002 (RQ's signature)
        """A second signal: don't wait for running jobs, hand them back now."""
        self._hurry = True

    def teardown(self) -> None:
        """Drain: take nothing more, let running jobs end for a while, hand the rest back, close."""
        self._slice_taker.join(2 * POLL_S)
        self.runner.drain()
        self._wait_until_empty(self._drain_s)
        self._hurry = False
        if left := self.running:
            self.log.warning("Worker %s: hands back %d unfinished jobs", self.name, len(left))
            # Each goes to the front of the queue: the oldest last.
            self.runner.hand_back(left[::-1])
            self._wait_until_empty(5.0)
        self._ended.put(None)
        self._bookkeeper.join(5.0)
        self._beating.set()
        self.runner.close()
        super().teardown()

    def _wait_until_empty(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with self._freed:
            while self._runs and not self._hurry and (left := deadline - time.monotonic()) > 0:
                self._freed.wait(min(left, 0.2))
