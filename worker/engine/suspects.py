"""The one prompt of a batch at a time that may be what kills its workers, while it is inside.

Inside means from before its model is loaded and its prompt is prepared to its end: whatever of it
kills the process, it has been written down before. Runs on the engine's thread; where it is written
down is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.engine.batch_sequence import BatchSequence

Tell = Callable[[BatchSequence], None]


class SuspectSlot:
    """``note`` writes a suspect down before it is let in, ``clear`` strikes it out when it waits
    again."""

    def __init__(self, note: Tell, clear: Tell) -> None:
        self._note, self._clear = note, clear
        self.inside: BatchSequence | None = None

    def keeps_out(self, sequence: BatchSequence) -> bool:
        """Whether a prompt has to wait for another suspect's end."""
        return sequence.suspect and self.inside not in (None, sequence)

    def let_in(self, sequence: BatchSequence) -> None:
        """To be called before anything is done with a prompt; only a suspect is of interest."""
        if sequence.suspect and self.inside is not sequence:
            self._note(sequence)
            self.inside = sequence

    def put_out(self, sequence: BatchSequence | None) -> None:
        """It waits again, unless it is just being prepared: that can't be interrupted."""
        if sequence is not None and sequence is self.inside and not sequence.preparing:
            self._clear(sequence)
            self.inside = None

    def ended(self, sequence: BatchSequence) -> None:
        """What is written down stays: until its result is written, a crash may still have been its
        own."""
        if sequence is self.inside:
            self.inside = None
