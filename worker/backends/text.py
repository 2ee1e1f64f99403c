"""From token ids to text that may be shown: whole characters, stop texts cut out."""

from __future__ import annotations

from typing import Any

from mlx_lm.generate import TextStateMachine

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class StreamingDecoder:
    """mlx_lm's streaming detokeniser, followed by its text state machine for the stop texts."""

    def __init__(self, tokenizer: Any, stop: tuple[str, ...]) -> None:
        self.stopped = False
        self._detokenizer = tokenizer.detokenizer
        machine = TextStateMachine({"normal": [(text, None) for text in stop]}) if stop else None
        self._state = machine.make_state() if machine else None

    def add(self, token: int) -> str:
        self._detokenizer.add_token(token)
        return self._show(self._detokenizer.last_segment)

    def finish(self) -> str:
        self._detokenizer.finalize()
        # A character cut in the middle comes out as a replacement character: the reader gets only whole ones.
        text = self._show(self._detokenizer.last_segment.rstrip(REPLACEMENT))
        if self._state is not None and not self.stopped:
            self._state, held, _ = TextStateMachine.flush(self._state)
            text += held
        return text

    def _show(self, text: str) -> str:
        if self._state is None or self.stopped:
            return "" if self.stopped else text
        self._state, shown, state = TextStateMachine.step(self._state, text)
        self.stopped = state is None
        return str(shown)
