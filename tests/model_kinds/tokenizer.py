"""A tokeniser of single characters, and chat templates of three kinds.

An answer of single characters encodes to its own tokens again, so prefixes are exact.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from tests.model_kinds.vocabularies.sentencepiece_model import sentencepiece_model

Template = Literal["A", "B", "C"]
Content = Literal["any", "parts", "text"]
"""What a chat template takes as a message's content: a string or parts, or one of them alone."""

CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
MARKS = ("<|pad|>", "<|im_start|>", "<|im_end|>", "<|end|>", "<|return|>")
THINKING = ("<think>", "</think>")
RESERVED = tuple(f"<|reserved_{i}|>" for i in range(100))
"""Tokens that a model doesn't write, but for the first few of template C, which end its answers. A
vision model has its own marks in place of the last ones."""
ENDS_OF_C = 8

_TURN = "{{- '<|im_start|>' + m['role'] + '\\n' -}}"
_PARTS = (
    "{%- for part in m['content'] -%}{%- if part['type'] == 'image' -%}{{- 'IMAGE' -}}"
    "{%- elif part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}{%- endfor -%}"
)
_TEXT = (
    "{%- if m['content'] is string -%}{{- m['content'] -}}{%- else -%}" + _PARTS + "{%- endif -%}"
)
_WITHOUT_THINKING = (
    "{%- if m['content'] is string and '</think>' in m['content'] -%}"
    "{{- m['content'].split('</think>')[-1] -}}{%- else -%}" + _TEXT + "{%- endif -%}"
)
_OPENING = "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"


def template_text(template: Template, picture: str, content: Content = "any") -> str:
    """A chat template: A is plain ChatML.

    B begins the answer with thinking, and earlier turns' thinking is left out. C ends an answer in
    history with another mark than the model does. ``picture`` stands for a picture. With
    ``content`` parts, a message that is a plain string renders as nothing, as with some vision
    kinds.
    """
    text, end, opening = _TEXT, "'<|im_end|>\\n'", _OPENING
    if template == "B":
        text = _WITHOUT_THINKING
        opening = opening.replace("assistant\\n'", "assistant\\n<think>\\n'")
    if content == "parts":
        text = _PARTS
    if content == "text":
        text = text.replace(_TEXT, "{{- m['content'] -}}")
    if template == "C":
        end = "('<|end|>' if m['role'] == 'assistant' else '<|im_end|>') + '\\n'"
    turns = "{%- for m in messages -%}" + _TURN + text + "{{- " + end + " -}}{%- endfor -%}"
    return (turns + opening).replace("IMAGE", picture)


def special_tokens(template: Template, marks: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The tokens behind the characters, with a vision model's ``marks``. Only template B's model
    knows of thinking."""
    thinking = THINKING if template == "B" else ("<|no_think|>", "<|no_think_end|>")
    return (*MARKS, *thinking, *RESERVED[: len(RESERVED) - len(marks)], *marks)


VOCABULARY = len(CHARACTERS) + len(special_tokens("A"))
IDS = {mark: len(CHARACTERS) + i for i, mark in enumerate(special_tokens("B"))}
PAD = IDS["<|pad|>"]


def end_tokens(template: Template) -> list[int]:
    """The ids that end an answer; those of template C are so many that some get written."""
    if template != "C":
        return [IDS["<|im_end|>"]]
    return [IDS["<|return|>"], *(IDS[mark] for mark in RESERVED[: len(RESERVED) // 2])]


def written_tokens(template: Template) -> list[int]:
    """The ids that a random model writes."""
    ends = [IDS[mark] for mark in RESERVED[:ENDS_OF_C]] if template == "C" else []
    return [*range(len(CHARACTERS)), *ends]


def save(
    folder: Path,
    template: Template,
    *,
    marks: tuple[str, ...] = (),
    picture: str = "",
    names: dict[str, str] | None = None,
    content: Content = "any",
    further: dict[str, Any] | None = None,
    sentencepiece: bool = False,
) -> None:
    """Write the tokeniser's files. A vision model has ``marks`` of its own, ``picture`` in its
    template, which takes ``content``, ``names`` by which its processor asks for marks, and
    ``further`` settings. With ``sentencepiece`` the vocabulary is a SentencePiece model."""
    special = special_tokens(template, marks)
    if sentencepiece:
        (folder / "tokenizer.model").write_bytes(sentencepiece_model(CHARACTERS, special))
    else:
        _save_bytes(folder, special)
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|return|>" if template == "C" else "<|im_end|>",
        "pad_token": "<|pad|>",
        "additional_special_tokens": list(special),
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        "chat_template": template_text(template, picture, content),
    }
    if names:
        config["extra_special_tokens"] = names
        config |= {name: mark for name, mark in names.items() if name == "bos_token"}
    config |= further or {}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def _save_bytes(folder: Path, special: tuple[str, ...]) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    # Byte-level, since some of the library's classes for a model type set that up themselves.
    symbols = {" ": "\u0120", "\n": "\u010a"}
    ids = {symbols.get(character, character): i for i, character in enumerate(CHARACTERS)}
    tokenizer = Tokenizer(models.BPE(ids, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    tokenizer.save(str(folder / "tokenizer.json"))
