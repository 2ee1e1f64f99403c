"""From messages to the tokens of a text model's prompt."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from wire.messages import PLAIN_TEXT, Message, OutputFormat
from worker.backends.text.chat_template import (
    Row,
    apply_template,
    guided_start,
    own_marks,
    template_options,
    texts,
)
from worker.backends.text.continuation import continued, goes_on
from worker.backends.text.control_tokens import ControlTokens, Escaped
from worker.backends.text.formats.chat_format import chat_format
from worker.backends.text.formats.prompt_tools import with_tools
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
        self._templated = bool(tokenizer.has_chat_template)
        if self._templated:
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
        if form.prompt_tools:
            messages = with_tools(messages, form.tools, takes_system=self._form.takes_system)
        rows, options = texts(messages), {}
        if self._format.is_harmony:
            rows = split_answers(rows)
        templated = self._templated
        if templated or form.template_options:
            options = template_options(form, self._tokenizer)
        # Before messages are shaped: the names of parts, and calls that are written into the text,
        # are the template's.
        escaped = self.controls.escaped(rows, options)
        if escaped is not None:
            rows, options = escaped.rows, escaped.options
        if form.continue_final and goes_on(rows):
            ids = self._ids(self._continued(rows, options), escaped)
        elif escaped is None and templated:
            shaped = self._form.shaped(rows)
            ids = [int(i) for i in apply_template(self._tokenizer, shaped, options, tokenize=True)]
        else:
            ids = self._ids(self.render(rows, options), escaped)
        if not form.is_guided:
            return ids
        thinking = self._format.thinking
        is_open = thinking is not None and thinking.is_open(ids)
        start = guided_start(options, self._format, form, is_open=is_open)
        return [*ids, *self._encoded(start, add_special_tokens=False)]

    def render(self, rows: Sequence[Row], options: Row | None = None, *, opens: bool = True) -> str:
        """The text of a conversation; ``opens``: with what begins a new answer."""
        if not self._templated:
            return "".join(f"{row['role']}: {row['content']}\n" for row in rows) + (
                "assistant:" if opens else ""
            )
        return self._rendered(self._form.shaped(rows), options or {}, opens=opens)

    def _continued(self, rows: Sequence[Row], options: Row) -> str:
        return continued(
            rows,
            lambda turns, opens: self.render(turns, options, opens=opens),
            self._format.thinking,
        )

    def _ids(self, text: str, escaped: Escaped | None) -> list[int]:
        """The tokens of a rendered conversation."""
        if escaped is None:
            return self._encoded(text, add_special_tokens=not self._templated)
        return self.controls.encode(text, escaped.escape, add_special_tokens=not self._templated)

    def _rendered(self, rows: list[Row], options: Row, *, opens: bool = True) -> str:
        rendered = apply_template(self._tokenizer, rows, options, tokenize=False, opens=opens)
        return str(rendered)

    def _encoded(self, text: str, **options: bool) -> list[int]:
        return [int(token) for token in self._tokenizer.encode(text, **options)]
