"""What an RQ worker of many jobs needs of others, and what it offers to those who run its jobs."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Protocol

from rq.job import Job

from wire.routing.offers import Offer, Reason
from worker.jobs.rq_worker.bookkeeping import Ending
from worker.jobs.rq_worker.job_start import JobStart


class Runner(Protocol):
    """Runs jobs; reports each one's end through ``JobEnds.ended``."""

    def start(self, job: Job, start: JobStart) -> None:
        """Begin a job. Raises WorkerError if it can't be run."""

    def cancel(self, job_id: str) -> None: ...

    def wait_for_slice_room(self) -> AbstractSet[str] | None:
        """Wait a moment until another slice of a batch is needed. Returns the owners whose slices
        aren't; None if nobody's is."""

    def drain(self) -> None:
        """No more jobs will come: let go of those that no client waits for."""

    def hand_back(self, job_ids: list[str]) -> None:
        """Let jobs go without an end; reports HANDED_BACK for each."""

    def lacks_end(self, job_id: str) -> bool:
        """Whether Redis, killed a moment ago, has lost the end that was written for the job."""

    def close(self) -> None: ...


class Routing(Protocol):
    """Brings chats that other workers offer to this one."""

    def is_late(self, offer: Offer) -> bool:
        """Whether an offer has lost the worker that made it."""

    def tell(self) -> None:
        """Tell the others soon how many slots are taken."""


class WorkerBeat(Protocol):
    """What a worker does every second besides RQ's heartbeat."""

    def beat(self) -> None: ...


class JobRecovery(Protocol):
    """Recovers jobs of dead workers; see worker.jobs.crashes.recovery."""

    def run(self, running: AbstractSet[str] = ...) -> int: ...

    def run_at_start(self) -> int: ...


class JobEnds(Protocol):
    """The worker, as seen by those who run its jobs."""

    def ended(self, job_id: str, ending: Ending) -> None:
        """Report a job's end."""

    def hand_over(self, offer: Offer, reason: Reason) -> None:
        """Offer a job that runs here to another worker."""

    @property
    def chats_running(self) -> int: ...

    @property
    def free_slots(self) -> int:
        """How many more chats are popped before one ends."""
