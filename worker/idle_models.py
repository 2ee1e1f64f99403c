"""Unloads models that have been idle for as long as they may.

Runs on the engine's thread, which asks once a second. The limit is what the model's last request
asked for, else what it was loaded with, else the worker's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from wire.messages import ChatJob
from worker.models.loaded import LoadedModels
from worker.models.memory import ModelKey

log = logging.getLogger(__name__)


class IdleModels:
    """One an engine. ``ttl_s`` is the limit of models without one of their own, seconds; less than
    0: none."""

    def __init__(
        self, models: LoadedModels, ttl_s: float = -1, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._models = models
        self._ttl_s = ttl_s
        self._now = now
        self._asked: dict[str, float] = {}
        self._used: dict[str, float] = {}
        self._seen: set[str] = set()
        self._looked = 0.0

    def asked(self, job: ChatJob) -> None:
        """A chat is for a model, or for an adapter, which stays as long as its base."""
        key = self._models.key(job)
        model_id = job.model_id if key is None else key.model_id
        self._used[model_id] = self._now()
        if job.keep_alive_s is not None:
            self._asked[model_id] = job.keep_alive_s

    def loaded(self, model_id: str) -> None:
        """A model is loaded by an operator: what requests asked for before counts no more."""
        self.used(model_id)
        self._asked.pop(model_id, None)

    def used(self, model_id: str) -> None:
        """A model is idle from now on, as when its load has ended."""
        self._used[model_id] = self._now()

    def unload(self, is_busy: Callable[[ModelKey], bool]) -> None:
        """Unload what has been idle for long enough, and tell when the others will be."""
        now, expiries = self._now(), {}
        # Keys alone: a backend that is held here would not leave the memory.
        for key in [key for key, _ in self._models.resident()]:
            model_id, busy = key.model_id, is_busy(key) or self._models.is_used(key)
            used = now if busy else self._used.get(model_id, now)
            self._used[model_id] = used
            limit_s = self._asked.get(model_id, self._models.ttls.get(model_id, self._ttl_s))
            if busy or limit_s < 0 or self._models.is_pinned(key):
                continue
            if (remaining_s := used + limit_s - now) > 0:
                expiries[model_id] = round(remaining_s, 1)
                continue
            log.info("an idle model is unloaded", extra=self._models.log_fields(model_id))
            self._models.unload(key)
        self._models.expiries = expiries
        self._forget_unloaded(now)

    def _forget_unloaded(self, now: float) -> None:
        """Forget what was asked of models that have left the memory, whoever unloaded them; not if
        it was asked since the look before."""
        resident = {key.model_id for key, _ in self._models.resident()}
        for model_id in self._seen - resident:
            if self._used[model_id] <= self._looked:
                self._asked.pop(model_id, None)
                del self._used[model_id]
        self._seen, self._looked = resident, now
