"""Token ids of a prompt are in the tokeniser's vocabulary and in the model's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from worker.backends.text.vocabulary import Vocabulary, sizes_in
from worker.errors import WorkerError

TOKENIZER = SimpleNamespace(get_vocab=lambda: {"a": 0, "b": 1, "c": 7})


@pytest.mark.parametrize(("sizes", "good", "bad"), [((), 7, 8), ((None, 5), 4, 5), ((100,), 7, 8)])
def test_the_smaller_of_the_two_vocabularies_is_the_bound(sizes: Any, good: int, bad: int) -> None:
    vocabulary = Vocabulary(TOKENIZER, sizes)
    assert vocabulary.checked((0, good)) == [0, good]
    for ids in ((0, bad), (-1,)):
        with pytest.raises(WorkerError, match="vocabulary") as refused:
            vocabulary.checked(ids)
        assert refused.value.code == "bad_prompt"


def test_a_token_that_stands_for_an_image_is_no_text() -> None:
    vocabulary = Vocabulary(TOKENIZER, ())
    assert vocabulary.checked((1, 2), {7}) == [1, 2]
    with pytest.raises(WorkerError, match="image"):
        vocabulary.checked((1, 7), {7})


def test_the_size_is_found_in_the_part_for_texts() -> None:
    text = SimpleNamespace(vocab_size=9)
    assert sizes_in(SimpleNamespace(text_config=text)) == [None, 9, None]
    assert sizes_in(SimpleNamespace(vocab_size=8, text_config={})) == [8, None, None]
    thinker = SimpleNamespace(text_config=text)
    assert sizes_in(SimpleNamespace(thinker_config=thinker)) == [None, None, 9]
    assert sizes_in(None) == [None, None, None]
