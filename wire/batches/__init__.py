"""Batches of prompts as they cross Redis: the records, and the scripts that write each result once.

A batch is cut into slices of a few lines. A slice is an RQ job, so it can move from a dead worker
to a living one; the results of its lines stand in a hash, a field a line, and a field that exists
is never written again. Knows neither RQ nor models.
"""

from wire.batches.feeding import may_feed
from wire.batches.log import BatchLog, Taken
from wire.batches.packing import pack, unpack
from wire.batches.records import (
    ENDED_STATES,
    SLICE_BYTES,
    SLICE_LINES,
    BatchLine,
    BatchSlice,
    BatchState,
    LineResult,
    slice_job_id,
)

__all__ = [
    "ENDED_STATES",
    "SLICE_BYTES",
    "SLICE_LINES",
    "BatchLine",
    "BatchLog",
    "BatchSlice",
    "BatchState",
    "LineResult",
    "Taken",
    "may_feed",
    "pack",
    "slice_job_id",
    "unpack",
]
