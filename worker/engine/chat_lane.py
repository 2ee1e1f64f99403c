"""The chats inside the engine: waiting, being prepared, running in a batch, ended.

Everything runs on the engine's thread, but ``snapshot``. Knows no Redis, no HTTP and no RQ.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from wire.messages import Event, FinishReason, Progress, Warning
from worker.backends.base import Backend, Step, Token, pools
from worker.engine.admission_window import AdmissionWindow
from worker.engine.context import ChatLoad, EngineContext, Sink
from worker.engine.counters import Counters
from worker.engine.prompt_thread import ChatPreparation, Ready
from worker.engine.step_failure import broken_schema, failed_end, rescue
from worker.engine.time_share import TextTurns
from worker.errors import WorkerError, kept_alive
from worker.models.loaded import LoadedModels
from worker.sequence import Sequence

log = logging.getLogger(__name__)


class ChatLane:
    """Runs chats in continuous batches, one batch a loaded model."""

    def __init__(
        self,
        models: LoadedModels,
        sink: Sink,
        context: EngineContext,
        counters: Counters,
        on_suspect: Callable[[Sequence], None],
    ) -> None:
        """``on_suspect`` is called before a suspect is let in."""
        self._models = models
        self._sink = sink
        self._context = context
        self._counters = counters
        self._on_suspect = on_suspect
        self._waiting: deque[Sequence] = deque()
        self._loading: dict[str, Sequence] = {}
        self._preparing: dict[str, Sequence] = {}
        self._running: dict[str, tuple[Sequence, Backend]] = {}
        self._events: list[tuple[Sequence, Event]] = []
        self._text_turns = TextTurns()
        self.window = AdmissionWindow()
        self._preparation = ChatPreparation(context, self.window)
        self.rest_s = 0.0
        """For how long the next step would find nothing to do, seconds."""

    def close(self) -> None:
        self._preparation.close()

    @property
    def preparing_s(self) -> float:
        """For how long the present prompt has been in preparation, seconds."""
        return self._preparation.busy_s

    @property
    def runs(self) -> bool:
        return bool(self._running)

    @property
    def waits(self) -> bool:
        return bool(self._waiting)

    def snapshot(self) -> list[Sequence]:
        """The chats inside, in the order they came; any thread may call it."""
        running = [sequence for sequence, _ in self._running.copy().values()]
        inside = [*running, *self._preparing.copy().values(), *self._loading.copy().values()]
        return [*inside, *self._waiting.copy()]

    def load(self) -> ChatLoad:
        inside = self._inside()
        waiting = len(self._waiting) + sum(not s.generated for s in inside)
        suspect = any(s.suspect for s in (*inside, *self._waiting))
        return ChatLoad(len(inside) + len(self._waiting), waiting, suspect)

    def submit(self, sequence: Sequence, expected: int) -> None:
        self._waiting.append(sequence)
        self.window.expected = expected

    def end_early(self, job_id: str, end: Callable[[Sequence], list[Any]]) -> None:
        """Take a chat out, wherever it is, and emit what ``end`` returns for it."""
        self._models.unclaim(job_id)
        sequence = self._preparing.pop(job_id, None) or self._loading.pop(job_id, None)
        if sequence is None and job_id in self._running:
            sequence, backend = self._running.pop(job_id)
            backend.remove(sequence)
        if sequence is None:
            sequence = next((s for s in self._waiting if s.job_id == job_id), None)
            if sequence is None:
                return
            self._waiting.remove(sequence)
        self._emit(sequence, end(sequence))

    def step(self) -> None:
        """Let in the chats that are ready, make one step of each batch, emit its events."""
        self.window.flush()
        busy = [backend for backend in self._models.backends() if backend.sequences()]
        texts = [backend for backend in busy if pools(backend)]
        chats = [backend for backend in busy if backend not in texts]
        # A batch that has work leaves no rest to the others.
        self.rest_s = min(map(self._step, chats), default=0.0)
        if texts:
            self._step_texts(texts, chats)
        self._flush()

    def _step_texts(self, backends: list[Backend], chats: list[Backend]) -> None:
        """A step of the texts that become vectors or scores, if it is their turn."""
        began = time.monotonic()
        coming = any(not sequence.pools for sequence in self._preparing.values())
        waits = coming or any(not s.generated for backend in chats for s in backend.sequences())
        due_in_s = self._text_turns.due_in(began, chats=coming or bool(chats), chat_waits=waits)
        if due_in_s > 0:
            self.rest_s = min(self.rest_s, due_in_s) if chats else due_in_s
            return
        for backend in backends:
            self._step(backend)
        self.rest_s = 0.0
        self._text_turns.spend(began, time.monotonic())

    # --- admission --------------------------------------------------------------------------------

    def admit(self, *, suspect_inside: bool) -> bool:
        """Start waiting chats in order; whether the next waits for memory.

        It holds back those behind it, or it would starve.
        """
        while (sequence := self._next(suspect_inside)) is not None:
            job = sequence.job
            there = self._models.is_loaded(job) or self._models.is_loading(job)
            if not there and not self._models.has_room(job):
                return True
            self._waiting.remove(sequence)
            self._load(sequence)
        return False

    def _inside(self) -> list[Sequence]:
        running = (s for s, _ in self._running.values())
        return [*running, *self._preparing.values(), *self._loading.values()]

    def _next(self, suspect_inside: bool) -> Sequence | None:
        """The first that waits.

        Suspects are let in one at a time: if this process dies, it was that one.
        """
        if not self._waiting:
            return None
        occupied = suspect_inside or any(sequence.suspect for sequence in self._inside())
        return next((s for s in self._waiting if not (s.suspect and occupied)), None)

    def _load(self, sequence: Sequence) -> None:
        """Have the chat's model loaded if it isn't, and go on with the chat then."""
        # Before anything is done with it: its model may be what kills this process.
        if sequence.suspect:
            self._on_suspect(sequence)
        try:
            loaded = self._models.load_for(sequence.job, self._context.post)
        except WorkerError as error:
            self._emit_failure(sequence, error)
            return
        if loaded.done():
            self._prepare(sequence, loaded.result())
            return
        self._loading[sequence.job_id] = sequence
        self._events.append((sequence, Progress("loading")))
        loaded.add_done_callback(partial(self._loaded, sequence, time.monotonic()))

    def _loaded(self, sequence: Sequence, since: float, loaded: Future[Backend]) -> None:
        if self._loading.get(sequence.job_id) is not sequence:
            return
        del self._loading[sequence.job_id]
        try:
            backend = loaded.result()
        except WorkerError as error:
            self._emit_failure(sequence, error)
            return
        sequence.loaded(since)
        self._prepare(sequence, backend)

    def _prepare(self, sequence: Sequence, backend: Backend) -> None:
        self._preparing[sequence.job_id] = sequence
        self._models.claim(sequence.job_id, backend, sequence.job.model_id)
        self._preparation.begin(sequence, backend, partial(self._prepared, sequence, backend))

    def _prepared(self, sequence: Sequence, backend: Backend, prepared: Ready) -> None:
        """Put a prepared chat into the batch, unless it was stopped or its prompt is unusable."""
        if self._preparing.get(sequence.job_id) is not sequence:
            return
        del self._preparing[sequence.job_id]
        self._models.unclaim(sequence.job_id)
        if not self._models.holds(backend, sequence.job.model_id):
            # The model, or its adapter, was unloaded while the prompt was being tokenised.
            self._waiting.appendleft(sequence)
            return
        try:
            warnings = prepared.result()
            if sequence.is_whole:
                reason: FinishReason = "stop" if sequence.stopped_by_text else "length"
                self._emit(sequence, [*sequence.echo(), *sequence.finish(reason)])
                return
            backend.add(sequence)
        except Exception as error:
            self._emit_failure(sequence, error)
            return
        self._running[sequence.job_id] = (sequence, backend)
        if not sequence.emitted:
            self._emit(sequence, [Warning(text) for text in [*warnings, *self._context.notes()]])
        if sequence.wanted_of_prompt is None:
            self._emit(sequence, sequence.echo())

    # --- a step -----------------------------------------------------------------------------------

    def _step(self, backend: Backend) -> float:
        """One step; for how long the next one would find nothing to do, seconds."""
        self._counters.begin_step()
        try:
            with kept_alive():
                step = backend.step(self._others_waiting(backend))
        except Exception as error:
            log.exception("a step failed")
            rescue(backend, error, self._emit_failure)
            return 0.0
        for sequence, read, total in step.prefill:
            if read < total - 1:  # Else the first token comes next, which shows as much.
                self._events.append((sequence, Progress("prefill", read, total)))
        for sequence, measured in step.prompts:
            self._emit(sequence, sequence.echo(measured))
            if sequence.is_whole:
                self._emit(sequence, sequence.finish("length"))
        self._accept_all(backend, step)
        return step.rest_s

    def _accept_all(self, backend: Backend, step: Step) -> None:
        accepted = []
        # Nothing follows a token that completes a stop text in the middle of a step.
        for token in (token for token in step.tokens if token.sequence.end is None):
            accepted.append(token)
            try:
                self._accept(backend, token)
            except Exception as error:
                log.exception("a token could not be decoded")
                backend.remove(token.sequence)
                self._emit_failure(token.sequence, error)
        self._counters.step(backend, accepted)
        self._counters.drafts(step)

    def _others_waiting(self, backend: Backend) -> bool:
        """Whether another model's chats are being answered, or any chat is about to come in."""
        others = (s for s, other in self._running.values() if other is not backend and s.generated)
        return any(not sequence.pools for sequence in (*others, *self._preparing.values()))

    def _accept(self, backend: Backend, token: Token) -> None:
        sequence = token.sequence
        if token.end == "stop":
            sequence.accept_last(token.token_id, token.measured)
            if (broken := broken_schema(sequence)) is not None:
                self._emit_failure(sequence, broken)
                return
            self._emit(sequence, sequence.finish("stop"))
            return
        self._emit(sequence, sequence.accept(token.token_id, token.measured))
        if sequence.stopped_by_text:
            backend.remove(sequence)
            self._emit(sequence, sequence.finish("stop"))
        elif token.end == "length":
            self._emit(sequence, sequence.finish("length"))

    def _emit(self, sequence: Sequence, events: list[Any]) -> None:
        self._events += ((sequence, event) for event in events)
        if sequence.end is not None:
            self._running.pop(sequence.job_id, None)

    def _emit_failure(self, sequence: Sequence, error: Exception) -> None:
        self._emit(sequence, sequence.fail(partial(failed_end, error)))

    def _flush(self) -> None:
        if self._events:
            events, self._events = self._events, []
            with self._context.watchdog.suspend():
                self._sink(events)
