"""Decides where the chats run that this worker has taken up, and tells the others what it holds.

Everything happens on a thread of its own, in the order in which it is asked for. Alone, a worker
tells nothing and asks nobody.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from collections.abc import Sequence as Items
from functools import partial
from typing import Any, Protocol, cast

from redis import Redis
from redis.exceptions import RedisError

from wire import keys
from wire.messages import ChatJob
from wire.routing import told
from wire.routing.offers import OFFER_LIFETIME_MS, WAIT_MS, Offer, Reason, take_back
from wire.routing.told import ROUTED, Outcome, Room
from wire.rq_jobs import popped_key, queue_key
from worker.jobs.routing.policy import LEAST_GAIN, Candidate, holder, with_model
from worker.jobs.routing.prefixes import Model, Prefixes, block_hashes, held
from worker.jobs.routing.told import Told
from worker.models.loaded import LoadedModels
from worker.prompt_cache import encoded
from worker.sequence import Enter, Sequence

log = logging.getLogger(__name__)
QUEUE = queue_key(keys.CHAT_QUEUE)
POPPED = popped_key(keys.CHAT_QUEUE)


class Handover(Protocol):
    """What runs a worker's chats."""

    def hand_over(self, offer: Offer, reason: Reason) -> None:
        """Let go of a chat, and offer it to another worker."""


class Slots(Protocol):
    """The worker's slots."""

    @property
    def chats_running(self) -> int: ...


class Router:
    """One a worker. ``now_ms`` is the time of Redis."""

    def __init__(
        self,
        redis: Redis,
        name: str,
        slots: int,
        models: LoadedModels,
        now_ms: Callable[[], float],
    ) -> None:
        self._redis, self._name, self._slots = redis, name, slots
        self._models, self.now_ms = models, now_ms
        self._prefixes = Prefixes()
        self._told = Told(redis, name, self._prefixes)
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._offered: deque[tuple[float, Offer]] = deque()
        """When each is to be taken back, monotonic seconds; the first first."""
        self._counts: Counter[Outcome] = Counter()
        self._others: tuple[str, ...] = ()
        self._changed = self._closing = self._over = False
        self._thread = threading.Thread(target=self._run, name="routing", daemon=True)

    def start(self, chats: Handover, worker: Slots) -> None:
        self._chats, self._worker = chats, worker
        self._thread.start()

    def close(self) -> None:
        """Get no more offers, and make none; those that were made are still taken back."""
        self._inbox.put(self._close)

    def join(self, patience_s: float) -> None:
        self._thread.join(patience_s)

    # --- for other threads ------------------------------------------------------------------------

    def added(self, model: Any, row: bytes) -> None:
        """As in Observer of the prompt cache, whose keys begin with a model's id and revision."""
        self._inbox.put(partial(self._prefixes.add, Model(*model[:2]), row))
        self.tell()

    def dropped(self, model: Any, row: bytes) -> None:
        self._inbox.put(partial(self._prefixes.drop, Model(*model[:2]), row))
        self.tell()

    def beat(self) -> None:
        """Look for other workers; every second."""
        self._inbox.put(self._look)

    def tell(self) -> None:
        """Tell the others soon that something has changed."""
        self._inbox.put(self._note)

    def admit(self, sequence: Sequence, offered: str, enter: Enter) -> None:
        """Let a chat in, now or once it is clear that it runs here. ``offered`` is why it has been
        offered to a worker before, empty if it hasn't."""
        if not self._others or sequence.suspect or offered == "prompt":
            enter()
            return
        if not sequence.pools:
            sequence.route = partial(self._by_prompt, sequence)
        if offered or self._has(sequence.job):
            enter()
        else:
            self._ask(partial(self._decide, sequence, None, enter))

    def _by_prompt(self, sequence: Sequence, key: Items[int], enter: Enter) -> None:
        if not self._others or len(key) < LEAST_GAIN:
            enter()
        else:
            self._ask(partial(self._decide, sequence, key, enter))

    def _ask(self, decide: Callable[[], None]) -> None:
        self._inbox.put(decide)
        if self._over:  # Else the thread may have looked for the last time before.
            self._do_rest()

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing or self._offered:
            try:
                self._do_what_came()
                if self._changed and not self._closing:
                    self._tell()
                self._take_back()
            except RedisError as error:
                log.warning("other workers are told nothing (%s)", type(error).__name__)
            except Exception:
                log.exception("other workers are told nothing")
        self._over = True
        self._do_rest()

    def _do_rest(self) -> None:
        """Let in the chats that came as the thread ended: there are no others any more."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._inbox.get_nowait()()

    def _do_what_came(self) -> None:
        wait_s = self._offered[0][0] - time.monotonic() if self._offered else None
        try:
            work = self._inbox.get(timeout=None if wait_s is None else max(0.0, wait_s))
            while True:
                work()
                work = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _note(self) -> None:
        self._changed = True

    def _close(self) -> None:
        self._closing, self._others = True, ()
        self._told.withdraw()

    def _look(self) -> None:
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.smembers(keys.WORKERS)
            for outcome, count in self._counts.items():
                pipeline.hincrby(ROUTED, outcome, count)
            names = cast(set[bytes], pipeline.execute()[0])
        self._counts.clear()
        self._others = tuple(sorted(name.decode() for name in names - {self._name.encode()}))
        self._changed = True

    def _tell(self) -> None:
        self._changed = False
        if self._others:
            models = tuple((key.model_id, key.revision) for key, _ in self._models.resident())
            self._told.tell(Room(running=self._running, slots=self._slots, models=models))
        else:
            self._told.forget()

    @property
    def _running(self) -> int:
        return self._worker.chats_running

    def _has(self, job: ChatJob) -> bool:
        """Whether a chat's model is loaded here, or being loaded."""
        there = [*(key for key, _ in self._models.resident()), *self._models.loading]
        wanted = self._model_of(job)
        return any((key.model_id, key.revision) == wanted for key in there)

    def _model_of(self, job: ChatJob) -> Model:
        """The model that a chat's prompt is kept under: its base, if it has an adapter."""
        key = self._models.key(job)
        if key is None:
            return Model(job.model_id, job.model_revision)
        return Model(key.model_id, key.revision)

    def _decide(self, sequence: Sequence, key: Items[int] | None, enter: Enter) -> None:
        """Let a chat in or hand it over: by its prompt, or without one by its model."""
        try:
            other = self._other(sequence.job, key)
        except Exception as error:
            log.warning("no other worker was asked (%s)", type(error).__name__)
            other = None
        if other is None:
            enter()
            return
        reason: Reason = "model" if key is None else "prompt"
        offer = Offer(other.name, sequence.job_id, int(self.now_ms()))
        self._counts[reason] += 1
        self._chats.hand_over(offer, reason)
        self._offered.append((time.monotonic() + WAIT_MS / 1000, offer))

    def _other(self, job: ChatJob, key: Items[int] | None) -> Candidate | None:
        """The other worker that a chat is for, if it is."""
        model = self._model_of(job)
        hashes = [] if key is None else block_hashes(model, encoded(key))
        here = Candidate(self._name, self._held(hashes), self._running - 1, self._slots, True)
        others = self._candidates(model, hashes)
        if key is None:
            return with_model(here, others)
        other = holder(len(key), here, others)
        if other is None:
            self._counts["here" if here.held >= LEAST_GAIN else "nowhere"] += 1
        return other

    def _held(self, hashes: list[bytes]) -> int:
        self._prefixes.update()
        return held(hashes, (digest in self._prefixes for digest in hashes))

    def _candidates(self, model: Model, hashes: list[bytes]) -> list[Candidate]:
        """The other workers that tell of themselves: none of an earlier release, and none that is
        dead."""
        names = self._others
        with self._redis.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.get(told.room(name))
                if hashes:
                    pipeline.smismember(told.prefixes(name), cast(Any, hashes))
            replies = iter(pipeline.execute())
        found = []
        for name in names:
            stored = next(replies)
            has = next(replies) if hashes else []
            if stored is not None:
                room = Room.model_validate_json(stored)
                loaded = tuple(model) in room.models
                found.append(Candidate(name, held(hashes, has), room.running, room.slots, loaded))
        return found

    def _take_back(self) -> None:
        """Put chats that others haven't taken in time back in the queue: anyone takes them."""
        while self._offered and self._offered[0][0] <= time.monotonic():
            _, offer = self._offered.popleft()
            seen = keys.popped(offer.job_id)
            try:
                late = take_back(self._redis, offer, POPPED, QUEUE, seen)
            except RedisError:
                self._offered.append((time.monotonic() + WAIT_MS / 1000, offer))
                raise
            self._counts["late"] += late

    # --- offers of others -------------------------------------------------------------------------

    def is_late(self, offer: Offer) -> bool:
        """Whether an offer has lost the worker that made it."""
        return self.now_ms() - offer.at_ms > OFFER_LIFETIME_MS
