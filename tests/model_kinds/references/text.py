"""What the libraries say themselves: mlx_lm's own tokens, and the prefixes that mlx_lm.server
reuses."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.model_kinds.chats import ANSWER
from tests.model_kinds.configs.recipe import WINDOW
from tests.model_kinds.tokenizer import IDS
from wire.messages import Message

_TAIL = 11
"""Tokens at the end of a prompt among which mlx_lm.server looks for the beginning of thinking."""
GROUP = 32
"""The size of the tiny models' heads is one group of quantised values."""
CLEAR = 2e-3
"""By how much one token's logit must lead another's for the other to be wrong: closer ones are
decided by rounding."""


def rows(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages as chat templates take them."""
    return [{"role": message.role, "content": message.content} for message in messages]


class TextReference:
    """One model in mlx_lm, without a prompt cache."""

    def __init__(self, folder: Path) -> None:
        self._answers: dict[tuple[tuple[Message, ...], int], list[int]] = {}
        self._load(folder)

    def _load(self, folder: Path) -> None:
        import mlx_lm

        self.model, self.tokenizer = mlx_lm.load(str(folder))

    def prompt(self, messages: Iterable[Message], *, opened: bool = True) -> list[int]:
        """The tokens of a conversation; ``opened``: with the beginning of the next answer."""
        ids = self.tokenizer.apply_chat_template(
            rows(messages), add_generation_prompt=opened, tokenize=True
        )
        return [int(token) for token in ids]

    @functools.cached_property
    def can_be_cut(self) -> bool:
        """Whether a cache that is longer than every window still serves a shorter prefix."""
        import mlx.core as mx
        from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache

        cache = make_prompt_cache(self.model)
        for _ in range(3):
            self.model(mx.array([[i % 50 for i in range(WINDOW)]]), cache=cache)
        # Chunks that have been left say they can, and their keys are gone.
        left = any(getattr(layer, "start_position", 0) > 0 for layer in cache)
        can_say = all(hasattr(layer, "is_trimmable") for layer in cache)
        return can_say and bool(can_trim_prompt_cache(cache)) and not left

    def can_quantise(self, bits: int) -> bool:
        """Whether the model runs with its plain key-value caches quantised, and has any."""
        import mlx.core as mx
        from mlx_lm.models.cache import KVCache, make_prompt_cache

        # Of the libraries' quantised caches, mlx_vlm's alone has one for batches.
        from mlx_vlm.models.cache import QuantizedKVCache

        layers = make_prompt_cache(self.model)
        if not any(type(layer) is KVCache for layer in layers):
            return False
        quantised = [
            QuantizedKVCache(group_size=GROUP, bits=bits) if type(layer) is KVCache else layer
            for layer in layers
        ]
        try:
            mx.eval(self.model(mx.array([[1, 2, 3]]), cache=quantised))
            mx.eval(self.model(mx.array([[4]]), cache=quantised))
        except Exception:
            return False
        return True

    def answer(self, messages: Iterable[Message], tokens: int = ANSWER) -> list[int]:
        """The likeliest tokens one after another."""
        asked = (tuple(messages), tokens)
        if asked not in self._answers:
            self._answers[asked] = self._answer(*asked)
        return self._answers[asked]

    def _answer(self, messages: tuple[Message, ...], tokens: int) -> list[int]:
        import mlx_lm

        results = mlx_lm.stream_generate(
            self.model, self.tokenizer, self.prompt(messages), max_tokens=tokens
        )
        return [int(result.token) for result in results]

    def lead(self, before: list[int], one: int, other: int) -> float:
        """By how much one next token is likelier than another, as logits."""
        import mlx.core as mx

        logits = self.model(mx.array([before]))[0, -1].astype(mx.float32)
        return float((logits[one] - logits[other]).item())

    def differs(
        self, messages: list[Message], found: list[int], right: list[int], clear: float = CLEAR
    ) -> str | None:
        """Where an answer is clearly not the right one; None where it is, but for near-ties."""
        pairs = enumerate(zip(found, right, strict=False))
        at = next((i for i, (a, b) in pairs if a != b), None)
        if at is None:
            short = f"{len(found)} tokens in place of {len(right)}"
            return None if len(found) == len(right) else short
        lead = self.lead([*self.prompt(messages), *right[:at]], right[at], found[at])
        return (
            None if abs(lead) < clear else f"other text from token {at}, with a lead of {lead:.3f}"
        )


@dataclass(frozen=True)
class Kept:
    """One finished chat: its prompt, all its tokens, and where mlx_lm.server kept a cache."""

    prompt: list[int]
    tokens: list[int]
    marks: tuple[int, ...]


def kept(
    reference: TextReference, messages: list[Message], prompt: list[int], answer: list[int]
) -> Kept:
    """What mlx_lm.server keeps of a chat: caches behind the system part, before the marks of
    thinking or the prompt's last token, and at the end of the answer."""
    marks = [len(prompt) - 1, len(prompt) + len(answer)]
    system = [message for message in messages if message.role == "system"]
    if system:
        empty = reference.prompt([*system, Message(role="user", content="")], opened=False)
        marks.append(common(empty, prompt))
    if IDS["<think>"] in prompt[-_TAIL:]:
        marks.append(len(prompt) - 1 - prompt[::-1].index(IDS["<think>"]))
    return Kept(prompt, [*prompt, *answer], tuple(marks))


def reused(earlier: Iterable[Kept], prompt: list[int], *, can_be_cut: bool) -> int:
    """The prompt tokens that mlx_lm.server reads from its cache after these chats.

    A cache that can be cut serves up to the first other token; another only where it was kept.
    """
    best, most = 0, len(prompt) - 1
    for chat in earlier:
        shared = min(common(chat.tokens, prompt), most)
        if can_be_cut:
            best = max(best, shared)
        best = max([best, *(mark for mark in chat.marks if mark <= shared)])
    return best


def common(one: list[int], other: list[int]) -> int:
    """Length of the common prefix."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
