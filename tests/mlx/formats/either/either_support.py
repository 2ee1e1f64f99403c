"""Models whose answers are either calls or held to a schema, one for each format of calls, and
answers that their grammar lets them write."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from api.serving.tools import schema_of_call
from tests.mlx.formats.calls.library_cases import WRITERS, form_of
from tests.mlx.formats.format_support import chat
from tests.mlx.formats.template_support import PLAIN, Family, tokenizer_of
from tests.mlx.formats.test_tool_formats import CASES
from tests.support.schema_support import settled
from wire.messages import OutputFormat
from worker.backends.sampling.json_schema import Constraint, Grammars
from worker.backends.text.decoder import Decoders, StreamingDecoder
from worker.backends.text.formats import chat_format
from worker.backends.text.formats.chat_format import ChatFormat
from worker.text_decoder import Output

SAID: dict[str, Any] = {
    "type": "object",
    "properties": {
        "said": {"type": "string", "maxLength": 60},
        "level": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["said", "level"],
    "additionalProperties": False,
}
TEXT = {"type": "string", "maxLength": 9}
TOOLS: tuple[dict[str, Any], ...] = tuple(
    {"type": "function", "function": {"name": name, "parameters": parameters}}
    for name, parameters in {
        "write": {
            "type": "object",
            "properties": {
                "text": TEXT,
                "count": {"type": "integer", "minimum": 0, "maximum": 50},
                "nested": {"$ref": "#/$defs/flag"},
                "list": {"type": "array", "items": {"$ref": "#/$defs/flag"}, "maxItems": 2},
                "kind": {"enum": ["a", "b"]},
            },
            "required": ["text", "count", "list"],
            "$defs": {"flag": {"type": "boolean"}},
        },
        "clock": {"type": "object", "properties": {"zone": TEXT}},
        "now": {},
        "free": {"type": "object", "additionalProperties": TEXT},
    }.items()
)
MARKS = (
    *("[TOOL_CALLS]", "[ARGS]", "<|tool_call|>", "<|/tool_call|>", "<tool_call>", "</tool_call>"),
    *("<TOOLCALL>", "</TOOLCALL>", "<|START_ACTION|>", "<|END_ACTION|>", "｜DSML｜"),
    *("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>"),
    *("<｜tool▁call▁end｜>", "<｜tool▁sep｜>", "<seed:tool_call>", "</seed:tool_call>"),
    *("]<]minimax[>[", "<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|constrain|>"),
    *("<|python_tag|>", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    *("<|tool_call_begin|>", "<|tool_call_end|>", "<|tool_call_argument_begin|>"),
    *("<|open|>", "<|close|>", "<|sep|>", "<arg_key>", "</arg_key>", "<arg_value>"),
    *("</arg_value>", "<|tool_call>", "<tool_call|>", '<|"|>', "<escape>"),
    *("<start_function_call>", "<end_function_call>", "<|tool_call_start|>", "<|tool_call_end|>"),
    *("<longcat_tool_call>", "</longcat_tool_call>", "<minimax:tool_call>"),
    "</minimax:tool_call>",
)
"""The special tokens of all formats."""
FORMS: dict[str, ChatFormat] = {name: case.form for name, case in CASES.items()}
FORMS |= {name: form_of(name) for name in WRITERS}
CLOSES = {
    "deepseek v3": ("<｜tool▁calls▁end｜>",),
    "deepseek v3.1": ("<｜tool▁calls▁end｜>",),
    "deepseek v3.2": ("</｜DSML｜parameter>", "</｜DSML｜function_calls>"),
    "seed-oss": ("</parameter>",),
    "minimax m3": ("]<]minimax[>[</", "]<]minimax[>[</tool_call>"),
    "qwen 3 coder": ("</parameter>",),
    "qwen3_coder": ("</parameter>",),
    "glm47": ("</arg_value>",),
    "longcat": ("</longcat_arg_value>",),
    "kimi_k3": ("<|close|>argument<|sep|>",),
    "minimax_m2": ("</parameter>", "</minimax:tool_call>"),
    "minicpm5": ("</param>",),
    "muse_spark": ("</atem:parameter>", "</atem:function_calls>"),
    "gemma4": ('<|"|>',),
    "function_gemma": ("<escape>",),
}
"""Marks behind values that may be any text, and behind all calls."""
LONGEST = 900


def form(tools: Sequence[dict[str, Any]] = TOOLS, schema: dict[str, Any] = SAID) -> OutputFormat:
    """An answer that is either calls of these tools or held to a schema."""
    calls = json.loads(schema_of_call([tool["function"] for tool in tools]))
    return OutputFormat(
        separate=True,
        tools=tuple(tools),
        json_schema=settled(schema),
        call_schema=settled(calls),
    )


def check_said(text: str) -> None:
    """A text is JSON of the schema."""
    answer = json.loads(text)
    assert list(answer) == ["said", "level"]
    assert isinstance(answer["said"], str)
    assert len(answer["said"]) <= 60
    assert 0 <= answer["level"] <= 99


class Speaker:
    """A tokeniser of a format, a token a byte: writes answers that its grammar allows."""

    def __init__(
        self,
        folder: Path,
        name: str,
        special: Collection[str],
        asked: OutputFormat,
        *,
        format_: ChatFormat | None = None,
    ) -> None:
        self.tokenizer = tokenizer_of(folder, Family(PLAIN, None, tuple(special)))
        chat_format._formats[self.tokenizer] = format_ or FORMS[name]
        self.end: int = self.tokenizer.eos_token_id
        self.asked = asked
        self._grammars = Grammars(self.tokenizer, [self.end])
        self._words: dict[str, int] = self.tokenizer.get_vocab()
        self._texts = {number: word for word, number in self._words.items()}
        self._closes = [self.encode(mark) for mark in CLOSES.get(name, ())]

    def constraint(self, answer: Sequence[int] = ()) -> Constraint:
        return self._grammars.constraint(self.asked, [0], answer)

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def allowed(self, constraint: Constraint) -> list[int]:
        mask = np.zeros(len(self._words), dtype=bool)
        constraint.fill_mask(mask)
        return [int(token) for token in np.flatnonzero(mask)]

    def allows(self, text: str) -> bool:
        """Whether a text is a whole answer."""
        constraint = self.constraint()
        for token in self.encode(text):
            if token not in self.allowed(constraint):
                return False
            constraint.accept(token)
        return self.end in self.allowed(constraint)

    def write(self, begun: str, seed: int) -> list[int]:
        """Some answer that begins so, without the token that ends it. It prefers what ends it."""
        chance, constraint = random.Random(seed), self.constraint()
        ids = self.encode(begun)
        for token in ids:
            constraint.accept(token)
        while len(ids) < LONGEST:
            allowed = self.allowed(constraint)
            assert allowed, self.tokenizer.decode(ids)
            others = [token for token in allowed if token != self.end]
            if not others or (self.end in allowed and chance.random() < 0.7):
                return ids
            ids.append(self._next(ids, others, chance))
            constraint.accept(ids[-1])
        raise AssertionError(f"no end: {self.tokenizer.decode(ids)}")

    def _next(self, ids: list[int], allowed: list[int], chance: random.Random) -> int:
        """What closes values and calls is begun now and then, and then written to its end."""
        begun = [
            (n, mark[n])
            for mark in self._closes
            for n in range(len(mark))
            if ids[len(ids) - n :] == mark[:n] and mark[n] in allowed
        ]
        longest = max(begun, default=(0, 0))[0]
        if begun and (longest or chance.random() < 0.3):
            return chance.choice([token for n, token in begun if n == longest])
        closing = [t for t in allowed if self._texts[t] in MARKS or self._texts[t] in '"}])<']
        return chance.choice(closing if closing and chance.random() < 0.4 else allowed)

    def read(self, ids: Sequence[int], *, call_pieces: bool = False) -> tuple[Output, bool]:
        """What a reader gets of an answer, and whether a call in it can't be read."""
        decoder = self._decoder(call_pieces=call_pieces)
        pieces = [decoder.add(token) for token in ids]
        return Output.together([*pieces, decoder.finish()]), decoder.has_open_call

    def pieces(self, ids: Sequence[int]) -> list[Output]:
        """What a reader has got of an answer that goes on."""
        decoder = self._decoder(call_pieces=True)
        return [decoder.add(token) for token in ids]

    def _decoder(self, *, call_pieces: bool) -> StreamingDecoder:
        asked = self.asked.model_copy(update={"call_pieces": call_pieces})
        job = chat().model_copy(update={"form": asked})
        return Decoders(self.tokenizer, frozenset({self.end})).of(job, [0])
