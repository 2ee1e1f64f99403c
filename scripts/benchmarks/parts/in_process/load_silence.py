"""The longest silences of the demo model's stream while another model is loaded and answers a chat.

In one process: an engine with both models, and no Redis. ``python -m
scripts.benchmarks.parts.in_process.load_silence FOLDER`` prints the figures as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

from scripts.benchmarks.systems.plan import BenchError
from wire.messages import ChatJob, Event, Failed, Message, Sampling, is_terminal
from wire.model_registry import ModelRecord
from wire.settings import Settings
from worker import backends
from worker.engine.engine import Engine
from worker.models.folders import DEMO_MODELS, describe
from worker.models.loaded import LoadedModels
from worker.sequence import Sequence

LIMIT_S = 300.0
BEFORE_S = 2.0
"""For how long the stream is watched before the load."""
TOKENS, OF_THE_OTHER = 400, 3
"""Tokens of an answer: the stream is many, one after another."""
SHOWN = 5


class Watch:
    """The engine's sink: when each chat's events came, monotonic seconds."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}
        self.ends: dict[str, Event] = {}
        self._changed = threading.Condition()

    def __call__(self, events: list[tuple[Sequence, Event]]) -> None:
        now = time.monotonic()
        with self._changed:
            for sequence, event in events:
                self.times.setdefault(sequence.job_id, []).append(now)
                if is_terminal(event):
                    self.ends[sequence.job_id] = event
            self._changed.notify_all()

    def wait(self, job_id: str, limit_s: float = LIMIT_S) -> Event | None:
        """A chat's end; None if it hasn't ended by then."""
        with self._changed:
            self._changed.wait_for(lambda: job_id in self.ends, limit_s)
        return self.ends.get(job_id)

    def silences(self, since: float, until: float, other: str) -> list[float]:
        """Between the events of all chats but one, the longest first, seconds."""
        times = sorted(t for job_id, of in self.times.items() if job_id != other for t in of)
        gaps = [b - a for a, b in pairwise(times) if b > since and a < until]
        return sorted(gaps, reverse=True)


def _chat(record: ModelRecord, job_id: str, tokens: int) -> Sequence:
    job = ChatJob(
        job_id=job_id,
        owner="everyone",
        model_id=record.id,
        model_revision=record.revision,
        messages=(Message(role="user", content="Count to a hundred."),),
        sampling=Sampling(seed=1, temperature=0, max_tokens=tokens, ignore_eos=True),
        submitted_ms=0,
    )
    return Sequence(job)


def _stream(engine: Engine, watch: Watch, record: ModelRecord, over: threading.Event) -> None:
    """One answer after another, until it is over."""
    number = 0
    while not over.is_set():
        number += 1
        engine.submit(_chat(record, f"stream {number}", TOKENS))
        while watch.wait(f"stream {number}", 0.1) is None and not over.is_set():
            pass


def measure(folder: Path) -> dict[str, object]:
    """Raises BenchError for a folder without a model, or one that can't be run."""
    demo, other = describe(DEMO_MODELS / "chat", name="demo"), describe(folder, name="other")
    if demo is None or other is None:
        raise BenchError(f"{folder} holds no model")
    settings = Settings()
    cache = backends.new_prompt_cache(settings)
    models = LoadedModels(
        {record.id: record for record in (demo, other)}.get,
        lambda record: backends.open_backend(record, settings, cache),
        budget=1 << 40,
        available=lambda: 1 << 40,
    )
    watch, over = Watch(), threading.Event()
    engine = Engine(models, watch)
    engine.start()
    engine.submit(_chat(demo, "warm-up", TOKENS))
    watch.wait("warm-up")
    streaming = threading.Thread(target=_stream, args=(engine, watch, demo, over))
    streaming.start()
    began = time.monotonic()
    over.wait(BEFORE_S)
    loading = time.monotonic()
    engine.submit(_chat(other, "other", OF_THE_OTHER))
    end, ended = watch.wait("other"), time.monotonic()
    over.set()
    streaming.join()
    engine.close()
    if end is None or isinstance(end, Failed):
        raise BenchError(f"the model of {folder} gave no answer: {end}")
    return {
        "before, ms": _shown(watch.silences(began, loading, "other")),
        "loading and answering, ms": _shown(watch.silences(loading, ended, "other")),
        "took, s": round(ended - loading, 1),
    }


def _shown(silences: list[float]) -> list[int]:
    return [round(1000 * silence) for silence in silences[:SHOWN]]


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
