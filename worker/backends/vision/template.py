"""A vision model's chat template: messages with images in, the text for its processor out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import accumulate, count
from typing import Any

from mlx_vlm.prompt_utils import (
    MODEL_CONFIG,
    MessageFormat,
    apply_chat_template,
    get_message_json,
)

from wire.messages import ImagePart, Message
from worker.backends.text.chat_template import Row, apply_template, row
from worker.backends.text.message_form import MessageForm, as_parts
from worker.backends.text.template_text import template_source

log = logging.getLogger(__name__)
IMAGE = {"type": "image"}
_PROBE = "probeword"


class VisionTemplate:
    """The template of ``owner``, a processor or a tokeniser. Thread-safe.

    In a row's content, a message with images is a list of its texts, and None for each image, until
    it is rendered: what is a client's can be escaped meanwhile, and nothing else.
    """

    def __init__(self, owner: Any, processor: Any, config: Any, *, sees_images: bool) -> None:
        self._owner = owner
        self._processor = processor
        self._config = config
        self._sees_images = sees_images
        self._form, self._takes_images = MessageForm(), True
        self._is_there = bool(getattr(owner, "chat_template", None))
        if self._is_there:
            self._form = MessageForm.of(template_source(owner), self._apply)
            self._takes_images = self._shows_text_beside_image()
        if warning := self._form.warning():
            log.warning("%s", warning)

    @property
    def takes_system(self) -> bool:
        """Whether the template takes a system message."""
        return self._form.takes_system

    def rows(self, messages: Sequence[Message]) -> list[Row]:
        """A conversation for :meth:`render`."""
        return [row(message, self._content(message)) for message in messages]

    def render(self, rows: Sequence[Row], options: Row | None = None, *, opens: bool = True) -> str:
        """The text of a conversation, with a mark for each image; ``opens``: with what begins a new
        answer."""
        if self._is_there:
            shaped = self._form.shaped(self._with_images(rows))
            return self._apply(shaped, options, opens=opens)
        texts = [row | {"content": _text(row["content"])} for row in rows]
        images = sum(_images(row["content"]) for row in rows)
        return str(apply_chat_template(self._processor, self._config, texts, num_images=images))

    def _content(self, message: Message) -> Any:
        if isinstance(message.content, str) or not (self._sees_images and message.images()):
            return message.text()
        return [None if isinstance(part, ImagePart) else part.text for part in message.content]

    def _with_images(self, rows: Sequence[Row]) -> list[Row]:
        """Messages as the template takes them: images as parts, or as the marks in the text that
        the processor looks for."""
        before = list(accumulate((_images(row["content"]) for row in rows), initial=0))
        return [
            row | {"content": self._shown(row, shown)} if isinstance(row["content"], list) else row
            for row, shown in zip(rows, before, strict=False)
        ]

    def _shown(self, row: Row, before: int) -> Any:
        """The content of a message that shows images, behind ``before`` images."""
        content, family = row["content"], self._config.model_type
        parts = [IMAGE if piece is None else {"type": "text", "text": piece} for piece in content]
        if self._takes_images:
            return parts
        if MODEL_CONFIG.get(family) is MessageFormat.NUMBERED_IMAGE_TOKENS:
            # The library begins anew in each message, and its processors want no number twice.
            numbers = count(before + 1)
            marks = (f"<|image_{next(numbers)}|>" if piece is None else piece for piece in content)
            return "".join(marks)
        marked = get_message_json(family, parts, row["role"], num_images=_images(content))
        return marked["content"] if isinstance(marked, dict) else marked

    def _shows_text_beside_image(self) -> bool:
        parts = as_parts([IMAGE, {"type": "text", "text": _PROBE}])
        try:
            shown = self._apply([{"role": "user", "content": parts}])
        except Exception:  # Templates raise errors of any type.
            return False
        # One for strings may print the list, as Python writes it.
        return _PROBE in shown.lower() and "'type'" not in shown

    def _apply(self, rows: list[Row], options: Row | None = None, *, opens: bool = True) -> str:
        rendered = apply_template(self._owner, rows, options or {}, tokenize=False, opens=opens)
        return str(rendered)


def _images(content: Any) -> int:
    return content.count(None) if isinstance(content, list) else 0


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(piece for piece in content if piece)
