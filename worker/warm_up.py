"""Runs the shipped models once when a worker starts, beside everything else: what is imported,
compiled and read from disk for a first answer is there when the first chat comes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from functools import partial

from wire.messages import ChatJob, Message, Sampling
from wire.model_registry import ModelRecord
from worker.backends.base import Backend
from worker.engine.engine import Engine
from worker.prompt_cache import PromptCache
from worker.sequence import Sequence

log = logging.getLogger(__name__)
_TOKENS = 2
"""The first token comes out of the prefill, the second out of a decode step."""


def start(engine: Engine, cache: PromptCache, records: Iterable[ModelRecord]) -> None:
    """Load small models and have each answer once, on a thread of its own. They stay loaded."""
    arguments = (engine, cache, list(records))
    threading.Thread(target=_run, args=arguments, name="warm-up", daemon=True).start()


def _run(engine: Engine, cache: PromptCache, records: Iterable[ModelRecord]) -> None:
    began = time.monotonic()
    try:
        for record in records:
            backend = engine.call(partial(engine.load, record)).result().result()
            sequence = Sequence(_job(record))
            backend.prepare(sequence)
            engine.call(partial(_answer, backend, sequence)).result()
            # A prompt of nobody's is no prompt to begin another one with.
            engine.call(partial(cache.forget, record.cache_key)).result()
    except Exception:  # A chat will say what is wrong, with its code.
        log.warning("the warm-up failed", exc_info=True)
    else:
        log.info("warmed up", extra={"seconds": round(time.monotonic() - began, 3)})


def _answer(backend: Backend, sequence: Sequence) -> None:
    """Run a chat that nobody asked for to its end, unless others' are there: they warm up too."""
    if backend.sequences():
        return
    backend.add(sequence)
    while backend.sequences():
        for token in backend.step().tokens:
            token.sequence.accept(token.token_id)


def _job(record: ModelRecord) -> ChatJob:
    return ChatJob(
        job_id="warm-up",
        owner="",
        model_id=record.id,
        model_revision=record.revision,
        messages=(Message(role="user", content="Hello!"),),
        sampling=Sampling(temperature=0.0, max_tokens=_TOKENS, seed=0),
        submitted_ms=0,
    )
