"""Log-probabilities in OpenAI's two shapes: of chats, and the older one of completions. Pure."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from typing import Any

from wire.messages import Delta, Finished, TokenLogprob, token_text

Json = dict[str, Any]


def chat_logprobs(told: Iterable[TokenLogprob]) -> Json:
    """Those of a chat: every token of the answer, thinking and calls included."""
    return {"content": [one.view() for one in told], "refusal": None}


class TextLogprobs:
    """Those of one completion, event by event; the offsets count its characters, and those of an
    echoed prompt."""

    def __init__(self) -> None:
        self._length = 0

    def of(self, event: Delta | Finished) -> Json | None:
        """Those of one event; None if it has none."""
        if isinstance(event, Finished):
            return None if event.last is None else _lists([event.last], [self._length])
        if event.prompt is not None:
            return self._of_prompt(event.text, event.prompt)
        offsets: list[int] = []
        for piece in event.cuts:
            told = event.logprobs[len(offsets) : len(offsets) + piece.tokens]
            offsets += _offsets([one.token for one in told], self._length, piece.text)
            self._length += piece.text
        return _lists(event.logprobs, offsets) if event.logprobs else None

    def _of_prompt(self, text: str, told: Sequence[TokenLogprob]) -> Json | None:
        tokens = [one.token for one in told]
        written, prompt = b"".join(tokens), text.encode()
        # A mark of the beginning is no text of the prompt.
        added = len(written) - len(prompt) if written.endswith(prompt) else 0
        offsets = _offsets(tokens, self._length, len(text), added)
        self._length += len(text)
        return _lists(told, offsets) if told else None


def joined(parts: Iterable[Json | None]) -> Json | None:
    """Those of several events as one; None if none has any."""
    whole: Json | None = None
    for part in filter(None, parts):
        whole = part if whole is None else {name: whole[name] + part[name] for name in whole}
    return whole


def _offsets(tokens: Iterable[bytes], start: int, length: int, added: int = 0) -> list[int]:
    """Where the tokens begin in a text of so many characters; the first ``added`` bytes are none of
    it. A token inside a character begins where this does."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    offsets, seen = [], 0
    for token in tokens:
        offsets.append(start + min(seen, length))
        seen += len(decoder.decode(token[added:]))
        added = max(0, added - len(token))
    return offsets


def _lists(told: Iterable[TokenLogprob], offsets: list[int]) -> Json:
    told = list(told)
    return {
        "tokens": [_text(one.token) for one in told],
        "token_logprobs": [one.logprob for one in told],
        "top_logprobs": [_top(one) for one in told],
        "text_offset": offsets,
    }


def _top(one: TokenLogprob) -> dict[str, float] | None:
    """The likeliest tokens and the token itself, as OpenAI has them; None where nothing came
    before. Of two tokens that are written alike the likelier counts."""
    if one.logprob is None:
        return None
    top: dict[str, float] = {}
    for token, logprob in (*one.top, (one.token, one.logprob)):
        top.setdefault(_text(token), logprob)
    return top


def _text(token: bytes) -> str:
    """A token as completions have it, where one that is no whole characters is marked."""
    text = token_text(token)
    return text if text.encode() == token else f"bytes:{text}"
