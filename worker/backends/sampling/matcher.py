"""llguidance through its C interface: Python's is the same library, but keeps the GIL.

With a vocabulary of 262,144 words the table is built in seconds, and every stream would stop for as
long. The extension module of the Python package exports the C functions; ctypes gives the GIL up
while one runs. Their declarations are those of llguidance.h.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
from llguidance import _lib
from numpy.typing import NDArray

from wire.schemas import matching

Bits = NDArray[np.uint32]
_ERROR_LENGTH = 1024
Kind = Literal["json_schema", "regex", "lark"]
Encode = Callable[[str], Sequence[int]]
_Tokenize = ctypes.CFUNCTYPE(
    ctypes.c_size_t,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.POINTER(ctypes.c_uint32),
    ctypes.c_size_t,
)
"""LlgTokenizeFn."""


class _Limits(ctypes.Structure):
    """LlgParserLimits."""

    _fields_ = (
        ("max_items_in_row", ctypes.c_size_t),
        ("initial_lexer_fuel", ctypes.c_uint64),
        ("step_lexer_fuel", ctypes.c_uint64),
        ("step_max_items", ctypes.c_size_t),
        ("max_lexer_states", ctypes.c_size_t),
        ("max_grammar_size", ctypes.c_size_t),
        ("precompute_large_lexemes", ctypes.c_bool),
        ("verbose_errors", ctypes.c_bool),
    )


class _MatcherInit(ctypes.Structure):
    """LlgConstraintInit."""

    _fields_ = (
        ("tokenizer", ctypes.c_void_p),
        ("log_buffer_level", ctypes.c_uint32),
        ("log_stderr_level", ctypes.c_uint32),
        ("ff_tokens_ok", ctypes.c_bool),
        ("backtrack_ok", ctypes.c_bool),
        ("limits", _Limits),
    )


class _TokenizerInit(ctypes.Structure):
    """LlgTokenizerInitV2."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("vocab_size", ctypes.c_uint32),
        ("tok_eos", ctypes.c_uint32),
        ("token_lens", ctypes.c_void_p),
        ("token_bytes", ctypes.c_void_p),
        ("tokenizer_json", ctypes.c_char_p),
        ("tokenize_assumes_string", ctypes.c_bool),
        ("tokenize_fn", _Tokenize),
        ("use_approximate_greedy_tokenize_fn", ctypes.c_bool),
        ("tokenize_user_data", ctypes.c_void_p),
        ("slices", ctypes.c_void_p),
        ("tok_eos_extra", ctypes.POINTER(ctypes.c_uint32)),
        ("tok_eos_extra_count", ctypes.c_uint32),
    )


_POINTER, _INT, _BOOL = ctypes.c_void_p, ctypes.c_int32, ctypes.c_bool
_TEXT, _SIZE = ctypes.c_char_p, ctypes.c_size_t
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "llg_new_tokenizer_v2": (_POINTER, ctypes.POINTER(_TokenizerInit), _TEXT, _SIZE),
    "llg_free_tokenizer": (None, _POINTER),
    "llg_constraint_init_set_defaults": (None, ctypes.POINTER(_MatcherInit), _POINTER),
    "llg_new_matcher": (_POINTER, ctypes.POINTER(_MatcherInit), _TEXT, _TEXT),
    "llg_free_matcher": (None, _POINTER),
    "llg_matcher_get_error": (_TEXT, _POINTER),
    "llg_matcher_is_error": (_BOOL, _POINTER),
    "llg_matcher_is_stopped": (_BOOL, _POINTER),
    "llg_matcher_reset": (_INT, _POINTER),
    "llg_matcher_consume_token": (_INT, _POINTER, ctypes.c_uint32),
    "llg_matcher_get_mask_byte_size": (_SIZE, _POINTER),
    "llg_matcher_compute_mask_into": (_INT, _POINTER, _POINTER, _SIZE),
}
"""The functions that are used: what each returns, then what it takes."""


@cache
def _library() -> Any:
    library = ctypes.CDLL(_lib.__file__)
    for name, (returned, *taken) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = returned, taken
    return library


class Vocabulary:
    """A model's tokens as matchers need them. Safe to use on several threads."""

    def __init__(self, tokenizer_json: bytes, encode: Encode, ends: Sequence[int]) -> None:
        """``encode`` gives a text's tokens, without special ones: where a schema leaves no choice,
        a text is written in these. ``ends`` are the tokens that end an answer.

        Raises ValueError for a tokeniser that llguidance can't read.
        """
        self.ends = tuple(ends)
        self._tokenize = _tokenize_function(encode)
        init = _TokenizerInit(struct_size=ctypes.sizeof(_TokenizerInit), tok_eos=ends[0])
        init.tokenizer_json = tokenizer_json
        init.tokenize_fn, init.tokenize_assumes_string = self._tokenize, True
        others = (ctypes.c_uint32 * len(ends[1:]))(*ends[1:])
        init.tok_eos_extra, init.tok_eos_extra_count = others, len(others)
        error = ctypes.create_string_buffer(_ERROR_LENGTH)
        made = _library().llg_new_tokenizer_v2(ctypes.byref(init), error, _ERROR_LENGTH)
        if not made:
            raise ValueError(error.value.decode(errors="replace"))
        self.pointer = made
        weakref.finalize(self, _library().llg_free_tokenizer, made).atexit = False


def _tokenize_function(encode: Encode) -> Any:
    def tokenize(_: Any, data: Any, length: int, tokens: Any, room: int) -> int:
        ids = encode(ctypes.string_at(data, length).decode(errors="replace") if length else "")
        for place, token in enumerate(ids[:room]):
            tokens[place] = token
        return len(ids)

    return _Tokenize(tokenize)


class Matcher:
    """Where one answer is in its schema or grammar. One thread at a time."""

    def __init__(self, vocabulary: Vocabulary, text: str, kind: Kind = "json_schema") -> None:
        """Look at ``error`` before anything else."""
        init = _MatcherInit()
        _library().llg_constraint_init_set_defaults(ctypes.byref(init), vocabulary.pointer)
        init.log_buffer_level = init.log_stderr_level = 0
        limits = matching.limits()
        for name, *_ in _Limits._fields_:
            setattr(init.limits, name, getattr(limits, name))
        self._vocabulary = vocabulary  # It has to outlive what was made of it.
        self._pointer = _library().llg_new_matcher(ctypes.byref(init), kind.encode(), text.encode())
        weakref.finalize(self, _library().llg_free_matcher, self._pointer).atexit = False

    @property
    def error(self) -> str:
        """What is wrong; empty if nothing is."""
        if not _library().llg_matcher_is_error(self._pointer):
            return ""
        said: bytes = _library().llg_matcher_get_error(self._pointer) or b"unknown"
        return said.decode(errors="replace")

    @property
    def stopped(self) -> bool:
        """Whether the answer can only end here."""
        return bool(_library().llg_matcher_is_stopped(self._pointer))

    def consume(self, token: int) -> bool:
        """Go on by one token; whether the schema allows it."""
        return bool(_library().llg_matcher_consume_token(self._pointer, token) == 0)

    def reset(self) -> None:
        _library().llg_matcher_reset(self._pointer)

    def allocate_bits(self) -> Bits:
        """Room for the bits of all tokens."""
        size = _library().llg_matcher_get_mask_byte_size(self._pointer)
        return np.zeros(size // 4, dtype=np.uint32)

    def fill_bits(self, bits: Bits) -> None:
        """Write which tokens may come next, a bit each; none of them after an error."""
        done = _library().llg_matcher_compute_mask_into(
            self._pointer, bits.ctypes.data, bits.nbytes
        )
        if done != 0:
            bits[:] = 0
