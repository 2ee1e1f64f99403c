"""Prompts of batches in the engine: they take what chats leave free, and step aside when one comes.

They run in a batch of their own (``Backend.batch_lane``), beside the chats', so putting them off
costs nothing: their rows stay where they are. Everything but ``__init__`` runs on the engine's
thread. Knows no Redis and no RQ.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

from wire.messages import Failed
from worker.backends.base import Backend, Token
from worker.engine.batch_queue import BatchQueue
from worker.engine.batch_sequence import BatchSequence
from worker.engine.model_turn import ModelTurn
from worker.engine.prompt_thread import Prepared, PromptThread
from worker.engine.shared_prefix import SharedPrefixes
from worker.engine.step_failure import broken_schema, failure, rescue
from worker.engine.suspects import SuspectSlot
from worker.errors import WorkerError
from worker.models.loaded import LoadedModels
from worker.sequence import Sequence

log = logging.getLogger(__name__)

AHEAD = 8
"""Prompts that are in the batch beyond its rows, so that their reading begins as soon as rows
are free."""
MOST_OWED_S = 0.1
"""What prompts may save up of their share while chats keep them from running."""
CHAT_FOLLOWS_S = 2.0
"""A chat is often followed by another: for this long prompts are read in smaller portions, for
the next one's sake."""


@dataclass(frozen=True, slots=True)
class ChatLoad:
    """What the engine has of chats: how many, how many of them without a first token, whether
    any is a suspect."""

    inside: int = 0
    waiting: int = 0
    suspect: bool = False


class BatchScheduler:
    """The prompts of batches inside one engine.

    ``slots`` is how many rows chats and prompts have together; ``share`` the part of the time, 0 to
    1, that prompts get whatever the chats do. ``on_end`` gets each prompt that has ended;
    ``on_suspect`` one before anything is done with it, ``on_clear`` one that waits again.
    """

    def __init__(
        self,
        models: LoadedModels,
        *,
        slots: int,
        share: float,
        on_end: Callable[[BatchSequence], None],
        on_suspect: Callable[[BatchSequence], None] = lambda _: None,
        on_clear: Callable[[BatchSequence], None] = lambda _: None,
    ) -> None:
        self._models = models
        self._slots = slots
        self._share = share
        self._on_end = on_end
        self._suspect = SuspectSlot(on_suspect, on_clear)
        self._queue = BatchQueue()
        self._running: dict[BatchSequence, Backend] = {}
        self._tokenising = PromptThread("tokenise-prompts")
        self._owed_s = 0.0
        # What a turn takes, by the last one: so much must be owed before the next.
        self._turn_s = MOST_OWED_S
        self._looked = time.monotonic()
        self._chat_seen = -CHAT_FOLLOWS_S
        self._model_turn = ModelTurn(self._queue)
        self._prefixes = SharedPrefixes()
        self.post: Callable[[Callable[[], None]], None] = lambda work: work()
        """Has something done on the engine's thread."""
        self.excuse: Callable[[], AbstractContextManager[None]] = nullcontext
        """Around what may take long."""
        self.notes: Callable[[], list[str]] = list
        """What those who are let in now should know, in sentences."""
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
        """Whether a suspect is inside, be it that its prompt is only being prepared."""
        return self._suspect.inside is not None

    @property
    def preparing_s(self) -> float:
        """For how long the present prompt has been being prepared, seconds."""
        return self._tokenising.busy_s

    def inside(self) -> list[Sequence]:
        """Every prompt that is here, running or waiting."""
        return [*self._running, *self._queue]

    def submit(self, sequences: list[BatchSequence]) -> None:
        for sequence in sequences:
            self._queue.put(sequence)

    def drop(self, job_id: str) -> None:
        """Let go of a slice's prompts without an end."""
        for sequence in [s for s in self._queue if s.part.job_id == job_id]:
            self._queue.remove(sequence)
            if not sequence.preparing:
                self._suspect.ended(sequence)
        for sequence in [s for s in self._running if s.part.job_id == job_id]:
            self._running.pop(sequence).remove(sequence)
            self._suspect.ended(sequence)

    def make_way(self) -> None:
        """Leave every model: a chat needs the memory, or may be what kills its workers and must
        be seen alone."""
        for sequence in list(self._running):
            self._park(sequence)
        self._suspect.put_out(self._suspect.inside)

    # --- a turn -----------------------------------------------------------------------------------

    def turn(self, chats: ChatLoad) -> None:
        """One step of the prompts, if it is their turn."""
        now = time.monotonic()
        passed, self._looked = now - self._looked, now
        if chats.inside:
            self._chat_seen = now
        if self.idle:
            self._owed_s = 0.0
            self._prefixes.forget()
            return
        self._owed_s = min(MOST_OWED_S, self._owed_s + self._share * passed)
        if chats.suspect:
            self.make_way()
            return
        held_up = chats.waiting or chats.inside >= self._slots
        if held_up and self._owed_s < self._turn_s:
            return
        rows = max(self._slots - chats.inside, 1)
        self._park_beyond(rows if chats.inside else rows + AHEAD)
        # While a chat waits, as many go on as keep the share going: the others come in behind its
        # first token.
        self._fill(1 if held_up else rows if chats.inside else rows + AHEAD, chats)
        for backend in set(self._running.values()):
            self._step(backend)
        spent = time.monotonic() - now
        self._turn_s = min(spent, MOST_OWED_S)
        self._owed_s = self._owed_s - spent if held_up else 0.0

    def _park_beyond(self, rows: int) -> None:
        for sequence in list(self._running)[rows:][::-1]:
            self._park(sequence)

    def _fill(self, rows: int, chats: ChatLoad) -> None:
        while len(self._running) < rows:
            sequence = self._queue.take(partial(self._may_enter, chats))
            if sequence is None:
                return
            self._enter(sequence)

    def _park(self, sequence: BatchSequence) -> None:
        """Take a prompt out of its batch; what was computed goes to the prompt cache, and it
        goes on behind that."""
        self._running.pop(sequence).remove(sequence)
        self._suspect.put_out(sequence)
        self._queue.put_back(sequence)

    def _may_enter(self, chats: ChatLoad, sequence: BatchSequence) -> bool:
        if self._model_turn.is_anothers(sequence.group) or self._suspect.keeps_out(sequence):
            return False
        try:
            if not self._is_there(sequence, chats):
                return False
        except WorkerError as error:
            for other in [other for other in self._queue if other.same_model(sequence)]:
                self._queue.remove(other)
                self._fail(other, error)
            return False
        return not self._prefixes.awaits(sequence, self._running)

    def _is_there(self, sequence: BatchSequence, chats: ChatLoad) -> bool:
        """Whether the prompt and its model are ready; loads it when no chat would have to wait
        for that."""
        job = sequence.job
        if not self._models.is_loaded(job):
            if chats.inside:
                return False
            if not self._models.has_room(job):
                self._model_turn.wants(sequence.group)
                return False
            self._suspect.let_in(sequence)
            with self.excuse():
                self._models.get(job)
        self._model_turn.has(sequence.group)
        lane = self._models.beside(self._models.get(job))
        if not sequence.is_ready_for(lane) and not sequence.preparing:
            self._prepare_with_alike(sequence, lane)
        return sequence.is_ready_for(lane)

    def _prepare_with_alike(self, sequence: BatchSequence, lane: Backend) -> None:
        """Have a prompt made into tokens, beside this thread, and all that wait with it for the
        same model.

        They become ready together: prompts that join a batch together cost less than one by one. A
        suspect comes alone.
        """
        alike = [s for s in self._queue if s.group == sequence.group]
        group = [s for s in alike if not s.preparing and not s.is_ready_for(lane)]
        if sequence.suspect:
            self._suspect.let_in(sequence)
            group = [sequence]
        for one in group:
            one.preparing = True
        self._tokenising.prepare(lane, group).add_done_callback(partial(self._when_prepared, lane))

    def _when_prepared(
        self, lane: Backend, prepared: Future[list[Prepared[BatchSequence]]]
    ) -> None:
        if not prepared.cancelled():  # Else this engine is being closed.
            self.post(partial(self._prepared, lane, prepared.result()))

    def _prepared(self, lane: Backend, group: list[Prepared[BatchSequence]]) -> None:
        for sequence, prepared in group:
            sequence.preparing = False
            if sequence not in self._queue:
                self._suspect.ended(sequence)
                continue
            error = prepared.exception()
            if error is None and sequence.tokens_left > 0:
                sequence.ready_for(lane)
                sequence.warnings += prepared.result()
                continue
            self._queue.remove(sequence)
            self._fail(
                sequence, error if isinstance(error, Exception) else RuntimeError("cancelled")
            )

    def _enter(self, sequence: BatchSequence) -> None:
        try:
            lane = self._models.beside(self._models.get(sequence.job))
            self._suspect.let_in(sequence)
            lane.add(sequence)
        except Exception as error:
            self._fail(sequence, error)
            return
        self._running[sequence] = lane
        self._prefixes.entered(sequence)
        if not sequence.generated:
            sequence.warnings += [note for note in self.notes() if note not in sequence.warnings]

    # --- a step -----------------------------------------------------------------------------------

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
        assert isinstance(sequence, BatchSequence), "only prompts are put into the batch beside"
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
            # Out and in again: the prompt's cache is kept thereby, and the others begin behind the
            # shared prefix.
            sequence.wanted = False
            lane.remove(sequence)
            lane.add(sequence)

    def _finish(self, sequence: BatchSequence, reason: Literal["stop", "length"]) -> None:
        sequence.finish(reason)
        del self._running[sequence]
        self._suspect.ended(sequence)
        self._on_end(sequence)

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        assert isinstance(sequence, BatchSequence), "only prompts are put into the batch beside"
        self._running.pop(sequence, None)
        self._suspect.ended(sequence)
        sequence.fail(partial(Failed, *failure(error)))
        self._on_end(sequence)
