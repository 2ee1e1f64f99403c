"""Control tokens: those with which a chat template marks turns, roles and the positions of images.

Only the template writes them. In what a client sends, their characters are text: each is escaped by
a private-use character inside it before the template sees it. Encoding removes the escapes, but
not into a control token.
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

from worker.backends.text.message_form import REASONING_NAMES

Row = dict[str, Any]
_PRIVATE = range(0xE000, 0xF8FF)
"""Unicode's private-use characters: no template or tokeniser gives them a meaning."""
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
"""What mlx_vlm's processors search for, or put in place of images temporarily; a number follows the
last three."""


class Escaped(NamedTuple):
    """Messages and options for a template, every control token in them escaped by ``escape``."""

    rows: list[Row]
    options: Row
    escape: str


class ControlTokens:
    """The control tokens of one model. Thread-safe.

    They are a tokeniser's special tokens, and of its other added tokens those that the template or
    the model writes; of these, the marks of a model's own output (thinking, tool calls) may stand
    in the text of an assistant's turn.
    """

    def __init__(
        self, tokenizer: Any, template: str, own: Iterable[str] = (), others: Iterable[str] = ()
    ) -> None:
        """``own`` are the marks of a model's own output, ``others`` further texts that only a
        processor may write."""
        self._tokenizer = tokenizer
        others, own = set(others), list(own)
        written = "\n".join((template, *own))
        # Blanks are always text, and a single character can't be escaped.
        self._tokens = {
            text: token
            for token in getattr(tokenizer, "added_tokens_decoder", {}).values()
            if len(text := str(token)) > 1
            and (token.special or text in others or (text in written and not text.isspace()))
        }
        everything = {*self._tokens, *others}
        marked = {text for mark in own if mark for text in _sole_token(self._tokens, mark)}
        self._anyones, self._assistants = _Finder(everything), _Finder(everything - marked)
        self._normalizer = None
        if any(token.normalized for token in self._tokens.values()):
            # Normalising may turn other characters into a control token's, such as full-width ones.
            self._normalizer = getattr(
                getattr(tokenizer, "backend_tokenizer", None), "normalizer", None
            )
        self._lock = threading.Lock()

    def escaped(self, rows: Sequence[Row], options: Row) -> Escaped | None:
        """A conversation with its control tokens escaped; None if there are none, as nearly
        always."""
        if not any(self._contains(value, finder) for value, finder in self._values(rows, options)):
            return None
        escape = _unused_character(json.dumps([list(rows), options], ensure_ascii=False))
        escaped_rows = [
            {key: self._escape(row[key], self._finder(row, key), escape) for key in row}
            for row in rows
        ]
        return Escaped(escaped_rows, self._escape(options, self._anyones, escape), escape)

    def encode(self, text: str, escape: str, *, add_special_tokens: bool = False) -> list[int]:
        """The token ids of a template's (or a processor's) text of escaped messages."""
        in_python = getattr(self._tokenizer, "backend_tokenizer", None) is None
        ids = (
            self._encode_in_pieces(text, escape)
            if in_python
            else self._encode_renamed(text, escape)
        )
        if not add_special_tokens:
            return ids
        plain, with_special = (
            self._tokenizer.encode("a", add_special_tokens=added) for added in (False, True)
        )
        start = next(
            (i for i in range(len(with_special)) if with_special[i : i + len(plain)] == plain), 0
        )
        return [*with_special[:start], *ids, *with_special[start + len(plain) :]]

    def _encode_renamed(self, text: str, escape: str) -> list[int]:
        with self._lock:
            renamed = self._renamed
        text = renamed.written.sub(lambda match: renamed.names[match[0]], text)
        ids = renamed.tokenizer.encode(_unescaped(text, escape), add_special_tokens=False).ids
        return [renamed.ids.get(token, token) for token in ids]

    def _encode_in_pieces(self, text: str, escape: str) -> list[int]:
        """For tokenisers in Python, which can ignore added tokens."""
        ids: list[int] = []
        for piece in re.split(f"({_alternatives(self._tokens)})", text):
            if piece in self._tokens:
                ids.append(int(self._tokenizer.convert_tokens_to_ids(piece)))
            elif piece:
                encoded = self._tokenizer.encode(
                    _unescaped(piece, escape), add_special_tokens=False, split_special_tokens=True
                )
                ids += [int(token) for token in encoded]
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
            *REASONING_NAMES,
        )
        return self._assistants if own else self._anyones

    def _contains(self, value: Any, finder: _Finder) -> bool:
        if isinstance(value, str):
            return finder.finds(value) or (
                self._normalizer is not None and finder.finds(self._normalizer.normalize_str(value))
            )
        if isinstance(value, dict):
            return any(self._contains(part, finder) for pair in value.items() for part in pair)
        return isinstance(value, (list, tuple)) and any(
            self._contains(part, finder) for part in value
        )

    def _escape(self, value: Any, finder: _Finder, escape: str) -> Any:
        if isinstance(value, str):
            return finder.escape(value, escape)
        if isinstance(value, dict):
            return {
                self._escape(k, finder, escape): self._escape(v, finder, escape)
                for k, v in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self._escape(part, finder, escape) for part in value]
        return value


class _Finder:
    """Finds texts, whole ones and those that begin at the end of a string: the next string that a
    template prints may complete them.

    Case-insensitive: a template may change the case.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        texts = [text for text in texts if len(text) > 1]
        # Searching for their beginnings first takes a fiftieth of the time for a model's hundreds.
        beginnings = _alternatives({text[:3] for text in texts})
        self._pattern = re.compile(f"(?={beginnings})(?:{_alternatives(texts)})", re.IGNORECASE)
        self._beginnings = {
            text[:length].lower() for text in texts for length in range(1, len(text))
        }
        self._longest = max(map(len, self._beginnings), default=0)

    def finds(self, text: str) -> bool:
        return self._pattern.search(text) is not None or self._begun(text) is not None

    def escape(self, text: str, escape: str) -> str:
        """The text with the escape behind the first character of each."""
        begun = self._begun(text)
        if begun is not None:
            text = text[: begun + 1] + escape + text[begun + 1 :]
        return self._pattern.sub(lambda match: match[0][0] + escape + match[0][1:], text)

    def _begun(self, text: str) -> int | None:
        """Where the end of a string begins that another string could complete; templates strip
        trailing blanks."""
        end = len(text.rstrip())
        starts = range(max(0, end - self._longest), end)
        return next(
            (start for start in starts if text[start:end].lower() in self._beginnings), None
        )


class _Renamed(NamedTuple):
    """A tokeniser whose control tokens have secret names, so that no text of a client's is one."""

    tokenizer: Tokenizer
    names: dict[str, str]
    written: re.Pattern[str]
    ids: dict[int, int]

    @classmethod
    def of(cls, tokenizer: Tokenizer, tokens: Iterable[str]) -> _Renamed:
        secret = secrets.token_hex(8)
        names = {
            text: f"{chr(_PRIVATE[-1])}{secret}{index}{chr(_PRIVATE[-1])}"
            for index, text in enumerate(tokens)
        }
        content = {**json.loads(tokenizer.to_str()), "truncation": None, "padding": None}
        for token in content["added_tokens"]:
            token["content"] = names.get(token["content"], token["content"])
        _rename_vocabulary(content["model"], names)
        renamed = Tokenizer.from_str(json.dumps(content))
        added = tokenizer.get_added_tokens_decoder()
        new_ids = {
            i: renamed.token_to_id(names.get(token.content, token.content))
            for i, token in added.items()
        }
        ids = {new: i for i, new in new_ids.items() if new is not None}
        return cls(renamed, names, re.compile(_alternatives(names)), ids)


def _rename_vocabulary(model: dict[str, Any], names: dict[str, str]) -> None:
    """Rename control tokens in the vocabulary of a tokeniser's model too: plain text must not yield
    them."""
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(text, text): number for text, number in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(text, text), score] for text, score in model["vocab"]]
    if isinstance(unknown := model.get("unk_token"), str):
        model["unk_token"] = names.get(unknown, unknown)
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if not _merges_into(merge, names)]


def _merges_into(merge: list[str] | str, names: dict[str, str]) -> bool:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left + right in names or left in names or right in names


def _sole_token(tokens: Iterable[str], mark: str) -> list[str]:
    """The token that a mark is or contains, if it contains just one."""
    inside = [text for text in tokens if text in mark]
    return inside if len(inside) == 1 else []


def _alternatives(texts: Iterable[str]) -> str:
    """A pattern for any of some texts, the longest first; for none, one that nothing matches."""
    return "|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or "(?!)"


def _unused_character(text: str) -> str:
    """A private-use character that a text doesn't contain, as such or as ``\\u`` escape."""
    lowered = text.lower()
    return next(chr(n) for n in _PRIVATE[:-1] if chr(n) not in text and f"\\u{n:x}" not in lowered)


def _unescaped(text: str, escape: str) -> str:
    """A text without its escapes; some templates write them as ``\\u`` escapes."""
    return text.replace(escape, "").replace(f"\\u{ord(escape):x}", "")
