"""What a worker tells of the chats inside its engine."""

from __future__ import annotations

from wire.status import RunningJob
from worker.sequence import Sequence


def running_job(sequence: Sequence) -> RunningJob:
    """One chat as it stands."""
    timings = sequence.timings
    return RunningJob(
        job_id=sequence.job_id,
        model_id=sequence.job.model_id,
        tokens=sequence.position,
        tokens_per_second=timings.tokens_per_second,
        ttft_ms=timings.ttft_ms,
        elapsed_ms=round(sequence.elapsed_ms, 1),
    )
