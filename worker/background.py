"""Prompts of batches in the engine: they take what chats leave free, and step aside when one comes.

They run in a batch of their own beside the chats' (``Backend.beside``), so that putting them off costs nothing: their
rows stay where they are. Everything but ``__init__`` runs on the engine's thread. Knows no Redis and no RQ.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

from wire.messages import Failed
from worker.backends.backend import Backend, Token
from worker.errors import WorkerError
from worker.futures import attempt
from worker.loaded_models import LoadedModels
from worker.prompt_queue import PromptQueue
from worker.prompt_sequence import PromptSequence
from worker.rescue import broken_schema, failure, rescue
from worker.sequence import Sequence

log = logging.getLogger(__name__)

SHARED_PREFIX = 32
"""Tokens from which on a common prefix is read once and waited for by the others."""
AHEAD = 8
"""Prompts that are in the batch beyond its rows, so that their reading begins as soon as rows are free."""
MODEL_TURN_S = 30.0
"""A batch whose model has no room lets the others go on for this long, then it is its turn."""
MOST_OWED_S = 0.1
"""What prompts may save up of their share while chats keep them from running."""
CHAT_FOLLOWS_S = 2.0
"""A chat is often followed by another: for this long prompts are read in smaller portions, for the next one's sake."""


@dataclass(frozen=True, slots=True)
class Chats:
    """What the engine has of chats: how many, how many of them without a first token, whether a suspect is in."""

    inside: int = 0
    waiting: int = 0
    suspect: bool = False


def _ignore(_: PromptSequence) -> None:
    pass


class Background:
    """The prompts of batches inside one engine.

    ``slots`` is how many rows chats and prompts have together; ``share`` the part of the time, 0 to 1, that prompts get
    whatever the chats do. ``on_end`` gets each prompt that has ended; ``on_suspect`` one before it is let in.
    """

    def __init__(
        self,
        models: LoadedModels,
        *,
        slots: int,
        share: float,
        on_end: Callable[[PromptSequence], None],
        on_suspect: Callable[[PromptSequence], None] = _ignore,
    ) -> None:
        self._models = models
        self._slots = slots
        self._share = share
        self._on_end, self._on_suspect = on_end, on_suspect
        self._queue = PromptQueue()
        self._running: dict[PromptSequence, Backend] = {}
        self._tokenising = ThreadPoolExecutor(1, thread_name_prefix="tokenise-prompts")
        self._owed_s = 0.0
        self._turn_s = MOST_OWED_S  # What a turn takes, by the last one: so much must be owed before the next.
        self._looked = time.monotonic()
        self._chat_seen = -CHAT_FOLLOWS_S
        self._hungry: tuple[str, float] | None = None
        self._alone: set[str] = set()
        self.post: Callable[[Callable[[], None]], None] = lambda work: work()
        """Has something done on the engine's thread."""
        self.excuse: Callable[[], AbstractContextManager[None]] = nullcontext
        """Around what may take long."""
        self.tokens = 0
        """Tokens generated so far."""

    def close(self) -> None:
        self._tokenising.shutdown(wait=False, cancel_futures=True)

    @property
    def idle(self) -> bool:
        return not self._running and not len(self._queue)

    @property
    def resting(self) -> bool:
        """Whether no prompt is in a batch."""
        return not self._running

    @property
    def suspect(self) -> bool:
        return any(sequence.suspect for sequence in self._running)

    def inside(self) -> list[Sequence]:
        """Every prompt that is here, running or waiting."""
        return [*self._running, *self._queue]

    def submit(self, sequences: list[PromptSequence]) -> None:
        for sequence in sequences:
            self._queue.put(sequence)

    def drop(self, job_id: str, *, running: bool = True) -> None:
        """Let go of a slice's prompts without an end; with ``running`` False only of those that wait."""
        for waiting in [s for s in self._queue if s.part.job_id == job_id and (running or not s.generated)]:
            self._queue.remove(waiting)
        if running:
            for sequence in [s for s in self._running if s.part.job_id == job_id]:
                self._running.pop(sequence).remove(sequence)

    def make_way(self) -> None:
        """Leave every model: a chat needs the memory."""
        for sequence in list(self._running):
            self._park(sequence)

    # --- a turn ---------------------------------------------------------------------------------------------------

    def turn(self, chats: Chats) -> None:
        """One step of the prompts, if it is their turn."""
        now = time.monotonic()
        passed, self._looked = now - self._looked, now
        if chats.inside:
            self._chat_seen = now
        if self.idle:
            self._owed_s = 0.0
            return
        self._owed_s = min(MOST_OWED_S, self._owed_s + self._share * passed)
        held_up = chats.waiting or chats.inside >= self._slots
        if held_up and self._owed_s < self._turn_s:
            return
        rows = max(self._slots - chats.inside, 1)
        self._park_beyond(rows if chats.inside else rows + AHEAD)
        # While a chat waits, as many go on as keep the share going: the others come in behind its first token.
        self._fill(1 if held_up else rows if chats.inside else rows + AHEAD, chats)
        for backend in set(self._running.values()):
            self._step(backend)
        spent = time.monotonic() - now
        self._turn_s = min(spent, MOST_OWED_S)
        self._owed_s = self._owed_s - spent if held_up else 0.0

    def _park_beyond(self, rows: int) -> None:
        for sequence in list(self._running)[rows:][::-1]:
            self._park(sequence)

    def _fill(self, rows: int, chats: Chats) -> None:
        while len(self._running) < rows:
            sequence = self._queue.take(partial(self._may_enter, chats))
            if sequence is None:
                return
            self._enter(sequence)

    def _park(self, sequence: PromptSequence) -> None:
        """Take a prompt out of its batch; what was computed goes to the prompt cache, and it goes on behind that."""
        self._running.pop(sequence).remove(sequence)
        self._queue.put_back(sequence)

    def _may_enter(self, chats: Chats, sequence: PromptSequence) -> bool:
        if self._hungry is not None and self._hungry[0] != sequence.batch_id and self._starves():
            return False
        if sequence.suspect and (chats.suspect or self.suspect):
            return False
        try:
            if not self._is_there(sequence, chats):
                return False
        except WorkerError as error:
            for other in [other for other in self._queue if other.job.model_id == sequence.job.model_id]:
                self._queue.remove(other)
                self._fail(other, error)
            return False
        return sequence.ready and not self._awaits_prefix(sequence)

    def _starves(self) -> bool:
        assert self._hungry is not None
        return time.monotonic() - self._hungry[1] > MODEL_TURN_S

    def _is_there(self, sequence: PromptSequence, chats: Chats) -> bool:
        """Whether the prompt's model is loaded; loads it when no chat would have to wait for that."""
        job = sequence.job
        if not self._models.is_loaded(job):
            if chats.inside:
                return False
            if not self._models.has_room(job):
                self._hungry = self._hungry or (sequence.batch_id, time.monotonic())
                return False
            with self.excuse():
                self._models.get(job)
        if self._hungry is not None and self._hungry[0] == sequence.batch_id:
            self._hungry = None
        if not sequence.ready and not sequence.prompt_ids:
            self._prepare_all(self._models.beside(self._models.get(job)), sequence.batch_id)
        return True

    def _prepare_all(self, lane: Backend, batch_id: str) -> None:
        """Have the waiting prompts of a batch made into tokens, beside this thread.

        They become ready together: prompts that join a batch together cost less than one by one.
        """
        group = [s for s in self._queue if s.batch_id == batch_id and not s.preparing and self._models.is_loaded(s.job)]
        if not group:  # All of them are being prepared.
            return
        for sequence in group:
            sequence.preparing = True
        self._tokenising.submit(_prepare_each, lane, group).add_done_callback(self._when_prepared)

    def _when_prepared(self, prepared: Future[list[tuple[PromptSequence, Future[list[str]]]]]) -> None:
        if not prepared.cancelled():  # Else this engine is being closed.
            self.post(partial(self._prepared, prepared.result()))

    def _prepared(self, group: list[tuple[PromptSequence, Future[list[str]]]]) -> None:
        for sequence, prepared in group:
            if sequence not in self._queue:
                continue
            error = prepared.exception()
            if error is None and sequence.tokens_left > 0:
                sequence.ready = True
                continue
            self._queue.remove(sequence)
            self._fail(sequence, error if isinstance(error, Exception) else RuntimeError("cancelled"))

    def _awaits_prefix(self, sequence: PromptSequence) -> bool:
        """Whether a prompt that is being read now shares a prefix with this one that would be read twice."""
        if sequence.batch_id in self._alone or sequence.generated:
            return False
        for reading in self._running:
            length = reading.cached_tokens + SHARED_PREFIX
            same = reading.prompt_ids[:length] == sequence.prompt_ids[:length]
            if not reading.generated and len(sequence.prompt_ids) > length and same:
                reading.wanted = sequence.waited = True
                return True
        return False

    def _enter(self, sequence: PromptSequence) -> None:
        try:
            lane = self._models.beside(self._models.get(sequence.job))
            if sequence.suspect:
                self._on_suspect(sequence)
            lane.add(sequence)
        except Exception as error:
            self._fail(sequence, error)
            return
        self._running[sequence] = lane
        if sequence.waited and not sequence.cached_tokens and not sequence.generated:
            self._alone.add(sequence.batch_id)  # This model's cache keeps nothing: waiting for it is in vain.

    # --- a step ---------------------------------------------------------------------------------------------------

    def _step(self, lane: Backend) -> None:
        try:
            step = lane.step(time.monotonic() - self._chat_seen < CHAT_FOLLOWS_S)
        except Exception as error:
            log.exception("a step of batch prompts failed")
            rescue(lane, error, self._fail)
            return
        self.tokens += len(step.tokens)
        for token in step.tokens:
            self._accept(lane, token)

    def _accept(self, lane: Backend, token: Token) -> None:
        sequence = token.sequence
        assert isinstance(sequence, PromptSequence), "only prompts are put into the batch beside"
        if token.end == "stop":
            sequence.accept_last(token.token_id)
            if (broken := broken_schema(sequence)) is not None:
                self._fail(sequence, broken)
                return
            self._finish(sequence, "stop")
            return
        sequence.accept(token.token_id)
        if sequence.stopped_by_text:
            lane.remove(sequence)
            self._finish(sequence, "stop")
        elif token.end == "length":
            self._finish(sequence, "length")
        elif sequence.wanted:
            # Out and in again: the prompt's cache is kept thereby, and the others begin behind the shared prefix.
            sequence.wanted = False
            lane.remove(sequence)
            lane.add(sequence)

    def _finish(self, sequence: PromptSequence, reason: Literal["stop", "length"]) -> None:
        sequence.finish(reason)
        del self._running[sequence]
        self._on_end(sequence)

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        assert isinstance(sequence, PromptSequence), "only prompts are put into the batch beside"
        self._running.pop(sequence, None)
        sequence.fail(partial(Failed, *failure(error)))
        self._on_end(sequence)


def _prepare_each(lane: Backend, group: list[PromptSequence]) -> list[tuple[PromptSequence, Future[list[str]]]]:
    return [(sequence, attempt(partial(lane.prepare, sequence))) for sequence in group]
