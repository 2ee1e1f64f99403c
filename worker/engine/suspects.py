"""The one suspect prompt of a batch that may be inside the engine at a time.

It is inside from before its model is loaded and its prompt prepared until its end, and marked
before: so a crash at any stage is known to be its own. Runs on the engine's thread.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.engine.batch_sequence import BatchSequence

Mark = Callable[[BatchSequence], None]


class SuspectSlot:
    """``enter`` marks a suspect before it is let in; ``leave`` unmarks one that waits again."""

    def __init__(self, enter: Mark, leave: Mark) -> None:
        self._enter, self._leave = enter, leave
        self.inside: BatchSequence | None = None

    def keeps_out(self, sequence: BatchSequence) -> bool:
        """Whether a prompt has to wait for another suspect's end."""
        return sequence.suspect and self.inside not in (None, sequence)

    def let_in(self, sequence: BatchSequence) -> None:
        """Called before anything is done with a prompt; does nothing unless it is a suspect."""
        if sequence.suspect and self.inside is not sequence:
            self._enter(sequence)
            self.inside = sequence

    def put_out(self, sequence: BatchSequence | None) -> None:
        """The prompt waits again, unless it is being prepared: that can't be interrupted."""
        if sequence is not None and sequence is self.inside and not sequence.preparing:
            self._leave(sequence)
            self.inside = None

    def ended(self, sequence: BatchSequence) -> None:
        """The mark stays: until its result is written, a crash may still be its own."""
        if sequence is self.inside:
            self.inside = None
