"""Tokenisers with the templates and the control tokens of model families, in short."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_lm.utils import load_tokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from worker.backends.text.formats import harmony, json_calls, tagged_calls
from worker.backends.text.formats.syntax import ToolFormat

TURN = "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' }}"
PLAIN = "{% for m in messages %}" + TURN + "{% endfor %}<|im_start|>assistant\n"


def with_tools(marks: str) -> str:
    """A template with tools whose instructions say the marks."""
    said = "{{ '" + marks.replace("'", "\\'") + "' }}"
    return "{% if tools %}{{ tools | tojson }}" + said + "{% endif %}" + PLAIN


GPT_OSS = """\
{{- '<|start|>system<|message|>Reasoning: ' + (reasoning_effort or 'medium') + '<|end|>' -}}
{%- if tools -%}{{- '<|start|>developer<|message|>' + (tools | tojson) + '<|end|>' -}}{%- endif -%}
{%- for m in messages -%}
{%- if m.role == 'assistant' -%}
{%- if '<|channel|>' in m.content -%}{{- raise_exception('Pass channels apart.') -}}{%- endif -%}
{%- if m.tool_calls -%}
{%- if m.content and m.thinking -%}{{- raise_exception('Content or thinking.') -}}{%- endif -%}
{{- '<|start|>assistant<|channel|>analysis<|message|>' + (m.thinking or m.content) + '<|end|>' -}}
{%- for c in m.tool_calls -%}
{{- '<|start|>assistant to=functions.' + c.function.name + '<|channel|>commentary json<|message|>' -}}
{{- (c.function.arguments | tojson) + '<|call|>' -}}
{%- endfor -%}
{%- else -%}{{- '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|end|>' -}}{%- endif -%}
{%- else -%}{{- '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start|>assistant' -}}{%- endif -%}"""
DEEPSEEK = """\
{%- for m in messages -%}
{%- if m.tool_calls is defined -%}
{%- for c in m.tool_calls -%}
{{- '<｜tool▁calls▁begin｜>' + c.function.name + '<｜tool▁sep｜>' + c.function.arguments -}}
{%- endfor -%}
{%- else -%}{{- '<｜' + m.role + '｜>' + m.content -}}{%- endif -%}
{%- endfor -%}{{- tools | tojson if tools -}}"""


@dataclass(frozen=True)
class Family:
    """A template, the special tokens beside it, and the format that they stand for."""

    template: Any
    tools: ToolFormat | None
    tokens: tuple[str, ...] = ()
    thinking: tuple[str, str] | None = None
    is_special: bool = True
    """Whether the tokens are special to the tokeniser."""


FAMILIES = {
    "plain": Family(PLAIN, None),
    "a comment about tools": Family("{# no tools #}tools, 'tools'" + PLAIN, None),
    "tools of its own": Family("{% set tools = 1 %}{{ tools }}" + PLAIN, None),
    "mistral": Family(with_tools("[AVAILABLE_TOOLS] [TOOL_CALLS]"), json_calls.MISTRAL),
    "mistral, by vocabulary": Family(
        with_tools(""), json_calls.MISTRAL, ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]")
    ),
    "magistral": Family(
        with_tools("[TOOL_CALLS]"),
        json_calls.MISTRAL,
        ("[TOOL_CALLS]", "[THINK]", "[/THINK]"),
        ("[THINK]", "[/THINK]"),
    ),
    "gpt-oss": Family(
        GPT_OSS,
        harmony.FORMAT,
        ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>"),
    ),
    "llama 3": Family(
        "{% if not tools is defined %}{% set tools = none %}{% endif %}"
        + with_tools('{"name": function name, "parameters": dictionary}'),
        json_calls.UNMARKED,
        ("<|python_tag|>", "<|eom_id|>"),
    ),
    "llama 4": Family(with_tools(""), json_calls.UNMARKED, ("<|python_start|>", "<|python_end|>")),
    "deepseek": Family(
        DEEPSEEK,
        tagged_calls.DEEPSEEK,
        ("<think>", "</think>", "<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"),
        ("<think>", "</think>"),
    ),
    "deepseek v3.2": Family(with_tools("<｜DSML｜function_calls>"), tagged_calls.DSML_FORMAT),
    "seed-oss": Family(
        with_tools("<seed:tool_call>"),
        tagged_calls.SEED,
        ("<seed:think>", "</seed:think>"),
        ("<seed:think>", "</seed:think>"),
    ),
    "command": Family(
        with_tools("<|START_ACTION|>"),
        json_calls.COHERE,
        ("<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
    ),
    "minimax m3": Family(with_tools("]<]minimax[>[<tool_call>"), tagged_calls.MINIMAX_M3),
    "nemotron": Family(with_tools("<TOOLCALL>[]</TOOLCALL>"), json_calls.NEMOTRON),
    "granite 3": Family(with_tools("<|tool_call|>"), json_calls.GRANITE, ("<|tool_call|>",)),
    "phi 4 mini": Family(
        with_tools("<|tool|>"), json_calls.PHI, ("<|tool_call|>", "<|/tool_call|>")
    ),
    "phi 4 mini, tokens that are not special": Family(
        with_tools("<|tool|>"),
        json_calls.PHI,
        ("<|tool_call|>", "<|/tool_call|>"),
        is_special=False,
    ),
    "granite 4": Family(with_tools("<tool_call></tool_call>"), json_calls.HERMES),
    "coder": Family(with_tools("<tool_call><function=f>"), tagged_calls.CODER),
    "unknown": Family(with_tools("Answer in JSON."), json_calls.UNMARKED),
    "named templates": Family(
        {"default": PLAIN, "tool_use": with_tools("[TOOL_CALLS]")}, json_calls.MISTRAL
    ),
    "other syntax": Family(
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}"
        "{% endfor %}" + with_tools("[TOOL_CALLS]"),
        json_calls.MISTRAL,
    ),
}


def save(folder: Path, family: Family) -> Path:
    """A tokeniser's folder: a token a byte, and the family's special tokens."""
    special = ["<|im_start|>", "<|im_end|>", *family.tokens]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: number for number, word in enumerate([*special, *alphabet])}
    made = Tokenizer(models.BPE(words, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(text, special=True) for text in special[:2]])
    made.add_tokens([AddedToken(text, special=family.is_special) for text in family.tokens])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>")
    tokenizer.chat_template = family.template
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    return folder


def tokenizer_of(folder: Path, family: Family) -> Any:
    """mlx_lm's wrapper of a family's tokeniser."""
    return load_tokenizer(save(folder, family))


def renderer_of(folder: Path, name: str) -> Any:
    """A tokeniser whose template is one of mlx_lm's renderers in Python."""
    save(folder, Family(None, None, ("<think>", "</think>", "｜DSML｜")))
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"chat_template_type": name}))
    return load_tokenizer(folder)
