"""Schedules prompts of batches in the engine: they use what chats leave free, and make way.

They run in a second batch of the model (``Backend.batch_lane``), so that pausing them costs
nothing: their rows stay where they are. Everything but ``__init__`` runs on the engine's thread.
Knows no Redis and no RQ.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Literal

from worker.backends.base import Backend, Token
from worker.engine.batch_queue import BatchQueue
from worker.engine.batch_sequence import BatchSequence
from worker.engine.context import ChatLoad, EngineContext
from worker.engine.counters import Counters
from worker.engine.model_turn import ModelTurn
from worker.engine.prompt_thread import BatchPreparation, PromptThread
from worker.engine.step_failure import broken_schema, failed_end, rescue
from worker.engine.suspects import SuspectSlot
from worker.engine.time_share import TextTurns, TimeShare
from worker.errors import WorkerError, kept_alive
from worker.models.loaded import LoadedModels
from worker.sequence import Sequence

log = logging.getLogger(__name__)

AHEAD_PART = 4
"""Without chats there is a prompt in the batch beyond its rows for so many of them, as many as join
it together; a prompt whose turn comes later has more of them before it."""
HELD_UP_S = 0.001
"""How long prompts rest that chats hold up."""
CHAT_FOLLOWS_S = 2.0
"""A chat is often followed by another: for this long prompts are prefilled in smaller portions, so
that the next chat waits less."""


class BatchScheduler:
    """The prompts of batches inside one engine.

    ``slots`` is how many rows chats and prompts have together; ``share`` the part of the time, 0 to
    1, that prompts get whatever the chats do. ``on_end`` gets each prompt that has ended,
    ``on_suspect`` a suspect before anything is done with it, ``on_clear`` one that waits again.
    """

    def __init__(
        self,
        models: LoadedModels,
        *,
        slots: int,
        share: float,
        context: EngineContext,
        on_end: Callable[[BatchSequence], None],
        counters: Counters | None = None,
        on_suspect: Callable[[BatchSequence], None] = lambda _: None,
        on_clear: Callable[[BatchSequence], None] = lambda _: None,
    ) -> None:
        self._models = models
        self._slots = slots
        self._context = context
        self._counters = counters or Counters()
        self._on_end = on_end
        self._suspect = SuspectSlot(on_suspect, on_clear)
        self._queue = BatchQueue()
        self._running: dict[BatchSequence, Backend] = {}
        self._tokenising = PromptThread("tokenise-prompts")
        self._preparation = BatchPreparation(
            self._tokenising, models, self._queue, self._suspect, context, self._fail
        )
        self._time_share, self._text_turns = TimeShare(share), TextTurns()
        self._chat_seen = -CHAT_FOLLOWS_S
        self._model_turn = ModelTurn(self._queue)
        self.rest_s = 0.0
        """For how long the next turn would find nothing to do, seconds."""

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
        """Whether a suspect is inside, even if its prompt is only being prepared."""
        return self._suspect.inside is not None

    @property
    def preparing_s(self) -> float:
        """For how long the present prompt has been in preparation, seconds."""
        return self._tokenising.busy_s

    def inside(self) -> list[Sequence]:
        """Every prompt that is here, running or waiting."""
        return [*self._running, *self._queue]

    def submit(self, sequences: list[BatchSequence]) -> None:
        for sequence in sequences:
            self._queue.put(sequence)
        self._preparation.begin_ahead(sequences)

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
        """Leave every model: a chat needs the memory, or is a suspect and runs alone."""
        for sequence in list(self._running):
            self._preempt(sequence)
        self._suspect.put_out(self._suspect.inside)

    # --- a turn -----------------------------------------------------------------------------------

    def run_turn(self, chats: ChatLoad) -> None:
        """One step of the prompts, if it is their turn."""
        now, self.rest_s = time.monotonic(), 0.0
        self._time_share.earn(now)
        if chats.inside:
            self._chat_seen = now
        if self.idle:
            self._time_share.reset()
            return
        if chats.suspect:
            self.make_way()
            return
        held_up = chats.waiting > 0 or chats.inside >= self._slots
        if held_up and not self._time_share.pays_a_turn:
            self.rest_s = HELD_UP_S
            return
        rows = self._rows(chats)
        self._preempt_beyond(rows)
        # While a chat waits, only what keeps the share going: the other prompts come in after its
        # first token.
        self._fill(1 if held_up else rows, chats)
        texts_due_s = self._text_turns.due_in(now, chats=chats.inside > 0, chat_waits=held_up)
        self._step_all(now, texts_due_s)
        self._time_share.spend(time.monotonic() - now, held_up=held_up)

    def _step_all(self, now: float, texts_due_s: float) -> None:
        """A step of each batch; of texts all or none, or the first would keep the turn."""
        lanes = {lane: one.pools for one, lane in self._running.items()}
        for lane in (lane for lane, pools in lanes.items() if not (pools and texts_due_s)):
            self._step(lane)
        if any(lanes.values()) and not texts_due_s:
            self._text_turns.spend(now, time.monotonic())
        self.rest_s = texts_due_s if all(lanes.values()) else 0.0

    def _rows(self, chats: ChatLoad) -> int:
        """How many prompts may be in the batch."""
        rows = max(self._slots - chats.inside, 1)
        return rows if chats.inside else rows + rows // AHEAD_PART

    def _preempt_beyond(self, rows: int) -> None:
        for sequence in list(self._running)[rows:][::-1]:
            self._preempt(sequence)

    def _fill(self, rows: int, chats: ChatLoad) -> None:
        while len(self._running) < rows:
            sequence = self._queue.take(partial(self._may_enter, chats))
            if sequence is None:
                return
            self._enter(sequence)

    def _preempt(self, sequence: BatchSequence) -> None:
        """Take a prompt out of its batch; it resumes from what the prompt cache keeps."""
        self._running.pop(sequence).remove(sequence)
        self._suspect.put_out(sequence)
        self._queue.put_back(sequence)

    def _may_enter(self, chats: ChatLoad, sequence: BatchSequence) -> bool:
        if self._model_turn.is_anothers(sequence.group) or self._suspect.keeps_out(sequence):
            return False
        try:
            return self._is_there(sequence, chats)
        except WorkerError as error:
            self._fail_all(sequence, error)
            return False

    def _fail_all(self, sequence: BatchSequence, error: Exception) -> None:
        """Fail all prompts that wait for the model of one."""
        for other in [other for other in self._queue if other.same_model(sequence)]:
            self._queue.remove(other)
            self._fail(other, error)

    def _is_there(self, sequence: BatchSequence, chats: ChatLoad) -> bool:
        """Whether the prompt and its model are ready; begins to load the model, if no chat is
        inside, and to tokenise the prompt."""
        job = sequence.job
        if not self._models.is_loaded(job):
            # Embedding models are small, and beside chats their texts take little time.
            if (chats.inside and not sequence.pools) or self._models.is_loading(job):
                return False
            if not self._models.has_room(job):
                self._model_turn.wants(sequence.group)
                return False
            self._load(sequence)
            return False
        self._model_turn.has(sequence.group)
        return self._preparation.is_done(sequence)

    def _load(self, sequence: BatchSequence) -> None:
        """Have a prompt's model loaded beside the chats that come meanwhile. Raises WorkerError for
        what is known before."""
        self._suspect.let_in(sequence)
        loading = self._models.load_for(sequence.job, self._context.post)
        sequence.preparing = True
        loading.add_done_callback(partial(self._loaded, sequence))

    def _loaded(self, sequence: BatchSequence, loaded: Future[Backend]) -> None:
        sequence.preparing = False
        if sequence not in self._queue:
            self._suspect.ended(sequence)
        if isinstance(error := loaded.exception(), Exception):
            self._fail_all(sequence, error)

    def _enter(self, sequence: BatchSequence) -> None:
        if sequence.is_whole:
            self._finish(sequence, "length")
            return
        try:
            lane = self._models.batch_lane(self._models.get(sequence.job))
            self._suspect.let_in(sequence)
            lane.add(sequence)
        except Exception as error:
            self._fail(sequence, error)
            return
        self._running[sequence] = lane
        if not sequence.generated:
            sequence.warnings += [
                note for note in self._context.notes() if note not in sequence.warnings
            ]

    # --- a step -----------------------------------------------------------------------------------

    def _step(self, lane: Backend) -> None:
        try:
            with kept_alive():
                step = lane.step(time.monotonic() - self._chat_seen < CHAT_FOLLOWS_S)
        except Exception as error:
            log.exception("a step of batch prompts failed")
            rescue(lane, error, self._fail)
            return
        self._counters.batch_step(step.tokens)
        self._counters.drafts(step)
        for sequence, measured in step.prompts:
            sequence.echo(measured)
            if sequence.is_whole:
                self._finish(sequence, "length")
        for token in step.tokens:
            if token.sequence.end is None:  # Else a token before it completed a stop text.
                self._accept(lane, token)

    def _accept(self, lane: Backend, token: Token) -> None:
        sequence = token.sequence
        assert isinstance(sequence, BatchSequence), "only prompts are in the batch lane"
        if token.end == "stop":
            sequence.accept_last(token.token_id, token.measured)
            if (broken := broken_schema(sequence)) is not None:
                self._fail(sequence, broken)
                return
            self._finish(sequence, "stop")
            return
        sequence.accept(token.token_id, token.measured)
        if sequence.stopped_by_text:
            lane.remove(sequence)
            self._finish(sequence, "stop")
        elif token.end == "length":
            self._finish(sequence, "length")

    def _finish(self, sequence: Sequence, reason: Literal["stop", "length"]) -> None:
        assert isinstance(sequence, BatchSequence), "only prompts are in the batch lane"
        sequence.finish(reason)
        self._running.pop(sequence, None)
        self._suspect.ended(sequence)
        self._on_end(sequence)

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        assert isinstance(sequence, BatchSequence), "only prompts are in the batch lane"
        self._running.pop(sequence, None)
        self._suspect.ended(sequence)
        sequence.fail(partial(failed_end, error))
        self._on_end(sequence)
