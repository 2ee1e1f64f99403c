"""From messages to the tokens of a text model's prompt."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from wire.messages import PLAIN_TEXT, Message, OutputFormat
from worker.backends.text.chat_template import (
    Row,
    apply_template,
    own_marks,
    template_options,
    texts,
)
from worker.backends.text.control_tokens import ControlTokens
from worker.backends.text.formats.chat_format import chat_format
from worker.backends.text.harmony_history import split_answers
from worker.backends.text.message_form import MessageForm
from worker.backends.text.template_text import template_source

log = logging.getLogger(__name__)


class PromptEncoder:
    """Encodes one model's prompts. Thread-safe."""

    def __init__(self, tokenizer: Any, wrapped: Any) -> None:
        """``tokenizer`` is mlx_lm's wrapper of the tokeniser ``wrapped``."""
        self._tokenizer = tokenizer
        source = template_source(tokenizer)
        self.controls = ControlTokens(wrapped, source, own_marks(tokenizer))
        self._format = chat_format(tokenizer)
        self._form = MessageForm()
        if tokenizer.has_chat_template:
            tools = self._format.tools
            self._form = MessageForm.of(
                source,
                lambda rows: self._rendered(rows, {}),
                write=None if tools is None else tools.write,
            )
        if warning := self._form.warning():
            log.warning("%s", warning)

    def encode(self, messages: Sequence[Message], form: OutputFormat = PLAIN_TEXT) -> list[int]:
        """The tokens of a prompt; in a raw one, control tokens are control tokens."""
        if form.raw:
            return self._encoded("".join(message.text() for message in messages))
        rows, options = texts(messages), {}
        if self._format.is_harmony:
            rows = split_answers(rows)
        templated = self._tokenizer.has_chat_template
        if templated or form.template_options:
            options = template_options(form, self._tokenizer)
        # Before messages are shaped: the names of parts, and calls that are written into the text,
        # are the template's.
        escaped = self.controls.escaped(rows, options)
        if escaped is not None:
            rows, options = escaped.rows, escaped.options
        if templated:
            rows = self._form.shaped(rows)
        if escaped is not None:
            text = self._rendered(rows, options) if templated else _plain(rows)
            ids = self.controls.encode(text, escaped.escape, add_special_tokens=not templated)
        elif not templated:
            ids = self._encoded(_plain(rows))
        else:
            ids = [int(i) for i in apply_template(self._tokenizer, rows, options, tokenize=True)]
        start = self._format.answer_start if form.json_schema is not None else ""
        return [*ids, *self._encoded(start, add_special_tokens=False)] if start else ids

    def _rendered(self, rows: list[Row], options: Row) -> str:
        return str(apply_template(self._tokenizer, rows, options, tokenize=False))

    def _encoded(self, text: str, **options: bool) -> list[int]:
        return [int(token) for token in self._tokenizer.encode(text, **options)]


def _plain(rows: Sequence[Row]) -> str:
    """A conversation for a model without a chat template."""
    return "".join(f"{row['role']}: {row['content']}\n" for row in rows) + "assistant:"
