"""The prompts of batches that wait inside a worker, a batch's behind one another, the batches in turn.

Pure: knows no engine, no model and no clock but the one it is given.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from worker.prompt_sequence import PromptSequence


class PromptQueue:
    """Waiting prompts. Whose turn it is: the batch that has had none for longest."""

    def __init__(self) -> None:
        self._batches: OrderedDict[str, deque[PromptSequence]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._batches.values()))

    def __iter__(self) -> Iterator[PromptSequence]:
        return (sequence for waiting in self._batches.values() for sequence in waiting)

    def put(self, sequence: PromptSequence) -> None:
        self._batches.setdefault(sequence.batch_id, deque()).append(sequence)

    def put_back(self, sequence: PromptSequence) -> None:
        """Put a prompt before the others of its batch: it has been inside already."""
        self._batches.setdefault(sequence.batch_id, deque()).appendleft(sequence)

    def take(self, fits: Callable[[PromptSequence], bool]) -> PromptSequence | None:
        """The first prompt of the first batch whose first prompt fits; that batch goes behind the others.

        ``fits`` may remove prompts that came to an end.
        """
        for batch_id, waiting in list(self._batches.items()):
            sequence = waiting[0]
            if fits(sequence):
                self.remove(sequence)
                if waiting:
                    self._batches.move_to_end(batch_id)
                return sequence
        return None

    def remove(self, sequence: PromptSequence) -> None:
        waiting = self._batches[sequence.batch_id]
        waiting.remove(sequence)
        if not waiting:
            del self._batches[sequence.batch_id]
