"""Runs chats in the engine: from the lease on a chat's log to its end, or until it is let go."""

from __future__ import annotations

import contextlib
import logging
from functools import partial

from wire.log_entries import Entry
from wire.messages import Failed
from wire.queueing import start_by
from wire.routing.offers import Offer, Reason
from worker.engine.engine import Engine
from worker.jobs.cancel_watcher import CancelWatcher
from worker.jobs.deadlines import Deadlines
from worker.jobs.event_writer import EventWriter
from worker.jobs.routing.router import Router
from worker.jobs.rq_worker.bookkeeping import Ending, Outcome
from worker.jobs.rq_worker.meta import meta_of, outcome_of
from worker.jobs.rq_worker.ports import JobEnds
from worker.jobs.status_reporter import StatusReporter
from worker.sequence import Sequence

log = logging.getLogger(__name__)
CLOSING_S = 10.0
"""On shutdown, how long to keep trying to write pending events."""


class ChatRunner:
    """Listens to the event writer: a chat has ended when its end is in its log."""

    def __init__(
        self,
        engine: Engine,
        writer: EventWriter,
        cancels: CancelWatcher,
        deadlines: Deadlines,
        reporter: StatusReporter,
        worker: JobEnds,
        router: Router | None,
    ) -> None:
        """Without ``router`` every chat stays here."""
        self._engine = engine
        self._writer = writer
        self._cancels = cancels
        self._deadlines = deadlines
        self._reporter = reporter
        self._worker = worker
        self._router = router

    def open(self) -> None:
        self._writer.start(self)
        self._cancels.start()
        if self._router is not None:
            self._router.start(self, self._worker)

    def close(self) -> None:
        if self._router is not None:
            self._router.join(1.0)
        self._writer.close(CLOSING_S)
        self._cancels.close(CLOSING_S)
        self._engine.close(CLOSING_S)

    def start(
        self,
        sequence: Sequence,
        logged: list[Entry],
        *,
        stopped: bool,
        queued: int,
        offered: str = "",
    ) -> None:
        """Run a chat behind what earlier attempts have logged. ``queued`` chats wait behind it;
        ``offered`` is why it has been offered to a worker, if it has."""
        # While this process was frozen another worker may have taken the job up and lost it again:
        # then this worker's earlier attempt is still inside.
        self._engine.release(sequence.job_id)
        self._writer.hold(sequence, logged)
        if stopped:
            # Between its pop and now; RQ itself never looks again.
            self._writer.put([(sequence, event) for event in sequence.finish("cancelled")])
            return
        self._deadlines.begin(sequence.job_id)
        self._cancels.watch(sequence.job_id)
        enter = partial(self._engine.submit, sequence, min(queued, self._worker.free_slots))
        if self._router is None:
            enter()
        else:
            self._router.admit(sequence, offered, enter)

    def drain(self) -> None:
        """No more chats will come: take no more offers, and make none."""
        if self._router is not None:
            self._router.close()

    def expire(self, sequence: Sequence, logged: list[Entry]) -> None:
        """End a chat that has waited for longer than it may."""
        self._writer.hold(sequence, logged)
        expired = partial(Failed, start_by.EXPIRED, start_by.MESSAGE, param=start_by.PARAM)
        self._writer.put([(sequence, event) for event in sequence.fail(expired)])

    def cancel(self, job_id: str) -> None:
        self._engine.cancel(job_id)

    def discard(self, job_id: str) -> None:
        """Let go of a job that could not be started."""
        self._engine.release(job_id)
        self._writer.let_go(job_id)
        self._unwatch(job_id)

    def hand_back(self, job_ids: list[str]) -> None:
        """Let go of running chats: their text so far is written, and another worker goes on."""
        for job_id in job_ids:
            self._engine.release(job_id)
        # After two rounds of the engine's inbox all its events of these jobs are with the writer.
        with contextlib.suppress(TimeoutError):
            self._engine.call(lambda: None).result(CLOSING_S)
            self._engine.call(lambda: None).result(CLOSING_S)
        self._writer.flush(CLOSING_S)
        for job_id in job_ids:
            self._writer.let_go(job_id)
            self._unwatch(job_id)
            self._worker.ended(job_id, Ending(Outcome.HANDED_BACK))

    def hand_over(self, offer: Offer, reason: Reason) -> None:
        """Let go of a chat that has not begun, and offer it to another worker."""
        self._engine.release(offer.job_id)
        self._writer.let_go(offer.job_id)
        self._unwatch(offer.job_id)
        self._worker.hand_over(offer, reason)

    # --- what the event writer reports ------------------------------------------------------------

    def taken_over(self, sequence: Sequence) -> None:
        log.warning("job has been taken over by another", extra={"job_id": sequence.job_id})
        self._release(sequence, Outcome.LOST)

    def forgotten(self, sequence: Sequence) -> None:
        log.warning(
            "Redis has lost the end of the job: it is put back", extra={"job_id": sequence.job_id}
        )
        self._release(sequence, Outcome.HANDED_BACK)

    def ended(self, sequence: Sequence) -> None:
        self._reporter.counters.ended(sequence)
        log.info("chat ended", extra=self._reporter.end_for_log(sequence))
        self._unwatch(sequence.job_id)
        outcome, reason = outcome_of(sequence.end)
        if outcome is not Outcome.FAILED:
            self._reporter.note_rate(sequence.elapsed_ms / 1000)
        ending = Ending(outcome, reason, meta_of(sequence), attempt=sequence.attempt)
        self._worker.ended(sequence.job_id, ending)

    def _release(self, sequence: Sequence, outcome: Outcome) -> None:
        self._engine.release(sequence.job_id)
        self._unwatch(sequence.job_id)
        self._worker.ended(sequence.job_id, Ending(outcome, attempt=sequence.attempt))

    def _unwatch(self, job_id: str) -> None:
        self._deadlines.end(job_id)
        self._cancels.unwatch(job_id)
