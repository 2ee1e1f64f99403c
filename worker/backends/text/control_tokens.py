"""Control tokens: those by which a chat template says where a turn begins, who speaks and where a
picture stands.

Only the template writes them. In whatever a client sends, their characters are text: every one is
broken by a private character before the template sees it, and encoded with its pieces put together
again, but not as a control token.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from tokenizers import Tokenizer

Row = dict[str, Any]
_PRIVATE = range(0xE000, 0xF8FF)
"""Unicode's private characters: no template and no tokeniser does anything with them."""
PLACEHOLDERS = (
    "<placeholder>",
    "<image>",
    "<video>",
    "<audio>",
    "<|placeholder|>",
    "<|image_placeholder|>",
    "<|video_placeholder|>",
    "<|audio_placeholder|>",
    "<|kimi_image_placeholder|>",
    "<|minimax_m3_image_placeholder|>",
    "<|minimax_m3_video_placeholder|>",
    "<mlx_image_placeholder>",
    "<mlx_video_placeholder>",
    "<|image_",
    "<|audio_",
    "<image-",
)
"""What mlx_vlm's processors look for, or put in place of pictures for a while; a number follows
the last three."""


class Broken(NamedTuple):
    """Messages and options for a template, no control token in them left whole; ``breaker`` is
    in each."""

    rows: list[Row]
    options: Row
    breaker: str


class ControlTokens:
    """One model's. Safe to use from several threads.

    They are a tokeniser's special tokens, and of its other added tokens those that the template
    writes; of these, the ones by which a model marks its own words (thinking, calls of tools) may
    stand in the text of an assistant's turn.
    """

    def __init__(
        self, tokenizer: Any, template: str, own: Iterable[str] = (), others: Iterable[str] = ()
    ) -> None:
        """``own`` are the marks of a model's own words, ``others`` further texts that only a
        processor may write."""
        self._tokenizer = tokenizer
        others = set(others)
        # Blanks are text wherever they stand, and a single character can't be broken.
        self._tokens = {
            text: token
            for token in getattr(tokenizer, "added_tokens_decoder", {}).values()
            if len(text := str(token)) > 1
            and (token.special or text in others or (text in template and not text.isspace()))
        }
        everything = {*self._tokens, *others}
        marked = {text for mark in own if mark for text in _only(self._tokens, mark)}
        self._anyones, self._assistants = _Finder(everything), _Finder(everything - marked)
        self._normalizer = None
        if any(token.normalized for token in self._tokens.values()):
            # Other characters may become a control token's on the way, as full-width ones do.
            self._normalizer = getattr(
                getattr(tokenizer, "backend_tokenizer", None), "normalizer", None
            )
        self._lock = threading.Lock()

    def broken(self, rows: Sequence[Row], options: Row) -> Broken | None:
        """A conversation with its control tokens broken; None if there are none, as nearly
        always."""
        if not any(self._found(value, finder) for value, finder in self._values(rows, options)):
            return None
        breaker = _breaker(json.dumps([list(rows), options], ensure_ascii=False))
        told = [
            {key: self._break(row[key], self._finder(row, key), breaker) for key in row}
            for row in rows
        ]
        return Broken(told, self._break(options, self._anyones, breaker), breaker)

    def encode(self, text: str, breaker: str, *, add_special_tokens: bool = False) -> list[int]:
        """The token ids of what a template (or a processor) made of broken messages."""
        in_python = getattr(self._tokenizer, "backend_tokenizer", None) is None
        ids = (
            self._encode_in_pieces(text, breaker)
            if in_python
            else self._encode_renamed(text, breaker)
        )
        if not add_special_tokens:
            return ids
        alone, dressed = (
            self._tokenizer.encode("a", add_special_tokens=added) for added in (False, True)
        )
        start = next((i for i in range(len(dressed)) if dressed[i : i + len(alone)] == alone), 0)
        return [*dressed[:start], *ids, *dressed[start + len(alone) :]]

    def _encode_renamed(self, text: str, breaker: str) -> list[int]:
        with self._lock:
            renamed = self._renamed
        whole = renamed.written.sub(lambda found: renamed.names[found[0]], text)
        ids = renamed.tokenizer.encode(_joined(whole, breaker), add_special_tokens=False).ids
        return [renamed.ids.get(token, token) for token in ids]

    def _encode_in_pieces(self, text: str, breaker: str) -> list[int]:
        """For tokenisers in Python, which have a way to leave added tokens alone."""
        ids: list[int] = []
        for piece in re.split(f"({_alternatives(self._tokens)})", text):
            if piece in self._tokens:
                ids.append(int(self._tokenizer.convert_tokens_to_ids(piece)))
            elif piece:
                plain = _joined(piece, breaker)
                found = self._tokenizer.encode(
                    plain, add_special_tokens=False, split_special_tokens=True
                )
                ids += [int(token) for token in found]
        return ids

    @cached_property
    def _renamed(self) -> _Renamed:
        return _Renamed.of(self._tokenizer.backend_tokenizer, self._tokens)

    def _values(self, rows: Sequence[Row], options: Row) -> Iterable[tuple[Any, _Finder]]:
        yield from ((value, self._finder(row, key)) for row in rows for key, value in row.items())
        yield options, self._anyones

    def _finder(self, row: Row, key: str) -> _Finder:
        own = row.get("role") == "assistant" and key in (
            "content",
            "reasoning",
            "reasoning_content",
        )
        return self._assistants if own else self._anyones

    def _found(self, value: Any, finder: _Finder) -> bool:
        if isinstance(value, str):
            return finder.finds(value) or (
                self._normalizer is not None and finder.finds(self._normalizer.normalize_str(value))
            )
        if isinstance(value, dict):
            return any(self._found(part, finder) for pair in value.items() for part in pair)
        return isinstance(value, (list, tuple)) and any(self._found(part, finder) for part in value)

    def _break(self, value: Any, finder: _Finder, breaker: str) -> Any:
        if isinstance(value, str):
            return finder.broken(value, breaker)
        if isinstance(value, dict):
            return {
                self._break(k, finder, breaker): self._break(v, finder, breaker)
                for k, v in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self._break(part, finder, breaker) for part in value]
        return value


class _Finder:
    """Finds texts, whole ones and what a text may begin that goes on in the next thing a template
    prints.

    Upper and lower case are the same to it: a template may change them.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        texts = [text for text in texts if len(text) > 1]
        # Looked for by their beginnings first, a model's hundreds take a fiftieth of the time.
        beginnings = _alternatives({text[:3] for text in texts})
        self._pattern = re.compile(f"(?={beginnings})(?:{_alternatives(texts)})", re.IGNORECASE)
        self._beginnings = {
            text[:length].lower() for text in texts for length in range(1, len(text))
        }
        self._longest = max(map(len, self._beginnings), default=0)

    def finds(self, text: str) -> bool:
        return self._pattern.search(text) is not None or self._begun(text) is not None

    def broken(self, text: str, breaker: str) -> str:
        """The text with the breaker behind the first character of each."""
        begun = self._begun(text)
        if begun is not None:
            text = text[: begun + 1] + breaker + text[begun + 1 :]
        return self._pattern.sub(lambda found: found[0][0] + breaker + found[0][1:], text)

    def _begun(self, text: str) -> int | None:
        """Where a text's end begins that another text could complete; templates strip blanks
        from ends."""
        end = len(text.rstrip())
        starts = range(max(0, end - self._longest), end)
        return next(
            (start for start in starts if text[start:end].lower() in self._beginnings), None
        )


class _Renamed(NamedTuple):
    """A tokeniser whose control tokens have secret names: no text is one of them, whatever it
    says."""

    tokenizer: Tokenizer
    names: dict[str, str]
    written: re.Pattern[str]
    ids: dict[int, int]

    @classmethod
    def of(cls, tokenizer: Tokenizer, tokens: Iterable[str]) -> _Renamed:
        secret = secrets.token_hex(8)
        names = {
            text: f"{chr(_PRIVATE[-1])}{secret}{place}{chr(_PRIVATE[-1])}"
            for place, text in enumerate(tokens)
        }
        content = {**json.loads(tokenizer.to_str()), "truncation": None, "padding": None}
        for token in content["added_tokens"]:
            token["content"] = names.get(token["content"], token["content"])
        _rename_vocabulary(content["model"], names)
        renamed = Tokenizer.from_str(json.dumps(content))
        added = tokenizer.get_added_tokens_decoder()
        now = {
            i: renamed.token_to_id(names.get(token.content, token.content))
            for i, token in added.items()
        }
        ids = {new: i for i, new in now.items() if new is not None}
        return cls(renamed, names, re.compile(_alternatives(names)), ids)


def _rename_vocabulary(model: dict[str, Any], names: dict[str, str]) -> None:
    """Control tokens that the model under a tokeniser knows as well must not come out of plain
    text."""
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(text, text): number for text, number in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(text, text), score] for text, score in model["vocab"]]
    if isinstance(unknown := model.get("unk_token"), str):
        model["unk_token"] = names.get(unknown, unknown)
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if not _makes(merge, names)]


def _makes(merge: list[str] | str, names: dict[str, str]) -> bool:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left + right in names or left in names or right in names


def _only(tokens: Iterable[str], mark: str) -> list[str]:
    """The token that a mark is, or holds beside a word; not those of a mark made of several."""
    inside = [text for text in tokens if text in mark]
    return inside if len(inside) == 1 else []


def _alternatives(texts: Iterable[str]) -> str:
    """A pattern for any of some texts, the longest first; for none, one that nothing matches."""
    return "|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or "(?!)"


def _breaker(text: str) -> str:
    """A private character that isn't in a text, nor written out."""
    lowered = text.lower()
    return next(chr(n) for n in _PRIVATE[:-1] if chr(n) not in text and f"\\u{n:x}" not in lowered)


def _joined(text: str, breaker: str) -> str:
    """A text without its breakers; some templates write them out."""
    return text.replace(breaker, "").replace(f"\\u{ord(breaker):x}", "")
