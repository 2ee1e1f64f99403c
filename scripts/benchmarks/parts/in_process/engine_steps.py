"""How long a step of the engine takes beside the same step of mlx_lm, in one process.

The engine with its thread, batch and decoders, but without Redis and clients, beside
``stream_generate`` for one row and ``BatchGenerator`` for several: greedy, in turn.
``python -m scripts.benchmarks.parts.in_process.engine_steps FOLDER`` prints medians as JSON, of the
times and of the rounds' ratios.
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import mlx_lm
from mlx_lm.generate import BatchGenerator

from scripts.benchmarks.systems.plan import BenchError
from scripts.benchmarks.systems.prompts import Prompts
from wire.messages import ChatJob, Event, Failed, Message, Sampling, is_terminal
from wire.model_registry import ModelRecord
from wire.settings import Settings
from worker import backends
from worker.engine.engine import Engine
from worker.models.folders import describe
from worker.models.loaded import LoadedModels
from worker.sequence import Sequence

ROWS = (1, 8)
TOKENS = 200
ROUNDS = 15
LIMIT_S = 300.0
Round = Callable[[list[str]], float]
"""Answers to these texts at once; returns seconds a step, from the first token to the last."""


class Sink:
    """When the first text came and when all answers had ended, monotonic seconds."""

    def __init__(self, rows: int) -> None:
        self.first = self.last = 0.0
        self.failed: Failed | None = None
        self.ended = threading.Event()
        self._left = rows

    def __call__(self, events: list[tuple[Sequence, Event]]) -> None:
        self.last = time.monotonic()
        self.first = self.first or self.last
        ends = [event for _, event in events if is_terminal(event)]
        self.failed = next((end for end in ends if isinstance(end, Failed)), self.failed)
        self._left -= len(ends)
        if not self._left:
            self.ended.set()


class Ours:
    """The engine; its sink changes with each round."""

    def __init__(self, record: ModelRecord) -> None:
        settings = Settings()
        cache = backends.new_prompt_cache(settings)
        models = LoadedModels(
            {record.id: record}.get,
            lambda one: backends.open_backend(one, settings, cache),
            budget=1 << 40,
            available=lambda: 1 << 40,
        )
        self._record, self._sink, self._rounds = record, Sink(0), 0
        self.engine = Engine(models, lambda events: self._sink(events))
        self.engine.start()

    def round(self, texts: list[str]) -> float:
        self._rounds += 1
        self._sink = sink = Sink(len(texts))
        for number, text in enumerate(texts):
            self.engine.submit(self._chat(f"{self._rounds} {number}", text), len(texts) - 1)
        if not sink.ended.wait(LIMIT_S) or sink.failed is not None:
            raise BenchError(f"the engine gave no answers: {sink.failed}")
        return (sink.last - sink.first) / TOKENS

    def _chat(self, job_id: str, text: str) -> Sequence:
        job = ChatJob(
            job_id=job_id,
            owner="everyone",
            model_id=self._record.id,
            model_revision=self._record.revision,
            messages=(Message(role="user", content=text),),
            sampling=Sampling(
                seed=1, temperature=0, repetition_penalty=1, max_tokens=TOKENS, ignore_eos=True
            ),
            submitted_ms=0,
        )
        return Sequence(job)


def library(folder: Path) -> Round:
    """mlx_lm, which gets the same prompts."""
    model, tokenizer, *_ = mlx_lm.load(str(folder))

    def encoded(text: str) -> list[int]:
        messages = [{"role": "user", "content": text}]
        return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True))

    def once(texts: list[str]) -> float:
        times = []
        if len(texts) == 1:
            for _ in mlx_lm.stream_generate(model, tokenizer, encoded(texts[0]), TOKENS):
                times.append(time.monotonic())
        else:
            batch = BatchGenerator(model)
            batch.insert([encoded(text) for text in texts], [TOKENS] * len(texts))
            while answers := batch.next_generated():
                times.append(time.monotonic())
            del answers
        return (times[-1] - times[0]) / (len(times) - 1)

    return once


def measure(folder: Path) -> dict[str, dict[str, float]]:
    """Raises BenchError for a folder without a model, or one that can't be run."""
    if (record := describe(folder, name="steps")) is None:
        raise BenchError(f"{folder} holds no model")
    prompts = Prompts(str(folder))
    ours, theirs, found = Ours(record), library(folder), {}
    for rows in ROWS:
        pairs = []
        for turn in range(ROUNDS + 1):  # The first is to warm up.
            texts = [prompts.text(f"{turn} {row}", 40) for row in range(rows)]
            in_order = (theirs, ours.round) if turn % 2 else (ours.round, theirs)
            took = {one: one(texts) for one in in_order}
            pairs.append((took[theirs], took[ours.round]))
        of_library, of_engine = (statistics.median(one) for one in zip(*pairs[1:], strict=True))
        speed = statistics.median(library / engine for library, engine in pairs[1:])
        found[f"{rows} rows"] = {
            "mlx_lm, ms": round(of_library * 1000, 2),
            "engine, ms": round(of_engine * 1000, 2),
            "speed, %": round(100 * speed),
        }
    ours.engine.close()
    return found


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
