"""Chats' first tokens while texts become vectors, beside those without: a request after another,
and lines of a batch.

In one process: an engine with the demo model and an embedding model, and no Redis. ``python -m
scripts.benchmarks.parts.texts_beside_chats FOLDER`` prints the figures as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from functools import partial
from pathlib import Path

from mlxq.service.blas import with_openblas
from scripts.benchmarks.cells import p50, p95
from scripts.benchmarks.parts.in_process.load_silence import Watch
from scripts.benchmarks.systems import machine
from scripts.benchmarks.systems.plan import BenchError
from wire.batches import BatchLine, BatchSlice
from wire.messages import ChatJob, Event, Message, OutputFormat, Pooling, Sampling
from wire.model_registry import ModelRecord
from wire.settings import Settings
from worker import backends
from worker.backends.cpu.malloc import keep_freed_memory
from worker.engine.batch_scheduler import BatchScheduler
from worker.engine.batch_sequence import BatchSequence
from worker.engine.context import EngineContext
from worker.engine.engine import Engine
from worker.models.folders import DEMO_MODELS, describe
from worker.models.loaded import LoadedModels
from worker.sequence import Sequence

ROUNDS, CHATS = 10, 12
"""Each kind is measured so often, in turn, with so many chats one after another."""
WORDS = 60
"""Of a chat's prompt; each chat has another, so that none is in the prompt cache."""
TOKENS = 8
TEXTS = 64
"""Of a request, or of the batch that waits at any time."""
KINDS = ("chats alone", "beside requests", "beside a batch")
SLOTS, SHARE = 8, 0.05
_MODULE = "scripts.benchmarks.parts.texts_beside_chats"


class Bench:
    """An engine with both models, loaded."""

    def __init__(self, folder: Path) -> None:
        chat, texts = describe(DEMO_MODELS / "chat", name="demo"), describe(folder, name="texts")
        if chat is None or texts is None or "embed" not in texts.tasks:
            raise BenchError(f"there is no embedding model in {folder}")
        self.chat, self.texts = chat, texts
        settings = Settings(slots=SLOTS)
        cache = backends.new_prompt_cache(settings)
        models = LoadedModels(
            {chat.id: chat, texts.id: texts}.get,
            lambda record, *_: backends.open_backend(record, settings, cache),
            budget=1 << 40,
            available=lambda: 1 << 40,
        )
        self.watch, self.over, self.done = Watch(), threading.Event(), 0
        self._numbers = iter(range(1 << 30))
        context = EngineContext()
        prompts = BatchScheduler(
            models, slots=SLOTS, share=SHARE, context=context, on_end=self._line_ended
        )
        self.engine = Engine(models, self._sink, context=context, prompts=prompts)
        self.engine.start()
        for record in (chat, texts):
            self.engine.call(partial(self.engine.load, record)).result().result()

    def _sink(self, events: list[tuple[Sequence, Event]]) -> None:
        self.watch(events)
        self.done += sum(len(getattr(e, "token_ids", ())) for s, e in events if s.pools)

    def _line_ended(self, line: BatchSequence) -> None:
        self.done += 1
        if not self.over.is_set():
            self.engine.submit_prompts([self._line()])
        del line

    def _text(self) -> str:
        return f"Text {next(self._numbers)} is one of many that are waiting to become vectors."

    def _line(self) -> BatchSequence:
        line = BatchLine(
            number=next(self._numbers),
            custom_id="",
            model_id=self.texts.id,
            model_revision=self.texts.revision,
            messages=(Message(role="user", content=self._text()),),
            sampling=Sampling(seed=0, max_tokens=1),
            form=_VECTORS,
        )
        return BatchSequence(line, BatchSlice(job_id="s", batch_id="b", owner="", number=0), 1)

    def load(self, kind: str) -> None:
        """Keep texts coming until ``over`` is set."""
        if kind == KINDS[2]:
            self.engine.submit_prompts([self._line() for _ in range(TEXTS)])
        while kind == KINDS[1] and not self.over.is_set():
            made = self._sequence(self.texts, [self._text() for _ in range(TEXTS)], _VECTORS, TEXTS)
            self.engine.submit(made)
            while self.watch.wait(made.job_id, 0.1) is None and not self.over.is_set():
                pass
            self.engine.cancel(made.job_id)  # Nothing of it is left for the next kind.

    def _sequence(
        self, record: ModelRecord, texts: list[str], form: OutputFormat, tokens: int
    ) -> Sequence:
        job = ChatJob(
            job_id=str(next(self._numbers)),
            owner="",
            model_id=record.id,
            model_revision=record.revision,
            messages=tuple(Message(role="user", content=text) for text in texts),
            sampling=Sampling(seed=1, temperature=0, max_tokens=tokens, ignore_eos=True),
            form=form,
            submitted_ms=0,
        )
        return Sequence(job)

    def first_token_ms(self) -> float:
        """The time from a chat's submission to its first token."""
        text = " ".join(str(next(self._numbers)) for _ in range(WORDS // 4))
        chat = self._sequence(self.chat, [text], OutputFormat(), TOKENS)
        self.engine.submit(chat)
        if self.watch.wait(chat.job_id) is None:
            raise BenchError("a chat didn't end")
        return chat.timings.ttft_ms


_VECTORS = OutputFormat(raw=True, pooling=Pooling(task="embed"))


def measure(folder: Path) -> dict[str, object]:
    """Raises BenchError for a folder without an embedding model."""
    bench = Bench(folder)
    bench.first_token_ms()
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    texts = dict.fromkeys(KINDS, 0.0)
    for _ in range(ROUNDS):
        for kind in KINDS:
            bench.over.clear()
            loading = threading.Thread(target=bench.load, args=(kind,))
            loading.start()
            began, before = time.monotonic(), bench.done
            times[kind] += [bench.first_token_ms() for _ in range(CHATS)]
            texts[kind] += (bench.done - before) / (time.monotonic() - began) / ROUNDS
            bench.over.set()
            loading.join()
            bench.engine.drop_prompts("s")
    bench.engine.close()
    return {
        kind: {
            "ttft_ms_p50": round(p50(of), 1),
            "ttft_ms_p95": round(p95(of), 1),
            "texts_per_second": round(texts[kind]),
        }
        for kind, of in times.items()
    }


def main() -> None:
    """Measure as a worker runs: with its BLAS, and with freed memory kept."""
    environment = with_openblas(os.environ)
    if environment.get("LD_PRELOAD") != os.environ.get("LD_PRELOAD"):
        os.execve(sys.executable, [sys.executable, "-m", _MODULE, *sys.argv[1:]], environment)
    keep_freed_memory()
    found = {"load": machine.moment(), **measure(Path(sys.argv[1]))}
    print(json.dumps(found, indent=1), flush=True)
    # MLX frees what it compiled for the engine's thread behind the end of it that Python waits for,
    # and aborts an interpreter that ends meanwhile.
    os._exit(0)


if __name__ == "__main__":
    main()
