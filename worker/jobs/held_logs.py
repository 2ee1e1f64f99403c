"""The token logs this worker holds the lease on: their next numbers and positions.

Knows no Redis. Events of the same text are merged and numbered here before they are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from wire.log_entries import Entry, position_after
from wire.messages import Delta, Event, Failed, Finished, Progress, Run
from wire.token_log import Append
from worker.sequence import Sequence

Step = list[tuple[Sequence, Event]]


@dataclass(slots=True)
class HeldLog:
    """One log. ``position`` is where its next text begins, in tokens of the answer."""

    sequence: Sequence
    next_number: int
    position: int
    begun: bool = False
    """Whether text of this attempt has been put; the first event is written at once."""

    def is_urgent(self, event: Event) -> bool:
        """Whether a reader would notice a delay of the event."""
        first = not self.begun
        self.begun = self.begun or (isinstance(event, Delta) and event.prompt is None)
        return first or not isinstance(event, Delta)


@dataclass(frozen=True, slots=True)
class NumberedStep:
    """A step as appends, and the next number and position of each log after it."""

    appends: list[Append]
    reached: list[tuple[HeldLog, int, int]]

    def advance(self) -> None:
        """Go on behind what has been written, or refused: a log that is held anew by now stays
        where it is."""
        for held, number, position in self.reached:
            held.next_number, held.position = number, position


class HeldLogs:
    """Changed by several threads: each method changes one entry at once.

    ``libraries`` are versions of packages, which each end tells.
    """

    def __init__(self, libraries: Mapping[str, str]) -> None:
        self._libraries = libraries
        self._logs: dict[str, HeldLog] = {}

    def __len__(self) -> int:
        return len(self._logs)

    def hold(self, sequence: Sequence, logged: list[Entry]) -> None:
        """Add a log that earlier attempts have written this into."""
        self._logs[sequence.job_id] = HeldLog(sequence, len(logged) + 1, position_after(logged))

    def let_go(self, job_id: str) -> None:
        self._logs.pop(job_id, None)

    def sequence(self, job_id: str) -> Sequence | None:
        held = self._logs.get(job_id)
        return None if held is None else held.sequence

    def any_urgent(self, step: Step) -> bool:
        """Whether a reader would notice a delay of any of these events."""
        urgent = False
        for sequence, event in step:
            held = self._logs.get(sequence.job_id)
            urgent |= held is None or held.is_urgent(event)
        return urgent

    def numbered(self, step: Step) -> NumberedStep:
        """Number a step's events, merged; those of logs that aren't held any more are dropped."""
        appends: list[Append] = []
        reached: dict[Sequence, tuple[HeldLog, int, int]] = {}
        for sequence, event in merged(step):
            held = self._logs.get(sequence.job_id)
            if held is None or held.sequence is not sequence:
                continue
            unmoved = (held, held.next_number, held.position)
            _, number, position = reached.get(sequence, unmoved)
            if isinstance(event, (Finished, Failed)):
                event = replace(event, run=Run(self._libraries, sequence.peak_memory_bytes))
            owner, attempt = sequence.job.owner, sequence.attempt
            appends.append(Append(sequence.job_id, owner, attempt, number, event, position))
            if isinstance(event, Delta):
                position += event.positions
            if not isinstance(event, Progress):
                reached[sequence] = (held, number + 1, position)
        return NumberedStep(appends, list(reached.values()))


def merged(step: Step) -> Step:
    """The same events, in order, with each chat's consecutive deltas merged into one; an echoed
    prompt stays by itself."""
    result: Step = []
    last: dict[str, int] = {}
    for sequence, event in step:
        index = last.get(sequence.job_id)
        if index is not None and isinstance(event, Delta):
            earlier, before = result[index]
            if earlier is sequence and isinstance(before, Delta) and before.prompt is None:
                result[index] = sequence, _joined(before, event)
                continue
        last[sequence.job_id] = len(result)
        result.append((sequence, event))
    return result


def _joined(first: Delta, second: Delta) -> Delta:
    return Delta(
        first.text + second.text,
        first.token_ids + second.token_ids,
        first.reasoning + second.reasoning,
        first.tool_calls + second.tool_calls,
        first.cuts + second.cuts,
        first.logprobs + second.logprobs,
    )
