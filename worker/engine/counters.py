"""What this worker has done since it started: totals and histograms, reported with its status.

Written by the engine's thread once a step, so that a token costs next to nothing; read by others
without a lock, because slightly old is good enough. Knows neither Redis nor metric names.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items
from weakref import WeakKeyDictionary

from wire.worker_status import BUCKETS, Histogram, Sample, Totals
from worker.backends.base import Backend, Step, Token
from worker.sequence import Sequence

SHORTEST_SAMPLE_S = 0.5
"""The status is also published after model commands; a sample of the history is not."""


class _Histogram:
    def __init__(self, name: str) -> None:
        self._bounds = BUCKETS[name]
        self._counts = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += times
        self.sum += value * times

    def spread(self) -> Histogram:
        return Histogram(counts=tuple(self._counts), sum=round(self.sum, 6))


class Counters:
    """One a worker.

    ``restarts`` counts earlier starts of a worker on this machine and data folder. ``read_peak``
    tells the most memory that was held since it was last asked, bytes.
    """

    def __init__(self, read_peak: Callable[[], int] = lambda: 0) -> None:
        self.restarts = 0
        self._read_peak = read_peak
        self._prompt_tokens = self._cached_tokens = self._generation_tokens = 0
        self._ttft, self._gap, self._queue = (
            _Histogram("ttft"),
            _Histogram("inter_token"),
            _Histogram("queue"),
        )
        self._prefill, self._whole, self._load = (
            _Histogram("prefill"),
            _Histogram("request"),
            _Histogram("load"),
        )
        self._first_tokens = 0
        self._batch_tokens = 0
        self._draft_tokens = self._accepted_tokens = 0
        self._texts = self._text_tokens = 0
        self._stepped: WeakKeyDictionary[Backend, float] = WeakKeyDictionary()
        self._sampling = threading.Lock()
        self._sampled = (time.monotonic(), 0, 0, 0.0)

    def begin_step(self) -> None:
        """Count the memory from here on as that of a step. What was held before, by a batch or a
        load, is no chat's."""
        self._read_peak()

    def step(self, backend: Backend, tokens: Items[Token]) -> None:
        """Count a step's tokens, once their sequences have them, and note the memory that it took.
        For the engine's thread."""
        peak = self._read_peak()
        if peak:  # It is measured.
            for sequence in (*backend.sequences(), *(token.sequence for token in tokens)):
                if peak > sequence.peak_memory_bytes:
                    sequence.peak_memory_bytes = peak
        if not tokens or tokens[0].sequence.pools:
            self.texts(tokens)
            return
        now = time.monotonic()
        continuing = 0
        rows = set()
        for token in tokens:
            if len(token.sequence.generated) > 1:
                continuing += 1
                rows.add(token.sequence)
            else:
                self._first(token.sequence)
        if continuing:
            # Every continuing row got tokens in the batch's previous step: one interval for all.
            # Those of a row that come together have one interval, too.
            self._gap.add(now - self._stepped.get(backend, now), len(rows))
            self._generation_tokens += continuing
        self._stepped[backend] = now

    def _first(self, sequence: Sequence) -> None:
        self._generation_tokens += 1
        if sequence.emitted:
            return  # Resumed after a crash: its first token was another worker's.
        timings, usage = sequence.timings, sequence.usage
        self._first_tokens += 1
        self._ttft.add(timings.ttft_ms / 1000)
        self._queue.add(timings.queue_ms / 1000)
        self._prefill.add(timings.prefill_ms / 1000)
        self._prompt_tokens += usage.prompt_tokens
        self._cached_tokens += usage.cached_tokens

    def drafts(self, step: Step) -> None:
        """Count what came of a step's guessed tokens. For the engine's thread."""
        self._draft_tokens += step.draft_tokens
        self._accepted_tokens += step.accepted_tokens

    def texts(self, done: Iterable[Token]) -> None:
        """Count texts that have their vectors or scores. For the engine's thread."""
        for text in done:
            self._texts += 1
            self._text_tokens += text.token_id

    def batch_step(self, tokens: list[Token]) -> None:
        """Count the tokens of a step of batch prompts. For the engine's thread."""
        if tokens and tokens[0].sequence.pools:
            self.texts(tokens)
        else:
            self._batch_tokens += len(tokens)

    def loaded(self, seconds: float) -> None:
        """Count the load of a model. For the thread that loads, one at a time."""
        self._load.add(seconds)

    def ended(self, sequence: Sequence) -> None:
        """Count an ended chat, from its submission on. For the writer's thread."""
        self._whole.add((sequence.timings.queue_ms + sequence.elapsed_ms) / 1000)

    def work(self) -> Totals:
        """Everything so far."""
        return Totals(
            restarts=self.restarts,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            generation_tokens=self._generation_tokens,
            batch_tokens=self._batch_tokens,
            draft_tokens=self._draft_tokens,
            accepted_tokens=self._accepted_tokens,
            texts=self._texts,
            text_tokens=self._text_tokens,
            ttft=self._ttft.spread(),
            inter_token=self._gap.spread(),
            queue=self._queue.spread(),
            prefill=self._prefill.spread(),
            request=self._whole.spread(),
            load=self._load.spread(),
        )

    def sample(self, machine: str, running: int, waiting: int) -> Sample | None:
        """What has happened since the last sample; None if that was just now."""
        with self._sampling:
            now = (
                time.monotonic(),
                self._generation_tokens + self._batch_tokens,
                self._first_tokens,
                self._ttft.sum,
            )
            seconds, tokens, first, ttft = (b - a for a, b in zip(self._sampled, now, strict=True))
            if seconds < SHORTEST_SAMPLE_S:
                return None
            self._sampled = now
        return Sample(
            machine=machine,
            seconds=round(seconds, 3),
            tokens=int(tokens),
            running=running,
            waiting=waiting,
            first_tokens=int(first),
            ttft_ms=round(ttft * 1000, 1),
        )
