"""A tokeniser's tokenizer.json, with the tokens that its other files add."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_ADDED = re.compile(rb'"added_tokens"\s*:\s*(?=\[)')
"""Where added tokens begin; as a word of the vocabulary the name has a number behind it."""
_FIELDS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_WINDOW = 1 << 16
"""Bytes that most lists of added tokens fit into."""


def tokenizer_json(tokenizer: Any) -> bytes:
    """``tokenizer`` is mlx_lm's wrapper.

    The file is read again, and never whole as text: a tokeniser of 262,144 words that writes itself
    keeps the GIL for a second.
    """
    wrapped = tokenizer._tokenizer
    file = Path(getattr(wrapped, "name_or_path", "")) / "tokenizer.json"
    content = file.read_bytes() if file.is_file() else b""
    begin = _ADDED.search(content)
    if begin is None:  # The tokeniser was made from files of another kind.
        return str(wrapped.backend_tokenizer.to_str()).encode()
    added = [
        {"id": number, "content": token.content} | {name: getattr(token, name) for name in _FIELDS}
        for number, token in sorted(wrapped.added_tokens_decoder.items())
    ]
    end = _end_of_list(content, begin.end())
    return b"".join((content[: begin.end()], json.dumps(added).encode(), content[end:]))


def _end_of_list(content: bytes, begin: int) -> int:
    """Where a JSON list that begins there ends."""
    window = _WINDOW
    while True:
        text = content[begin : begin + window].decode(errors="ignore")
        try:
            _, length = json.JSONDecoder().raw_decode(text)
        except ValueError:
            if begin + window >= len(content):
                raise
            window *= 4
        else:
            return begin + len(text[:length].encode())
