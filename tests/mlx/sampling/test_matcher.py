"""llguidance's C interface says what its Python interface says, and gives the GIL up."""

from __future__ import annotations

import ctypes
import json
import random
from pathlib import Path
from typing import Any

import llguidance.hf
import numpy as np
import pytest
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, _lib
from llguidance.hf import from_tokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from mlx_lm.utils import load_tokenizer

from scripts.training.random_text_model import SMALL, make
from tests.support.schema_support import settled
from wire.messages import OutputFormat
from wire.schemas import matching
from worker.backends.sampling import matcher
from worker.backends.sampling.json_schema import Grammars, vocabulary_of
from worker.backends.sampling.matcher import Matcher, Vocabulary
from worker.backends.text import tokenizer_file
from worker.backends.text.tokenizer_file import tokenizer_json
from worker.models.folders import DEMO_MODELS

SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 9},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "likes": {"type": "array", "items": {"enum": ["tea", "ça"]}, "maxItems": 2},
        },
        "required": ["name", "age", "likes"],
        "additionalProperties": False,
    },
    {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 3},
    {"type": "string", "pattern": "^[a-c]{2,5}x$"},
]


@pytest.fixture(scope="module", params=["trained", "random"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "trained":
        return load_tokenizer(DEMO_MODELS / "chat")
    return load_tokenizer(make(tmp_path_factory.mktemp("model") / "random", SMALL))


def ends_of(tokenizer: Any) -> list[int]:
    return sorted(int(token) for token in tokenizer.eos_token_ids)


@pytest.fixture(scope="module")
def both(tokenizer: Any) -> tuple[Vocabulary, LLTokenizer]:
    ends = ends_of(tokenizer)
    return (
        vocabulary_of(tokenizer, ends),
        from_tokenizer(tokenizer._tokenizer, eos_token=ends),
    )


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("seed", range(3))
def test_masks_are_those_of_the_python_interface(
    both: tuple[Vocabulary, LLTokenizer], schema: dict[str, Any], seed: int
) -> None:
    text = settled(schema)
    ours = Matcher(both[0], text)
    grammar = LLMatcher.grammar_from_json_schema(text)
    theirs = LLMatcher(both[1], grammar, log_level=0, limits=matching.limits())
    bits, expected = ours.allocate_bits(), allocate_token_bitmask(1, both[1].vocab_size)
    chance = random.Random(seed)
    for _ in range(60):
        assert ours.stopped == theirs.is_stopped()
        if ours.stopped:
            break
        ours.fill_bits(bits)
        fill_next_token_bitmask(theirs, expected)
        assert np.array_equal(bits, expected[0].view(np.uint32))
        allowed = np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little"))
        token = int(chance.choice(allowed))
        assert ours.consume(token)
        assert theirs.consume_token(token)
    assert (ours.error, theirs.is_error()) == ("", False)
    ours.reset()
    first = ours.allocate_bits()
    ours.fill_bits(first)
    assert first.any()


def test_a_token_that_the_schema_forbids_is_an_error(both: tuple[Vocabulary, LLTokenizer]) -> None:
    one = Matcher(both[0], settled(SCHEMAS[1]))
    bits = one.allocate_bits()
    one.fill_bits(bits)
    forbidden = int(np.flatnonzero(~np.unpackbits(bits.view(np.uint8), bitorder="little") & 1)[0])
    assert not one.consume(forbidden)
    assert one.error
    assert one.stopped
    one.fill_bits(bits)
    assert not bits.any()


def test_limits_are_kept(
    both: tuple[Vocabulary, LLTokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "limits", lambda: LLParserLimits(initial_lexer_fuel=1))
    one = Matcher(both[0], settled(SCHEMAS[0]))
    assert matching.known_reason(one.error) == matching.TOO_COMPLEX


def test_a_tokeniser_that_can_not_be_read_is_an_error_and_no_crash() -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Vocabulary(b"{}", lambda _: [], [0])


def test_the_extension_exports_every_function_that_is_used() -> None:
    library = ctypes.CDLL(_lib.__file__)
    assert [name for name in matcher.FUNCTIONS if not hasattr(library, name)] == []


def test_tokens_that_other_files_add_are_in_the_vocabulary(tmp_path: Path) -> None:
    made = load_tokenizer(make(tmp_path / "random", SMALL))
    made._tokenizer.add_tokens(["<extra>"])
    expected = from_tokenizer(made._tokenizer, eos_token=[0]).vocab_size
    one = Matcher(vocabulary_of(made, [0]), settled(SCHEMAS[0]))
    assert one.allocate_bits().size == (expected + 31) // 32
    assert b'"<extra>"' in tokenizer_json(made)


def test_a_long_list_of_added_tokens_is_found_whole(tmp_path: Path) -> None:
    made = load_tokenizer(make(tmp_path / "random", SMALL))
    file = tmp_path / "random" / "tokenizer.json"
    content = json.loads(file.read_bytes())
    whole = json.loads(tokenizer_json(made))
    template = content["added_tokens"][0]
    content["added_tokens"] += [template | {"id": 9000 + n, "content": f"ä{n}"} for n in range(999)]
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    assert file.stat().st_size > 2 * tokenizer_file._WINDOW
    assert json.loads(tokenizer_json(made)) == whole
    assert whole["model"] == content["model"]


def test_a_tokeniser_from_other_files_writes_itself(tmp_path: Path) -> None:
    made = load_tokenizer(make(tmp_path / "random", SMALL))
    (tmp_path / "random" / "tokenizer.json").unlink()
    assert json.loads(tokenizer_json(made)) == json.loads(
        made._tokenizer.backend_tokenizer.to_str()
    )


def test_no_vocabulary_is_built_under_the_gil(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ctypes gives it up in functions of a CDLL, and keeps it in those of a PyDLL."""
    assert type(matcher._library()) is ctypes.CDLL
    built: list[str] = []
    for owner, name in ((llguidance, "LLTokenizer"), (llguidance.hf, "LLTokenizer")):
        monkeypatch.setattr(owner, name, lambda *_, **__: built.append("under the GIL"))
    real = matcher._library().llg_new_tokenizer_v2

    def beside(*arguments: Any) -> Any:
        built.append("beside")
        return real(*arguments)

    monkeypatch.setattr(matcher._library(), "llg_new_tokenizer_v2", beside)
    grammars = Grammars(tokenizer, ends_of(tokenizer))
    for _ in range(2):
        grammars.constraint(OutputFormat(json_schema=settled(SCHEMAS[0])), [1])
    assert built == ["beside"]
