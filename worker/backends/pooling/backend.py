"""The backend of embedding models and rerankers: a sequence is a job's texts, a token one text.

A step is a piece of a forward pass of some milliseconds, so that chats' steps come in between.
Texts of all sequences take turns in a pass, and a sequence gets its rows in order. Knows no MLX.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from wire.messages import Pooling
from worker.backends.base import Step, Token
from worker.backends.pooling.decoder import RowDecoder
from worker.backends.pooling.model import Input, PoolingModel, Rows
from worker.sequence import Sequence

STEP_S = 0.001
"""A step ends with the first piece that ends so long after its beginning: a chat that arrives
meanwhile waits for that."""
PIECE_S = 0.002
"""The longest that a piece should take. Larger passes take less time a text."""
MOST_TEXTS = 256
"""Of one pass."""
FIRST_TOKENS, TOKENS = 64, (32, 8192)
"""Of one pass, padding included: at first, and the bounds between which the number goes with the
time that a pass's longest piece takes. A longer text is alone in its pass."""
_LEAST_LENGTH = 1e-12


@dataclass(slots=True)
class _Work:
    """A sequence's inputs and how far they are: ``given`` have been put into a pass. ``lead`` is 1
    if the first is a query that the others are compared with, whose row is no result."""

    sequence: Sequence
    inputs: list[Input]
    lead: int = 0
    given: int = 0
    query: Rows | None = None

    @property
    def pooling(self) -> Pooling:
        pooling = self.sequence.job.form.pooling
        assert pooling is not None, "refused in prepare"
        return pooling


class _Place(NamedTuple):
    work: _Work
    number: int

    @property
    def input(self) -> Input:
        return self.work.inputs[self.number]


@dataclass(slots=True)
class _Pass:
    """A forward pass under way."""

    places: list[_Place]
    pieces: Generator[None, None, Rows] = field(repr=False)
    longest_s: float = 0.0
    """The longest time that a piece of it has taken."""


class PoolingBackend:
    """Runs the sequences of one model."""

    adapters = None

    def __init__(self, model: PoolingModel) -> None:
        self.weight_bytes = model.weight_bytes
        self._model = model
        self._work: dict[Sequence, _Work] = {}
        self._pass: _Pass | None = None
        self._tokens = FIRST_TOKENS
        self._inputs: WeakKeyDictionary[Sequence, list[Input]] = WeakKeyDictionary()

    def start(self) -> Iterator[None]:
        return iter(())

    def prepare(self, sequence: Sequence) -> list[str]:
        inputs = self._model.inputs(sequence.job)
        sequence.begin([], RowDecoder(sequence))
        self._inputs[sequence] = inputs
        return []

    def cache_key(self, sequence: Sequence) -> Items[int]:  # noqa: ARG002 (texts have no cache)
        return ()

    def add(self, sequence: Sequence) -> None:
        work = _Work(sequence, self._inputs[sequence])
        work.lead = len(work.inputs) - len(sequence.job.messages)
        # A step that failed may have left rows that no token tells of.
        del sequence.rows[len(sequence.generated) :]
        # The query is needed again, the texts that have their rows are not.
        work.given = 0 if work.lead else sequence.position
        self._work[sequence] = work

    def step(self, others_waiting: bool = False) -> Step:  # noqa: ARG002
        began, step = time.monotonic(), Step()
        while self._pass is not None or self._begin():
            self._run_piece(step)
            if time.monotonic() - began >= STEP_S:
                break
        return step

    def _run_piece(self, step: Step) -> None:
        """One piece of the pass; after the last one its texts have their rows."""
        running, began = self._pass, time.monotonic()
        assert running is not None, "a pass has been begun"
        try:
            next(running.pieces)
        except StopIteration as ended:
            self._pass = None
            self._fit_tokens(running)
            for place, row in zip(running.places, ended.value, strict=True):
                self._take(place, row, step)
        running.longest_s = max(running.longest_s, time.monotonic() - began)

    def _fit_tokens(self, ended: _Pass) -> None:
        """Have the pieces of the next passes take no longer than they should, and not much less."""
        least, most = TOKENS
        if ended.longest_s > PIECE_S:
            self._tokens = max(least, self._tokens // 2)
        elif ended.longest_s < PIECE_S / 4:
            self._tokens = min(most, self._tokens * 2)

    def _begin(self) -> bool:
        """Begin a pass with texts of all sequences in turn; whether there are any."""
        places: list[_Place] = []
        longest = 0
        waiting = [work for work in self._work.values() if work.given < len(work.inputs)]
        while waiting and len(places) < MOST_TEXTS:
            for work in list(waiting):
                place = _Place(work, work.given)
                longest = max(longest, len(place.input.ids))
                if places and (len(places) + 1) * longest > self._tokens:
                    waiting.clear()
                    break
                places.append(place)
                work.given = _next(work)
                if work.given >= len(work.inputs):
                    waiting.remove(work)
        if not places:
            return False
        self._pass = _Pass(places, self._model.run([place.input for place in places]))
        return True

    def _take(self, place: _Place, row: Rows, step: Step) -> None:
        """A text has its row."""
        work, number = place
        sequence = work.sequence
        if self._work.get(sequence) is not work:
            return  # It has left meanwhile.
        if number < work.lead:
            work.query = _normalised(row)
            return
        tokens = len(work.inputs[number].ids)
        if number == work.lead == 1:
            tokens += len(work.inputs[0].ids)  # The query's are counted with the first text's.
        sequence.rows.append(self._result(work, row).astype("<f4").tobytes())
        is_last = number == len(work.inputs) - 1
        if is_last:
            del self._work[sequence]
        step.tokens.append(Token(sequence, tokens, "length" if is_last else None))

    def _result(self, work: _Work, row: Rows) -> Rows:
        if work.query is not None:
            return np.array([np.dot(work.query, _normalised(row))], dtype=np.float32)
        if work.pooling.task == "rerank":
            return row
        dimensions = work.pooling.dimensions
        if dimensions is not None:
            return _normalised(row[:dimensions])
        return _normalised(row) if self._model.normalises else row

    def remove(self, sequence: Sequence) -> None:
        self._work.pop(sequence, None)

    def sequences(self) -> list[Sequence]:
        return list(self._work)

    def prefilling(self) -> list[Sequence]:
        """Those in the pass: if it raises, one of their texts is the likely reason."""
        inside = [] if self._pass is None else [place.work.sequence for place in self._pass.places]
        return [sequence for sequence in dict.fromkeys(inside) if sequence in self._work]

    def reset(self) -> None:
        self._work.clear()
        self._pass = None

    def batch_lane(self) -> PoolingBackend:
        return PoolingBackend(self._model)

    def close(self) -> None:
        self.reset()


def _next(work: _Work) -> int:
    """The input behind the one that was given last; behind a query those that have no row yet."""
    return max(work.given + 1, work.lead + work.sequence.position)


def _normalised(row: Rows) -> Rows:
    """The row with the length 1."""
    length: Rows = row / max(float(np.linalg.norm(row)), _LEAST_LENGTH)
    return length
