"""A folder's tokenizer.json: texts to tokens, several at once, beside other threads."""

from __future__ import annotations

from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from worker.backends.pooling.model import Input
from worker.errors import WorkerError

_AT_ONCE = 256


class TextTokenizer:
    """Thread-safe. Raises WorkerError for a folder without the file."""

    def __init__(self, folder: Path) -> None:
        file = folder / "tokenizer.json"
        if not file.is_file():
            sentence = "The model's folder has no tokenizer.json, which embedding models need here."
            raise WorkerError("load_failed", sentence)
        self._tokenizer = Tokenizer.from_file(str(file))
        # What the file says about them is for training: lengths are settled by the job.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def id_of(self, token: str) -> int:
        """A token's number. Raises WorkerError if there is none."""
        number = self._tokenizer.token_to_id(token)
        if number is None:
            raise WorkerError("load_failed", f"The model's tokeniser has no token {token!r}.")
        return int(number)

    def encode(
        self, texts: Items[str] | Items[tuple[str, str]], *, special: bool = True
    ) -> tuple[list[Input], list[int]]:
        """The tokens of texts or pairs, and how many at the end of each are no text's."""
        inputs, tails = [], []
        for start in range(0, len(texts), _AT_ONCE):
            some = self._tokenizer.encode_batch(
                list(texts[start : start + _AT_ONCE]), add_special_tokens=special
            )
            for one in some:
                inputs.append(Input(one.ids, one.type_ids))
                tails.append(_tail(one.special_tokens_mask))
        return inputs, tails


def _tail(mask: list[Any]) -> int:
    return next((n for n, special in enumerate(reversed(mask)) if not special), len(mask))
