"""An RQ worker that runs many jobs at once in one process, with correct RQ records of each of them.

Decides when a job is popped and let go; worker.jobs.rq_worker.bookkeeping makes the entries. What a
job does is its runner's business. RQ's private names that this relies on are held by
``tests/unit/worker/jobs/rq_worker/test_rq_contract.py``.
"""

from __future__ import annotations

import queue
import threading
import time
from functools import partial
from typing import Any

import redis.exceptions
from rq import Queue
from rq.command import handle_command, parse_payload
from rq.exceptions import DequeueTimeout, StopRequested
from rq.job import Job
from rq.worker.base import WorkerStatus

from wire.routing.offers import Offer, Reason
from wire.settings import Settings
from worker.errors import WorkerError
from worker.jobs.rq_worker.bookkeeping import Ending, Outcome, Run
from worker.jobs.rq_worker.heartbeat import HEARTBEAT_S, RqHeartbeat
from worker.jobs.rq_worker.intake import PAUSE_S, POLL_S, SUSPENDED_POLL_S
from worker.jobs.rq_worker.job_start import JobStart, StartQuery
from worker.jobs.rq_worker.ports import JobRecovery, Routing, Runner, WorkerBeat
from worker.jobs.rq_worker.slots import Slots

MAINTENANCE_S = 2


class ChatWorker(RqHeartbeat):
    """Equip it with a runner, then call ``work()``.

    RQ itself builds bare ones to read other workers' records.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("job_monitoring_interval", int(HEARTBEAT_S))
        kwargs.setdefault("maintenance_interval", MAINTENANCE_S)
        kwargs.setdefault("log_job_description", False)
        super().__init__(*args, **kwargs)
        self._slots = Slots(1, lambda: self.chats_running)
        self._drain_s = 0.0
        self._hurry = False
        self._routing: Routing | None = None
        self._ended: queue.SimpleQueue[tuple[str, Ending] | None] = queue.SimpleQueue()

    def equip(
        self,
        runner: Runner,
        recovery: JobRecovery,
        beat: WorkerBeat,
        settings: Settings,
        routing: Routing | None = None,
    ) -> None:
        """Give the worker what it works with. Without ``routing`` it takes no offers."""
        self.runner, self.recovery, self.worker_beat = runner, recovery, beat
        self._routing = routing
        self._slots.number, self._drain_s = settings.slots, settings.drain_s
        self.kept_s = int(settings.rq_history_hours * 3600)
        self._start_query = StartQuery(self.connection, self.queues[0].key, self.name)

    def ended(self, job_id: str, ending: Ending) -> None:
        """Report a job's end."""
        self._ended.put((job_id, ending))

    @property
    def running(self) -> list[str]:
        return list(self._runs)

    def hand_over(self, offer: Offer, reason: Reason) -> None:
        """Offer a job that runs here to another worker."""
        run = self._runs.get(offer.job_id)
        if run is None:
            return  # It has ended meanwhile.
        try:
            with self._records:
                self.record_end(run, Ending(Outcome.HANDED_BACK, offer=(offer, reason)))
        except Exception as error:
            self.log.warning("Worker %s: no offer (%s)", self.name, type(error).__name__)
            self.ended(offer.job_id, Ending(Outcome.HANDED_BACK))
        else:
            self._forget(run)

    @property
    def free_slots(self) -> int:
        """How many more chats are popped before one ends."""
        return self._slots.number - self.chats_running

    def bootstrap(self, *args: Any, **kwargs: Any) -> None:
        super().bootstrap(*args, **kwargs)
        self.worker_beat.beat()
        recovered = self.recovery.run_at_start()
        if recovered:
            self.log.warning("Worker %s: %d jobs of a dead worker go on", self.name, recovered)
        self.start_heartbeat()
        self._recorder = threading.Thread(target=self._record_ends, name="job-ends", daemon=True)
        self._recorder.start()
        poppers = {"slice-popper": self._pop_slice}
        if self._routing is not None:
            poppers["offer-popper"] = partial(self._pop_offer, self._routing)
        self._poppers = [
            threading.Thread(target=self.pop_for_ever, args=(pop,), name=name, daemon=True)
            for name, pop in poppers.items()
        ]
        for popper in self._poppers:
            popper.start()

    # --- popping and starting jobs ----------------------------------------------------------------

    def dequeue_job_and_maintain_ttl(
        self,
        timeout: int | None,
        max_idle_time: int | None = None,  # noqa: ARG002 (RQ's signature)
    ) -> tuple[Job, Queue] | None:
        """Wait for a free slot, then for a job, so that no popped job waits here."""
        with self.ignore_outage():
            self.set_state(WorkerStatus.IDLE)
        while True:
            while not self._stop_requested and not self._slots.wait(POLL_S):
                pass
            if self._stop_requested:
                raise StopRequested
            self._maintain()
            self.wait_while_suspended(self._maintain)
            try:
                popped = self.pop_job(self.queues[0], None if timeout is None else POLL_S)
            except DequeueTimeout:
                continue
            if popped is not None and not self._slots.reserve(popped[0].id):
                self.put_back(*popped)  # An offer came meanwhile.
            elif popped is not None or timeout is None:
                return popped

    def _maintain(self) -> None:
        if self.should_run_maintenance_tasks:
            self.run_maintenance_tasks()

    @property
    def chats_running(self) -> int:
        chats = self.queues[0].name
        return sum(run.queue.name == chats for run in list(self._runs.values()))

    def _pop_offer(self, routing: Routing) -> None:
        if not self._slots.wait(POLL_S):
            return
        self._take_offer(*self.pop_offer(self.queues[0], POLL_S, routing.is_late))

    def _take_offer(self, job: Job, queue: Queue) -> None:
        if self._slots.reserve(job.id):
            self.execute_job(job, queue)
        else:
            self.put_back(job, queue)  # The main thread has popped another meanwhile.

    def _pop_slice(self) -> None:
        served = self.runner.wait_for_slice_room()
        if served is None:
            return
        if self.is_suspended():
            time.sleep(SUSPENDED_POLL_S)
            return
        popped = self.pop_job(self.queues[1], None if served else POLL_S, served)
        if popped is not None:
            self.execute_job(*popped)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Start a popped job.

        One that can't be run, for whatever reason, must not end the worker.
        """
        try:
            start = self._start(job, queue)
            self.retry_until_answered(lambda: self.runner.start(job, start))
        except StopRequested:
            raise
        except WorkerError as error:
            self.ended(job.id, Ending(Outcome.FAILED, error.message))
        except Exception as error:
            self.log.warning(
                "Worker %s: job %s can't be run (%s)", self.name, job.id, type(error).__name__
            )
            reason = f"The job can't be run ({type(error).__name__})."
            self.ended(job.id, Ending(Outcome.FAILED, reason))

    def _start(self, job: Job, queue: Queue) -> JobStart:
        """Record a job's start; from here on it is known to run here."""
        try:
            with self._records:
                recorded = self.retry_until_answered(
                    lambda: self.record_start(job, queue, self._start_query.add_to)
                )
                start = StartQuery.read(recorded.replies, withdrawn=recorded.withdrawn)
                self._runs[job.id] = Run(job, queue, recorded.execution, start.attempt)
        finally:
            self._slots.release(job.id)
        self._tell()
        return start

    # --- ending jobs ------------------------------------------------------------------------------

    def _record_ends(self) -> None:
        while (item := self._ended.get()) is not None:
            job_id, ending = item
            run = self._runs.get(job_id)
            if run is not None and ending.attempt in (None, run.attempt):
                self._write_end(run, ending)
                self._forget(run)

    def _forget(self, run: Run) -> None:
        """Free the slot of a job that doesn't run here any more."""
        with self._slots.freed:
            # Handed back, it may be running here again already.
            if self._runs.get(run.job.id) is run:
                del self._runs[run.job.id]
            self._slots.freed.notify_all()
        self._tell()

    def _tell(self) -> None:
        if self._routing is not None:
            self._routing.tell()

    def _write_end(self, run: Run, ending: Ending) -> None:
        """Record a job's end until Redis answers: without it the job would run again."""

        def record() -> None:
            well = ending.outcome in (Outcome.FINISHED, Outcome.STOPPED)
            # A job must not count as finished without an end in its log: requeued, it gets one.
            lost = well and self.runner.lacks_end(run.job.id)
            with self._records:
                self.record_end(run, Ending(Outcome.HANDED_BACK) if lost else ending)

        try:
            self.retry_until_answered(record)
        except Exception:
            self.log.exception(
                "Worker %s: the end of job %s could not be recorded", self.name, run.job.id
            )

    # --- stop -------------------------------------------------------------------------------------

    def _pubsub_exception_handler(self, exc: Exception, pubsub: Any, pubsub_thread: Any) -> None:  # noqa: ARG002
        """Go on after any error: RQ's own handler survives a lost connection only."""
        if not isinstance(exc, redis.exceptions.RedisError):
            self.log.error(
                "Worker %s: a command could not be handled (%s)", self.name, type(exc).__name__
            )
        time.sleep(PAUSE_S)

    def handle_payload(self, message: Any) -> None:
        """RQ's commands. The stock handler of stop-job looks at the first running job only."""
        payload = parse_payload(message)
        if payload["command"] == "stop-job":
            if payload["job_id"] in self._runs:
                self.runner.cancel(payload["job_id"])
        else:
            handle_command(self, payload)

    def _shutdown(self) -> None:
        """Called in the signal handler: only sets a flag."""
        self._stop_requested = True

    def request_force_stop(self, signum: int, frame: Any) -> None:  # noqa: ARG002 (RQ's signature)
        """A second signal: don't wait for running jobs, hand them back now."""
        self._hurry = True

    def teardown(self) -> None:
        """Drain: pop nothing more, let running jobs end for a while, hand back the others, end."""
        for popper in self._poppers:
            popper.join(2 * POLL_S)
        self.runner.drain()
        self._wait_until_empty(self._drain_s)
        self._hurry = False
        if unfinished := self.running:
            self.log.warning("Worker %s: hands back %d unfinished jobs", self.name, len(unfinished))
            # Each goes to the front of the queue: the oldest last.
            self.runner.hand_back(unfinished[::-1])
            self._wait_until_empty(5.0)
        self._ended.put(None)
        self._recorder.join(5.0)
        self.stop_heartbeat()
        self.runner.close()
        super().teardown()

    def _wait_until_empty(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with self._slots.freed:
            while self._runs and not self._hurry and (remaining := deadline - time.monotonic()) > 0:
                self._slots.freed.wait(min(remaining, 0.2))
