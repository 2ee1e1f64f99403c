"""The engine: one thread that owns the models and runs every chat. One loop: receive, admit, step,
emit.

Knows no Redis, no HTTP and no RQ. Others talk to it through ``submit``, ``cancel`` and ``call``,
which put work into its inbox; it answers with events through the sink, a step's worth at a time.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

from wire.messages import ErrorCode, Event, Failed, Progress, Warning
from worker.backends.base import Backend, Token
from worker.engine.admission_window import AdmissionWindow
from worker.engine.batch_scheduler import BatchScheduler, ChatLoad
from worker.engine.batch_sequence import BatchSequence
from worker.engine.counters import Counters
from worker.engine.futures import attempt, settle
from worker.engine.prompt_thread import Prepared, PromptThread, takes_long
from worker.engine.step_failure import broken_schema, failure, rescue
from worker.errors import WorkerError
from worker.models.loaded import LoadedModels
from worker.sequence import Sequence

log = logging.getLogger(__name__)
Result = TypeVar("Result")

HIGH_MEMORY_PERCENT = 90.0
PREPARING_S = 0.01
"""Longest sleep while prompts are being prepared and nothing else is to be done."""


class Sink(Protocol):
    """Takes the events of one step. May block for as long as it can't take more: the engine
    pauses then."""

    def __call__(self, events: list[tuple[Sequence, Event]]) -> None: ...


class Engine:
    """Runs sequences in continuous batches, one batch a loaded model. Start it once; close it
    once."""

    def __init__(
        self,
        models: LoadedModels,
        sink: Sink,
        memory_percent: Callable[[], float] = lambda: 0.0,
        on_suspect: Callable[[Sequence], None] = lambda _: None,
        meter: Counters | None = None,
        prompts: BatchScheduler | None = None,
    ) -> None:
        """``on_suspect`` is called, on the engine's thread, before a suspect is let in.
        ``prompts`` is for batches."""
        self._models = models
        self._meter = meter or Counters()
        self._sink = sink
        self._memory_percent = memory_percent
        self._on_suspect = on_suspect
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._waiting: deque[Sequence] = deque()
        self._preparing: dict[str, Sequence] = {}
        self._gathering = AdmissionWindow()
        self._running: dict[str, tuple[Sequence, Backend]] = {}
        self._events: list[tuple[Sequence, Event]] = []
        self._rest_s = 0.0
        self._tokenising = PromptThread("tokenise")
        self._prompts = prompts or BatchScheduler(models, slots=0, share=0, on_end=lambda _: None)
        self._prompts.post, self._prompts.excuse = self._inbox.put, self._excuse
        self._prompts.notes = self._notes
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._closing = False
        self.last_step = time.monotonic()
        """When the loop last came round, monotonic seconds: what a watchdog looks at."""
        self.excused = False
        """Whether it is just loading a model or waiting for its events to be taken, however long
        that takes."""

    def start(self) -> None:
        self._thread.start()

    def close(self, patience_s: float | None = None) -> None:
        """End the thread after the step in progress; what still runs gets no more events."""
        self._inbox.put(self._close)
        self._thread.join(patience_s)
        self._tokenising.shutdown(wait=False, cancel_futures=True)
        self._prompts.close()

    def submit(self, sequence: Sequence, follow: int = 0) -> None:
        """Take a chat in; so many more are about to ``follow``."""
        self._inbox.put(partial(self._submitted, sequence, follow))

    def submit_prompts(self, sequences: list[BatchSequence]) -> None:
        """Run prompts of a batch when chats leave room."""
        self._inbox.put(partial(self._prompts.submit, sequences))

    def drop_prompts(self, job_id: str) -> None:
        """Let go of a slice's prompts without an end."""
        self._inbox.put(partial(self._prompts.drop, job_id))

    def cancel(self, job_id: str) -> None:
        """Stop a chat: its text so far is kept and its stream ends. Unknown and ended jobs are
        no error."""
        self._inbox.put(partial(self._end_early, job_id, lambda s: s.finish("cancelled")))

    def fail(self, job_id: str, code: ErrorCode, message: str) -> None:
        """End a chat from outside with a reason, such as its deadline."""
        self._inbox.put(
            partial(self._end_early, job_id, partial(_failure, code=code, message=message))
        )

    def release(self, job_id: str) -> None:
        """Let go of a chat without an end: somebody else goes on with it."""
        self._inbox.put(partial(self._end_early, job_id, lambda _: []))

    def call(self, work: Callable[[], Result]) -> Future[Result]:
        """Run something on the engine's thread, between two steps."""
        future: Future[Result] = Future()
        self._inbox.put(partial(settle, future, work))
        return future

    def is_busy(self, model_key: Any) -> bool:
        """Whether a chat that needs the model is waiting or running. For the engine's thread
        only."""
        return any(
            self._models.key(s.job) == model_key
            for s in (*self.snapshot(), *self._prompts.inside())
        )

    @property
    def preparing_s(self) -> float:
        """For how long a thread beside the engine's has been at one prompt, seconds."""
        return max(self._tokenising.busy_s, self._prompts.preparing_s)

    @property
    def has_work(self) -> bool:
        return bool(self.snapshot()) or not self._prompts.idle

    def snapshot(self) -> list[Sequence]:
        """The chats inside, in the order they came; for a status display, so a moment old is
        good enough."""
        running = [sequence for sequence, _ in self._running.copy().values()]
        return [*running, *self._preparing.copy().values(), *self._waiting.copy()]

    # --- the loop: everything below runs on the engine's thread -----------------------------------

    def _run(self) -> None:
        while not self._closing:
            self._receive()
            self._admit()
            self._gathering.open()
            # One that has work leaves no rest to the others.
            self._rest_s = min(
                (self._step(b) for b in self._models.backends() if b.sequences()), default=0.0
            )
            self._flush()
            if not self._prompts.idle:
                self._prompts.turn(self._chats())
            self.last_step = time.monotonic()
        self._models.close()

    def _chats(self) -> ChatLoad:
        inside = [*(s for s, _ in self._running.values()), *self._preparing.values()]
        waiting = len(self._waiting) + sum(not s.generated for s in inside)
        suspect = any(s.suspect for s in (*inside, *self._waiting))
        return ChatLoad(len(inside) + len(self._waiting), waiting, suspect)

    def _close(self) -> None:
        self._closing = True

    def _receive(self) -> None:
        """Do what the inbox asks for; wait for something to come in only when there is nothing
        to step."""
        # Who waits for a suspect prompt that is just being prepared can't be let in before.
        nothing_runs = not self._running and (not self._waiting or self._prompts.suspect)
        waits = self._prompts.resting and (nothing_runs or self._rest_s > 0)
        wait_s = (None if self._prompts.idle else PREPARING_S) if nothing_runs else self._rest_s
        if (left_s := self._gathering.left_s) is not None:
            wait_s = left_s if wait_s is None else min(wait_s, left_s)
        try:
            while True:
                work = self._inbox.get(waits, wait_s)
                if waits:  # Nobody hung while there was nothing to do.
                    self.last_step = time.monotonic()
                waits = False
                work()
        except queue.Empty:
            return

    def _submitted(self, sequence: Sequence, follow: int) -> None:
        self._waiting.append(sequence)
        self._gathering.follow = follow

    def _admit(self) -> None:
        """Start waiting chats in order. One that waits for memory holds back those behind it: it
        mustn't starve."""
        while (sequence := self._next()) is not None:
            try:
                backend = self._backend_for(sequence)
            except WorkerError as error:
                self._waiting.remove(sequence)
                self._emit_failure(sequence, error)
                continue
            if backend is None:
                self._prompts.make_way()
                return
            self._waiting.remove(sequence)
            self._prepare(sequence, backend)

    def _next(self) -> Sequence | None:
        """The first that waits. Suspects are let in one at a time: if this process dies, it was
        that one."""
        if not self._waiting:
            return None
        inside = [*(s for s, _ in self._running.values()), *self._preparing.values()]
        taken = self._prompts.suspect or any(sequence.suspect for sequence in inside)
        return next((s for s in self._waiting if not (s.suspect and taken)), None)

    def _backend_for(self, sequence: Sequence) -> Backend | None:
        """The chat's model, loaded if need be, or None while it must wait for others to free
        their memory."""
        loaded = self._models.is_loaded(sequence.job)
        if not loaded and not self._models.has_room(sequence.job):
            return None
        # Before anything is done with it: its model may be what kills this process.
        if sequence.suspect:
            self._on_suspect(sequence)
        if loaded:
            return self._models.get(sequence.job)
        self._events.append((sequence, Progress("loading")))
        self._flush()
        since = time.monotonic()
        with self._excuse():
            backend = self._models.get(sequence.job)
        sequence.loaded(since)
        return backend

    @contextmanager
    def _excuse(self) -> Iterator[None]:
        self.excused = True
        try:
            yield
        finally:
            self.last_step = time.monotonic()
            self.excused = False

    def _prepare(self, sequence: Sequence, backend: Backend) -> None:
        self._preparing[sequence.job_id] = sequence
        if not takes_long(sequence):
            prepared = attempt(partial(backend.prepare, sequence))
            self._gathering.add(partial(self._prepared, sequence, backend, prepared))
            return

        def done(future: Future[list[Prepared[Sequence]]]) -> None:
            if not future.cancelled():  # Else this engine is being closed.
                [(_, prepared)] = future.result()
                self._inbox.put(partial(self._prepared, sequence, backend, prepared))

        self._tokenising.prepare(backend, [sequence]).add_done_callback(done)

    def _prepared(self, sequence: Sequence, backend: Backend, prepared: Future[list[str]]) -> None:
        """Put a prepared chat into the batch, unless it was stopped meanwhile or its prompt is
        no use."""
        if self._preparing.get(sequence.job_id) is not sequence:
            return
        del self._preparing[sequence.job_id]
        if not self._models.holds(backend):
            # The model was let go of while the prompt was being tokenised.
            self._waiting.appendleft(sequence)
            return
        try:
            sentences = prepared.result()
            # A crash came between the last word and the end.
            if sequence.stopped_by_text or sequence.tokens_left <= 0:
                self._emit(
                    sequence, sequence.finish("stop" if sequence.stopped_by_text else "length")
                )
                return
            backend.add(sequence)
        except Exception as error:
            self._emit_failure(sequence, error)
            return
        self._running[sequence.job_id] = (sequence, backend)
        if not sequence.emitted:
            self._emit(sequence, [Warning(text) for text in [*sentences, *self._notes()]])

    def _notes(self) -> list[str]:
        """What a chat or a prompt that begins now should know of this machine, in sentences."""
        memory = self._memory_percent()
        return (
            [f"High memory usage ({memory:.0f}%). Generation may be slow."]
            if memory > HIGH_MEMORY_PERCENT
            else []
        )

    def _step(self, backend: Backend) -> float:
        """One step; for how long the next one would find nothing to do, seconds."""
        try:
            step = backend.step(self._has_company(backend))
        except Exception as error:
            log.exception("a step failed")
            rescue(backend, error, self._emit_failure)
            return 0.0
        for sequence, read, total in step.prefill:
            if read < total - 1:  # Else the first token comes next, which says as much.
                self._events.append((sequence, Progress("prefill", read, total)))
        for token in step.tokens:
            try:
                self._accept(backend, token)
            except Exception as error:
                log.exception("a token could not be decoded")
                backend.remove(token.sequence)
                self._emit_failure(token.sequence, error)
        if step.tokens:
            self._meter.step(backend, step.tokens)
        return step.rest_s

    def _has_company(self, backend: Backend) -> bool:
        """Whether another model's chats are being answered, or any chat is about to come in."""
        others = any(
            other is not backend and sequence.generated
            for sequence, other in self._running.values()
        )
        return others or bool(self._preparing)

    def _accept(self, backend: Backend, token: Token) -> None:
        sequence = token.sequence
        if token.end == "stop":
            sequence.accept_last(token.token_id)
            if (broken := broken_schema(sequence)) is not None:
                self._emit_failure(sequence, broken)
                return
            self._emit(sequence, sequence.finish("stop"))
            return
        self._emit(sequence, sequence.accept(token.token_id))
        if sequence.stopped_by_text:
            backend.remove(sequence)
            self._emit(sequence, sequence.finish("stop"))
        elif token.end == "length":
            self._emit(sequence, sequence.finish("length"))

    def _end_early(self, job_id: str, end: Callable[[Sequence], list[Any]]) -> None:
        sequence = self._preparing.pop(job_id, None)
        if sequence is None and job_id in self._running:
            sequence, backend = self._running.pop(job_id)
            backend.remove(sequence)
        if sequence is None:
            sequence = next((s for s in self._waiting if s.job_id == job_id), None)
            if sequence is None:
                return
            self._waiting.remove(sequence)
        self._emit(sequence, end(sequence))

    def _emit(self, sequence: Sequence, events: list[Any]) -> None:
        self._events += ((sequence, event) for event in events)
        if sequence.end is not None:
            self._running.pop(sequence.job_id, None)

    def _emit_failure(self, sequence: Sequence, error: Exception) -> None:
        code, message = failure(error)
        self._emit(sequence, _failure(sequence, code=code, message=message))

    def _flush(self) -> None:
        if self._events:
            events, self._events = self._events, []
            with self._excuse():
                self._sink(events)


def _failure(sequence: Sequence, *, code: ErrorCode, message: str) -> list[Any]:
    return sequence.fail(lambda usage, timings: Failed(code, message, usage, timings))
