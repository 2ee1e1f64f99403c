"""What a job's record has for its receipt, from its submission and from when workers take it up."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from wire.messages import ChatJob
from wire.receipts.kept_requests import BUDGET

REQUEST_HASH = "request_sha256"
MODEL_REVISION = "model_revision"
WORKERS = "workers"
"""The names of the workers that took the job up, in order, with blanks between them."""
REPLAY_OF = "replay_of"
"""Of a replay, the job that it runs again."""

# The name is empty for who only ends the job. A start whose answer was lost is asked for again.
NOTE_WORKER = f"""
local function note_worker(job, name)
  if name == '' then return end
  local before = redis.call('HGET', job, '{WORKERS}')
  if before and string.match(before, '%S+$') == name then return end
  redis.call('HSET', job, '{WORKERS}', before and before .. ' ' .. name or name)
end
"""
"""Lua: adds a worker's name to those that took a job up."""


def request_hash(job: ChatJob) -> str:
    """SHA-256 of what was asked: model, messages (images by their hashes), output format, and the
    sampling but for its seed, which a request need not have."""
    asked = job.model_dump_json(
        include={"model_id", "messages", "sampling", "form"}, exclude={"sampling": {"seed"}}
    )
    return hashlib.sha256(asked.encode()).hexdigest()


def request_hashes(jobs: Sequence[ChatJob]) -> list[str]:
    """The hash of each job's request. All answers to a prompt have the same, which is made once: it
    takes milliseconds for a long one."""
    groups = [job.group or job.job_id for job in jobs]
    made = {name: request_hash(job) for name, job in dict(zip(groups, jobs, strict=True)).items()}
    return [made[name] for name in groups]


def of_submission(
    job: ChatJob, request_sha256: str, budget: int, replay_of: str | None
) -> dict[str, str]:
    """The fields of a chat that is queued; ``budget``: bytes for the requests of ended chats, 0 for
    one whose request is not kept."""
    fields = {REQUEST_HASH: request_sha256, MODEL_REVISION: job.model_revision}
    if budget and job.form.pooling is None:
        fields[BUDGET] = str(budget)
    if replay_of is not None:
        fields[REPLAY_OF] = replay_of
    return fields
