"""The waiting prompts of batches inside a worker: FIFO within a group, round robin over owners
and over the groups of each.

Pure: knows no engine, no model and no clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from worker.engine.batch_sequence import BatchSequence, Group


class BatchQueue:
    """The next prompt is of the owner whose last turn is longest ago, and of the owner's groups of
    the one of which that holds."""

    def __init__(self) -> None:
        self._turns: dict[str, int] = {}
        """Owner -> how many turns there had been when it had its last one."""
        self._taken = 0
        self._groups: OrderedDict[Group, deque[BatchSequence]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def __iter__(self) -> Iterator[BatchSequence]:
        return (sequence for waiting in self._groups.values() for sequence in waiting)

    def holds(self, group: Group) -> bool:
        """Whether a prompt of the group waits."""
        return group in self._groups

    def put(self, sequence: BatchSequence) -> None:
        self._groups.setdefault(sequence.group, deque()).append(sequence)

    def put_back(self, sequence: BatchSequence) -> None:
        """Put a preempted prompt before the others of its group."""
        self._groups.setdefault(sequence.group, deque()).appendleft(sequence)

    def take(self, fits: Callable[[BatchSequence], bool]) -> BatchSequence | None:
        """Remove the first prompt that fits, of those that head a group; its group goes last.

        ``fits`` may remove prompts that came to an end.
        """
        for group, waiting in sorted(self._groups.items(), key=self._last_turn):
            if waiting and fits(sequence := waiting[0]):
                self.remove(sequence)
                self._taken += 1
                self._turns[sequence.part.owner] = self._taken
                if waiting:
                    self._groups.move_to_end(group)
                return sequence
        return None

    def _last_turn(self, waiting: tuple[Group, deque[BatchSequence]]) -> int:
        return self._turns.get(waiting[1][0].part.owner, 0)

    def remove(self, sequence: BatchSequence) -> None:
        waiting = self._groups[sequence.group]
        waiting.remove(sequence)
        if not waiting:
            del self._groups[sequence.group]
