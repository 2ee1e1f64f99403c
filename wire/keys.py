"""The Redis names and lifetimes of the service; RQ's own keys (``rq:…``) are RQ's.

API keys and quotas have theirs in :mod:`wire.access`, sums of usage in :mod:`wire.usage`, pins of
models in :mod:`wire.models.pins`, the disk cache in :mod:`wire.disk_cache`.
"""

from __future__ import annotations

PREFIX = "mlxq:"

EVERYONE = "everyone"
"""The owner of every job while there are no API keys."""

CHAT_QUEUE = "chat"
"""RQ queue of chats and model commands: a client waits for each."""
BATCH_QUEUE = "batch"
"""RQ queue of batch prompts, popped only when no chat waits."""
CHAT_TASK = "worker.tasks.chat"
MODEL_TASK = "worker.tasks.model_command"
BATCH_TASK = "worker.tasks.batch_slice"

EVENTS_CHANNEL = PREFIX + "events"
"""Every engine step is one message here; one subscription serves all clients of an API process."""
MODELS = PREFIX + "models"
"""Hash: model id -> model record, JSON."""
MODEL_CREATED = PREFIX + "model-created"
"""Hash: model id -> date of the model's files, seconds since the epoch."""
MODEL_SAMPLING = PREFIX + "model-sampling"
"""Hash: model id -> its own sampling defaults, its prompts' revision and whether it is a
demo model, JSON. Not in the records:
the first release reads no record that has a field it doesn't know."""
LAST_MODELS = PREFIX + "last-models"
"""Hash: owner of chats -> id of the model that the last of them was for."""
WORKERS = PREFIX + "workers"
"""Set of worker names; each one's status lives under :func:`worker_status`."""
WORKER_SEEN = PREFIX + "worker-seen"
"""Lives for a while after a worker's last heartbeat, so that a restart refuses no chat."""
ABANDONED_AFTER = PREFIX + "unattended-after"
"""Sorted set: job id -> Redis time in milliseconds after which a job without a reader is stopped.
Only jobs that end with their readers are in it; an API process puts the time off while it has a
reader for the job."""
STOPPING = PREFIX + "stopping"
"""Sorted set: job id -> Redis time in milliseconds at which an API process took it off its queue to
end it. What stays here was left by a process that died in between, and any other finishes it."""
UNENDED = PREFIX + "unended"
"""Sorted set: chat or model command that has not ended -> Redis time in milliseconds at which it
was last looked at. One that has ended stays until the next look."""
READY = PREFIX + "ready"
"""Written by the readiness check: a Redis may answer reads and refuse writes."""
READY_LIFETIME_S = 60
RECOVERY_LOCK = PREFIX + "recovery-lock"
"""Held by the one worker that looks for jobs of dead ones."""
IMAGES = PREFIX + "images"
"""Hash: SHA-256 of a stored image -> what it counts against the budget, bytes."""
IMAGES_TOTAL = PREFIX + "images-total"
"""Integer: the sum of that hash."""
IMAGES_IDLE = PREFIX + "images-idle"
"""Sorted set: SHA-256 -> Redis time in milliseconds since which no live job needs the image."""
RECENT_RATE = PREFIX + "recent-job-seconds"
"""List of the last jobs' run times in seconds, newest first: what Retry-After is worked out
from."""
RECENT = PREFIX + "recent"
"""Stream: the jobs that ended last, with model, queue and the log's last entry; ids are Redis
times. Never a text."""
ENDED = PREFIX + "ended"
"""Hash: how jobs ended -> how many did, ever since Redis began."""
HISTORY = PREFIX + "history"
"""Stream: a sample from each worker every second, for the last minutes."""

BATCH_BYTES = PREFIX + "batch-bytes"
"""Hash: id of a batch or a file -> what it counts against the budget, bytes: prompts and
results, or the file."""
BATCH_BYTES_TOTAL = PREFIX + "batch-bytes-total"
"""Integer: the sum of that hash."""
FILE_ID = "file-"
"""How the ids of files begin, and no batch's does."""
ORDERS_OPEN = PREFIX + "orders-open"
"""Set of the orders whose file is still being read into their batch."""
ORDER_LEASE_S = 60
BATCHES_OPEN = PREFIX + "batches-open"
"""Sorted set: batch id -> Redis time in milliseconds by which it must have ended. Ended batches
aren't in it."""

RESPONSES = PREFIX + "responses"
"""Sorted set: job of a stored response -> Redis time in milliseconds at which it was stored."""
RESPONSE_BYTES = PREFIX + "response-bytes"
"""Hash: job of a stored response -> what it counts against the budget, bytes."""
RESPONSE_BYTES_TOTAL = PREFIX + "response-bytes-total"
"""Integer: the sum of that hash."""

LOG_LIFETIME_S = 24 * 3600
"""Kept text is dropped this long after its job's last event."""
RECORD_LIFETIME_S = 7 * 24 * 3600
"""A job is remembered this long, so that a late reader gets 'expired', not 'unknown'."""
CANCEL_LIFETIME_S = RECORD_LIFETIME_S
"""A cancel key outlives every retry of its job: a stopped job never runs again."""
RQ_LIFETIME_S = 24 * 3600
"""An RQ job that is ended by RQ's own tools stays this long for the dashboard; see the setting
for all others."""
RESPONSE_LIFETIME_S = LOG_LIFETIME_S
"""A stored response is kept this long after its request: never longer than its answer's log."""
IMAGE_LIFETIME_S = 24 * 3600
"""An image is gone after this time without an API process that looks after it; one does renew it
for a live job."""
UPLOAD_LIFETIME_S = 3600
"""What an upload has stored is gone after this time unless it was finished."""
SLICE_LIFETIME_S = 3600
"""A finished slice of a batch stays this long for the dashboard; its results are kept elsewhere."""
SESSION_LIFETIME_S = 7 * 24 * 3600
"""A browser signs in again after this time."""
USAGE_DAY_LIFETIME_S = 90 * 24 * 3600
"""An owner's sums of one day are kept this long after its last request; the sums of all time
stay."""
WORKER_STATUS_LIFETIME_S = 5
WORKER_SEEN_LIFETIME_S = 60
RECENT_RATE_LENGTH = 64
RECENT_LENGTH = 50
HISTORY_S = 300
WORKER_STARTS_LIFETIME_S = 7 * 24 * 3600
"""Restarts are counted for as long as a worker comes back within this time."""


def log(job_id: str) -> str:
    """Stream: the job's events, ids ``<sequence number>-<attempt>``."""
    return f"{PREFIX}log:{job_id}"


def attempt(job_id: str) -> str:
    """Integer: the lease on the log, the time in microseconds at which it was taken.

    Taking a job up raises it; an append under an older one is refused.
    """
    return f"{PREFIX}attempt:{job_id}"


def cancel(job_id: str) -> str:
    """Exists once a stop of the job was requested."""
    return f"{PREFIX}cancel:{job_id}"


def job(job_id: str) -> str:
    """Hash: what is known of a job, never its prompt.

    Fields: owner, model_id, queue, kind, submitted_ms, state, attempts (how often
    its log's lease was taken), on_disconnect, stream_options, and the version of the release that
    submitted it. Of several answers to one request the first's job
    has choices, the ids of all in order; the others' have first_choice, its id.
    """
    return f"{PREFIX}job:{job_id}"


ISOLATED = "alone"
"""Field of a job's record while the job, or a line of it, is the one suspect inside its worker."""


def live(owner: str) -> str:
    """Sorted set of the owner's chats that have not ended, by submission time in milliseconds."""
    return f"{PREFIX}live:{owner}"


def usage(owner: str) -> str:
    """Hash: totals of an owner's ended requests: requests, prompt, completion and cached tokens."""
    return f"{PREFIX}usage:{owner}"


def usage_day(owner: str, day: int) -> str:
    """The same for one day of UTC, counted from 1970-01-01. Names of owners have no colon."""
    return f"{PREFIX}usage:{owner}:{day}"


def idempotency(owner: str, key_hash: str) -> str:
    """The job that an owner's request of this key made, and a fingerprint of that request."""
    return f"{PREFIX}once:{owner}:{key_hash}"


def session(token_hash: str) -> str:
    """The mark of the API key with which a browser signed in."""
    return f"{PREFIX}session:{token_hash}"


def popped(job_id: str) -> str:
    """Exists from when a job was seen popped but not started to its start, or for a moment."""
    return f"{PREFIX}popped:{job_id}"


def image(sha256: str) -> str:
    """A picture as a clean PNG."""
    return f"{PREFIX}image:{sha256}"


def image_jobs(sha256: str) -> str:
    """Sorted set: job that needs the image -> Redis time in milliseconds at which it said so."""
    return f"{PREFIX}image-jobs:{sha256}"


def response(job_id: str) -> str:
    """What was asked for with a stored response, and the conversation that it answers."""
    return f"{PREFIX}response:{job_id}"


def worker_status(name: str) -> str:
    """JSON that the worker renews every second; gone a few seconds after the worker."""
    return f"{PREFIX}worker:{name}"


def worker_reads(name: str) -> str:
    """Integer: the version of records that a worker reads; expires with the worker's status."""
    return f"{PREFIX}worker-reads:{name}"


def worker_folders(name: str) -> str:
    """JSON: the model folders that a worker was told to look into; expires with its status. Not in
    it: earlier releases read none that has a field they don't know."""
    return f"{PREFIX}worker-folders:{name}"


def worker_loads(name: str) -> str:
    """JSON: model id -> percent, of the models that a worker loads; expires with its status."""
    return f"{PREFIX}worker-loads:{name}"


def worker_starts(machine: str) -> str:
    """Integer: how often a worker has started on a machine and data folder."""
    return f"{PREFIX}worker-starts:{machine}"


def batches(owner: str) -> str:
    """Sorted set of the owner's batches, by the time they were accepted in milliseconds."""
    return f"{PREFIX}batches:{owner}"


def batch(batch_id: str) -> str:
    """Hash: what is known of a batch, with its counts, never a prompt.

    Every key of a batch goes with this one.
    """
    return f"{PREFIX}batch:{batch_id}"


def batch_plan(batch_id: str) -> str:
    """Hash: slice number -> how many prompts it runs, and how many results it will have."""
    return f"{PREFIX}batch-plan:{batch_id}"


def batch_fed(batch_id: str) -> str:
    """Integer: how many slices of a batch have been put in the queue so far."""
    return f"{PREFIX}batch-fed:{batch_id}"


def batch_slices(batch_id: str) -> str:
    """Set: numbers of the slices that have been put in the queue and have not ended."""
    return f"{PREFIX}batch-slices:{batch_id}"


def batch_input(batch_id: str, number: int) -> str:
    """The prompts of one slice, packed; dropped when it ends."""
    return f"{PREFIX}batch-in:{batch_id}:{number}"


def batch_output(batch_id: str, number: int) -> str:
    """Hash: number of a line in the upload -> its result, JSON. Written once a line."""
    return f"{PREFIX}batch-out:{batch_id}:{number}"


def file(file_id: str) -> str:
    """Hash: what is known of an uploaded file. Its pieces go when this does."""
    return f"{PREFIX}file:{file_id}"


def file_piece(file_id: str, number: int) -> str:
    """A piece of an uploaded file, compressed."""
    return f"{PREFIX}file-piece:{file_id}:{number}"


def files(owner: str) -> str:
    """Sorted set of the owner's files, by the time they were uploaded in milliseconds."""
    return f"{PREFIX}files:{owner}"


def order(order_id: str) -> str:
    """Hash: what was asked for with an uploaded file as the prompts of a batch of the same id.
    Never a prompt."""
    return f"{PREFIX}order:{order_id}"


def orders(owner: str) -> str:
    """Sorted set of the owner's orders, by time in milliseconds."""
    return f"{PREFIX}orders:{owner}"


def order_lease(order_id: str) -> str:
    """Exists as long as an API process reads the file of an order into its batch."""
    return f"{PREFIX}order-lease:{order_id}"


def holder(name: str) -> str:
    """The record behind a name in :data:`BATCH_BYTES`: a file's or a batch's."""
    return file(name) if name.startswith(FILE_ID) else batch(name)
