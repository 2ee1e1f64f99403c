"""What mlx_vlm says itself: its own tokens, with and without pictures."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.model_kinds.chats import text_of
from tests.model_kinds.configs.vision.recipe import VisionRecipe
from tests.model_kinds.pictures import BY_NAME
from tests.model_kinds.references.text import TextReference
from wire.messages import ImagePart, Message
from worker.backends.vision.own_code import register_configurations
from worker.backends.vision.repairs import repair
from worker.backends.vision.tiles import complete_tiles

SEEN = 1e-3
"""By how much a log probability must change for a picture to matter: rounding changes less."""


def parts(message: Message, *, text_alone: bool = False) -> Any:
    """A message's content as chat templates take it; ``text_alone``: they take a string as well."""
    if isinstance(message.content, str):
        written = message.content
        return written if text_alone else [_text_part(written)]
    return [
        {"type": "image"} if isinstance(part, ImagePart) else _text_part(part.text)
        for part in message.content
    ]


def in_text(message: Message, picture: str, numbers: Iterator[int]) -> str:
    """A message's content as templates for strings take it, with ``picture`` for each picture."""
    if isinstance(message.content, str):
        return message.content
    return "".join(
        picture.format(n=next(numbers)) if isinstance(part, ImagePart) else part.text
        for part in message.content
    )


def _text_part(text: str) -> dict[str, str]:
    """A text as mlx_vlm hands it to templates, which look for it under either name."""
    return {"type": "text", "text": text, "content": text}


class VisionReference(TextReference):
    """One model in mlx_vlm, without a prompt cache."""

    def __init__(self, recipe: VisionRecipe, folder: Path) -> None:
        self._recipe = recipe
        super().__init__(folder)

    def _load(self, folder: Path) -> None:
        import mlx_vlm

        register_configurations()
        self.whole, self.processor = mlx_vlm.load(str(folder), trust_remote_code=False)
        complete_tiles(self.processor)
        repair(self.whole)
        self.model = self.whole.language_model
        self.tokenizer = getattr(self.processor, "tokenizer", self.processor)
        own = getattr(self.processor, "chat_template", None) and hasattr(
            self.processor, "apply_chat_template"
        )
        self._owner = self.processor if own else self.tokenizer

    def text(self, messages: Iterable[Message], *, opened: bool = True) -> str:
        if self._recipe.content == "text":
            numbers, picture = itertools.count(1), self._recipe.picture
            texts = [(m.role, in_text(m, picture, numbers)) for m in messages]
            return self._rendered([{"role": r, "content": t} for r, t in texts], opened=opened)
        alone = self._takes_text
        rows = [{"role": m.role, "content": parts(m, text_alone=alone)} for m in messages]
        return self._rendered(rows, opened=opened)

    @functools.cached_property
    def _takes_text(self) -> bool:
        return "probe" in self._rendered([{"role": "user", "content": "probe"}], opened=False)

    def _rendered(self, rows: list[dict[str, Any]], *, opened: bool) -> str:
        return str(
            self._owner.apply_chat_template(rows, add_generation_prompt=opened, tokenize=False)
        )

    def prompt(self, messages: Iterable[Message], *, opened: bool = True) -> list[int]:
        from mlx_vlm.utils import prepare_inputs

        messages = list(messages)
        inputs = prepare_inputs(
            self.processor,
            images=pictures_of(messages) or None,
            prompts=[self.text(messages, opened=opened)],
            image_token_index=getattr(self.whole.config, "image_token_index", None),
        )
        return [int(token) for token in inputs["input_ids"][0].tolist()]

    def _answer(self, messages: tuple[Message, ...], tokens: int) -> list[int]:
        *_, last = self._results(list(messages), tokens)
        return [int(token) for token in last.token_ids]

    def differs(
        self, messages: list[Message], found: list[int], right: list[int], clear: float = 2e-3
    ) -> str | None:
        self._asked = messages
        return super().differs(messages, found, right, clear)

    def lead(self, before: list[int], one: int, other: int) -> float:
        """By how much one next token is likelier than another behind the conversation in hand."""
        said = before[len(self.prompt(self._asked)) :]
        first, *_ = self._results(self._asked, 1, text_of(said))
        return float(first.logprobs[one] - first.logprobs[other])

    def changes(self, messages: list[Message], others: list[Message]) -> bool:
        """Whether the first token's probabilities are others after another conversation."""
        first, other = (self._results(said, 1)[0].logprobs for said in (messages, others))
        return float(abs(first - other).max()) > SEEN

    def _results(self, messages: list[Message], tokens: int, said: str = "") -> list[Any]:
        """The library's results behind a conversation and the beginning of its answer."""
        import mlx_vlm

        return list(
            mlx_vlm.stream_generate(
                self.whole,
                self.processor,
                self.text(messages) + said,
                image=pictures_of(messages) or None,
                max_tokens=tokens,
                temperature=0.0,
            )
        )


def pictures_of(messages: Iterable[Message]) -> list[Any]:
    return [BY_NAME[part.sha256] for message in messages for part in message.images()]


class NamedIds(VisionReference):
    """A model that has another name for the token ids than mlx_vlm's generation, which fails."""

    def _load(self, folder: Path) -> None:
        super()._load(folder)
        kind = type(self.model)
        original = kind.__call__

        def named(model: Any, *args: Any, **options: Any) -> Any:
            ids = (options.pop("inputs"),) if "inputs" in options else ()
            return original(model, *ids, *args, **options)

        kind.__call__ = named
