"""Accepting jobs and stopping them.

RQ is synchronous, so what uses it runs on a few threads of its own and the event loop never waits
for it. Knows nothing of HTTP statuses and nothing of streams.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar, cast

from anyio import CapacityLimiter, to_thread
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import WatchError
from rq import Queue
from rq.serializers import JSONSerializer

from api.errors import ApiError
from api.jobs.cancel import JobCanceller
from api.jobs.idempotency import LIFETIME_S, IdempotencyKey
from api.jobs.ids import is_job_id
from api.jobs.policy import AskedTier, Policy, record_of
from api.jobs.reaper import JobReaper
from api.jobs.slice_queue import SliceQueue
from api.jobs.waiting.expiry import QueueExpiry
from api.jobs.waiting.priorities import tier_for
from api.jobs.waiting.queue_look import wait_s
from api.jobs.waiting.scheduled import ScheduledJobs, check_time
from api.redis_client import Clients
from api.registry import RegistryReader, workers_outdated
from wire import clock, keys
from wire.access import quota
from wire.batches import BatchSlice
from wire.keys import EVERYONE
from wire.messages import ChatJob, ModelCommand
from wire.queueing import start_by
from wire.queueing.schedule import scheduled_key
from wire.queueing.turns import Tier
from wire.receipts import record_fields
from wire.rq_jobs import GOING_ON, described, enqueue, rq_job_key
from wire.versions import FIRST, TooNew, needs, readable

P = ParamSpec("P")
T = TypeVar("T")

ABANDONED_AFTER_S = 32
"""A job that ends with its readers is stopped this long after one was last noticed. Readers are
noticed every 2 s, so that the last one has been gone for at least the 30 s of the contract."""
_THREADS = 4
_RETRY_AFTER_S = (1, 300)


class _QueueFull(Exception):
    def __init__(self, depth: int) -> None:
        super().__init__(depth)
        self.depth = depth


class JobQueue:
    """The jobs in Redis, as one API process writes them."""

    def __init__(
        self,
        clients: Clients,
        registry: RegistryReader,
        queue_limit: int,
        key_limit: int = 200,
        kept_s: int = keys.RQ_LIFETIME_S,
        replay_bytes: int = 0,
    ) -> None:
        self._waiting = clients.waiting
        self._redis: Redis = clients.blocking
        self._registry = registry
        self._limit, self._key_limit, self._replay_bytes = queue_limit, key_limit, replay_bytes
        self._threads = CapacityLimiter(_THREADS)
        self._queue = Queue(keys.CHAT_QUEUE, connection=self._redis, serializer=JSONSerializer)
        self._reaper = JobReaper(self._redis, kept_s)
        self._slices = SliceQueue(self._redis, self._reaper, min(kept_s, keys.SLICE_LIFETIME_S))
        self._canceller = JobCanceller(self._redis, self._reaper)
        self._expiry = QueueExpiry(self._redis, self._reaper)
        self._scheduled = ScheduledJobs(self._redis)

    async def existing_job(self, key: IdempotencyKey) -> str | None:
        """The job that an earlier request with this key created.

        Raises ApiError if its body was another.
        """
        return key.job_in(cast(bytes | None, await self._waiting.get(key.name)))

    async def submit_chats(
        self, jobs: Sequence[ChatJob], policy: Policy, key: IdempotencyKey | None = None
    ) -> str:
        """Put the chats of one request at the end of the queue, all or none of them.

        Returns the id of the first, or that of the job that ``key`` has. Raises ApiError
        ``queue_full`` when too many wait, ``quota_exceeded`` for an owner without tokens,
        ``conflict`` when the key belongs to another request, ``workers_outdated`` when a running
        worker can't read the jobs, ``invalid_request`` for more than an empty queue takes.
        """
        await self.check_quota(jobs[0].owner)
        jobs = await self._readable(jobs)
        own = self._limit if jobs[0].owner == EVERYONE else self._key_limit
        if len(jobs) > (most := min(self._limit, own)):
            sentence = f"The queue takes {most} answers at most: ask for fewer."
            raise ApiError("invalid_request", sentence, param="n")
        try:
            return await self._in_thread(self._submit_chats, jobs, policy, key)
        except _QueueFull as full:
            message = f"{full.depth} chats wait already. Try again later."
            raise ApiError("queue_full", message, await self._retry_after(full.depth)) from None

    async def tier_for(self, asked: AskedTier | None, owner: str) -> Tier:
        """The class of service that an owner's request gets. Raises ApiError ``forbidden``."""
        return await tier_for(self._waiting, asked, owner)

    async def check_quota(self, owner: str) -> None:
        """Raises ApiError ``quota_exceeded`` for an owner that has used up the day's tokens."""
        if owner == EVERYONE:
            return  # Quotas belong to keys: without any, no chat waits for an answer of Redis.
        allowance = quota.read(await quota.ask(self._waiting, owner))
        if allowance is not None and allowance.left <= 0:
            raise ApiError(
                "quota_exceeded",
                "The tokens of this API key are used up for today (UTC).",
                allowance.resets_s,
                # OpenAI's and Anthropic's clients would try again at once.
                headers={"X-Should-Retry": "false"},
            )

    async def _readable(self, jobs: Sequence[ChatJob]) -> Sequence[ChatJob]:
        """The jobs as every living worker reads them."""
        if all(needs(job) == FIRST for job in jobs):
            return jobs
        version = await self._registry.oldest_version()
        try:
            return [readable(job, version) for job in jobs]
        except TooNew as refused:
            raise workers_outdated(refused.field) from None

    async def submit_command(self, command: ModelCommand) -> None:
        """Put a model command at the front of the queue: a client waits for its response."""
        await self._in_thread(self._submit_command, command)

    async def stop(self, job_id: str, owner: str = "") -> None:
        """Stop one job, queued or running; with the first of several choices all of them. Unknown
        and ended jobs, and another owner's, are left as they are."""
        if is_job_id(job_id):
            await self._in_thread(self._canceller.stop, job_id, owner)

    async def stop_one(self, job_id: str) -> None:
        """Stop one job, and none of the other answers to its request."""
        await self._in_thread(self._canceller.stop_one, job_id)

    async def stop_all(self, owner: str) -> None:
        """Stop all chats of an owner; batch prompts and model commands go on."""
        await self._in_thread(self._canceller.stop_all, owner)

    async def submit_slice(
        self, work: BatchSlice, with_it: Callable[[Pipeline], None], not_before_ms: int = 0
    ) -> None:
        """Put a slice of a batch in the queue, and in the same transaction what ``with_it``
        writes."""
        await self._in_thread(self._slices.submit, work, with_it, not_before_ms)

    async def withdraw_slice(self, work: BatchSlice) -> None:
        """End a slice of a batch that ends early, if it waits in the queue: its lines get no
        results."""
        await self._in_thread(self._slices.withdraw, work)

    async def feed_slice(self, work: BatchSlice) -> None:
        """Put a slice in the queue that should be there, unless it is or a worker has it."""
        await self._in_thread(self._slices.feed, work)

    async def settle(self, job_id: str) -> None:
        """End a job that is over for RQ and has no end in its log."""
        # Shielded: when its reader leaves, the slot must stay taken until the thread is done.
        await asyncio.shield(self._in_thread(self._reaper.settle, job_id))

    async def settle_all(self) -> None:
        """End jobs that were left by a process that died, or ended in RQ from outside."""
        await self._in_thread(self._reaper.finish_interrupted)
        await self._in_thread(self._scheduled.release_due)
        await self._in_thread(self._expiry.end_overdue)
        await self._in_thread(self._reaper.settle_all)

    async def _in_thread(self, task: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await to_thread.run_sync(
            functools.partial(task, *args, **kwargs), limiter=self._threads, abandon_on_cancel=True
        )

    async def _retry_after(self, depth: int) -> int:
        """Seconds until what waits now will have run, if jobs take as long as the last ones did."""
        times = cast(
            list[bytes],
            await self._waiting.lrange(keys.RECENT_RATE, 0, keys.RECENT_RATE_LENGTH - 1),
        )
        slots = sum(worker.slots for worker in await self._registry.workers())
        low, high = _RETRY_AFTER_S
        return max(low, min(high, math.ceil(wait_s(times, slots, depth))))

    def _now_and_depth(self) -> tuple[int, int]:
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        pipe.llen(self._queue.key)
        pipe.zcard(scheduled_key(self._queue.name))
        time, depth, scheduled = pipe.execute()
        return int(clock.milliseconds(time)), depth + scheduled

    def _submit_chats(
        self, jobs: Sequence[ChatJob], policy: Policy, key: IdempotencyKey | None = None
    ) -> str:
        while True:
            with self._redis.pipeline(transaction=True) as pipe:
                if key is not None:
                    pipe.watch(key.name)  # type: ignore[no-untyped-call]
                    earlier = key.job_in(cast(bytes | None, pipe.get(key.name)))
                    if earlier is not None:
                        return earlier
                    pipe.multi()
                try:
                    self._put_in_queue(jobs, policy, pipe, key)
                except WatchError:
                    continue  # Another request with this key has created its job meanwhile.
                return jobs[0].job_id

    def _put_in_queue(
        self,
        jobs: Sequence[ChatJob],
        policy: Policy,
        pipe: Pipeline,
        key: IdempotencyKey | None,
    ) -> None:
        now, depth = self._now_and_depth()
        if depth + len(jobs) > self._limit:
            raise _QueueFull(depth)
        owner = jobs[0].owner
        if owner != EVERYONE:
            own = self._unended(owner, len(jobs))
            if own + len(jobs) > self._key_limit:
                raise _QueueFull(own)
        ids = [job.job_id for job in jobs]
        check_time(policy.not_before_ms, now)
        begins = max(now, policy.not_before_ms)
        if key is not None:
            kept_ms = LIFETIME_S * 1000 + begins - now
            pipe.set(key.name, key.value(jobs[0].job_id), px=int(kept_ms))
        for job, asked in zip(jobs, record_fields.request_hashes(jobs), strict=True):
            queued = job.model_copy(update={"submitted_ms": begins})
            name = described(self._registry.last_known_name(job.model_id), owner)
            record = record_of(job, ids, policy)
            budget = self._replay_bytes if policy.keeps_request else 0
            record |= record_fields.of_submission(job, asked, budget, policy.replay_of)
            about = (name, record, now, policy.tier, begins)
            enqueue(pipe, self._queue, keys.CHAT_TASK, queued, *about)
        if jobs[0].form.pooling is None:
            pipe.hset(keys.LAST_MODELS, owner, jobs[0].model_id)
        pipe.zadd(keys.live(owner), dict.fromkeys(ids, now))
        if policy.max_queue_s is not None:
            start_by.limit(pipe, ids, begins + int(policy.max_queue_s * 1000))
        if policy.on_disconnect == "cancel":
            pipe.zadd(keys.ABANDONED_AFTER, dict.fromkeys(ids, now + ABANDONED_AFTER_S * 1000))
        pipe.execute()

    def _unended(self, owner: str, coming: int) -> int:
        """How many chats of an owner wait or run.

        If so many more would be beyond the bound, those are ended that are over for RQ, and left
        out of which Redis lost the job.
        """
        name = keys.live(owner)
        if self._redis.zcard(name) + coming > self._key_limit:
            live = [value.decode() for value in cast(list[bytes], self._redis.zrange(name, 0, -1))]
            pipe = self._redis.pipeline(transaction=False)
            for job_id in live:
                pipe.hget(rq_job_key(job_id), "status")
                pipe.exists(keys.job(job_id))
            replies = pipe.execute()
            for job_id, status, known in zip(live, replies[::2], replies[1::2], strict=True):
                if not known:
                    self._redis.zrem(name, job_id)
                elif (status or b"").decode() not in GOING_ON:
                    self._reaper.settle(job_id)
        return self._redis.zcard(name)

    def _submit_command(self, command: ModelCommand) -> None:
        now = clock.now_ms(self._redis)
        record = {
            "owner": EVERYONE,
            "model_id": command.model_id or "",
            "kind": "model",
            "on_disconnect": "continue",
        }
        pipe = self._redis.pipeline(transaction=True)
        enqueue(pipe, self._queue, keys.MODEL_TASK, command, f"{command.action} model", record, now)
        pipe.execute()
