"""Models that think, in short: their templates' way with thinking, and an answer of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_lm.utils import load_tokenizer

from tests.mlx.formats.template_support import Family, save


@dataclass(frozen=True)
class Model:
    """``shows`` is what its template writes of an assistant's turn with the thinking ``r`` and the
    text ``c``, ``opens`` what it begins an answer with. An answer is ``thought`` and a text between
    the marks; ``closing`` is what ends the thinking at a limit."""

    tokens: tuple[str, ...]
    shows: str
    before: str
    end: str
    closing: str
    opens: str = ""
    """What its prompt has begun of the thinking."""
    between: str = ""
    """What the model itself writes between the mark and its text."""
    thought: str = "Hm. Five?"
    config: str = '{"model_type": "qwen3"}'
    splits: tuple[str, str] | None = None
    """Marks by which its template takes thinking out of content."""
    template: str = ""

    @property
    def answer(self) -> str:
        """What it says after its prompt, whole."""
        return f"{'' if self.opens else self.before}{self.thought}{self.end}{self.between}5."

    @property
    def text(self) -> str:
        return self.template or _template(self)


def _template(model: Model) -> str:
    split = ""
    if model.splits is not None:
        start, end = model.splits
        split = (
            f"{{%- if '{end}' in c -%}}"
            f"{{%- set r = c.split('{end}')[0].split('{start}')[-1] -%}}"
            f"{{%- set c = c.split('{end}')[-1] -%}}{{%- endif -%}}"
        )
    quoted = json.dumps(model.opens)
    return (
        "{%- for m in messages -%}{%- set c = m.content -%}"
        "{%- set r = m.reasoning_content or '' -%}"
        "{{- '<|im_start|>' + m.role + '\\n' -}}"
        "{%- if m.role == 'assistant' -%}" + split + "{{- " + model.shows + " -}}"
        "{%- else -%}{{- c | trim -}}{%- endif -%}{{- '<|im_end|>\\n' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' + " + quoted + " -}}"
        "{%- if enable_thinking is defined and not enable_thinking -%}"
        "{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}{%- endif -%}"
    )


THINK = ("<think>", "</think>")
QWEN = "'<think>\\n' + r.strip('\\n') + '\\n</think>\\n\\n' + c.lstrip('\\n')"
GPT_OSS = """\
{{- '<|start|>system<|message|>Reasoning: ' + (reasoning_effort or 'medium') + '<|end|>' -}}
{%- for m in messages -%}
{%- if m.role == 'assistant' -%}
{%- if '<|channel|>' in m.content -%}{{- raise_exception('Pass channels apart.') -}}{%- endif -%}
{%- if loop.last and not add_generation_prompt and m.thinking -%}
{{- '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' -}}
{%- endif -%}
{{- '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|end|>' -}}
{%- else -%}{{- '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start|>assistant' -}}{%- endif -%}"""
MUSE = """\
{%- for m in messages -%}
{{- '<|start|>' + m.role -}}
{%- if m.role == 'assistant' -%}
{%- if m.reasoning_content -%}
{{- ' to=self<|message|>' + m.reasoning_content + '<|eom|><|start|>assistant' -}}
{%- endif -%}{{- ' to=user' -}}{%- endif -%}
{{- '<|message|>' + m.content + '<|eot|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start|>assistant ' -}}{%- endif -%}"""

MODELS = {
    "qwen3": Model(
        THINK, QWEN, "<think>\n", "\n</think>", "</think>\n\n", between="\n\n", splits=THINK
    ),
    "qwen3 thinking": Model(
        THINK,
        QWEN,
        "<think>\n",
        "\n</think>",
        "</think>\n\n",
        opens="<think>\n",
        between="\n\n",
        splits=THINK,
    ),
    "deepseek r1": Model(
        THINK,
        "c.split('</think>')[-1]",
        "<think>\n",
        "\n</think>",
        "</think>",
        opens="<think>\n",
        between="\n\n",
    ),
    "glm 4.5": Model(
        THINK, "'<think>' + r.strip() + '</think>\\n' + c.strip()", "<think>", "</think>",
        "</think>\n", between="\n", splits=THINK,
    ),
    "magistral": Model(
        ("[THINK]", "[/THINK]"),
        "'[THINK]' + r + '[/THINK]' + c",
        "[THINK]",
        "[/THINK]",
        "[/THINK]",
    ),
    "gemma 4": Model(
        ("<|channel>", "<channel|>"),
        "'<|channel>thought\\n' + r + '\\n<channel|>' + (c | trim)",
        "<|channel>thought\n",
        "\n<channel|>",
        "<channel|>",
    ),
    "seed-oss": Model(
        ("<seed:think>", "</seed:think>"),
        "'<seed:think>' + r + '</seed:think>' + (c | trim)",
        "<seed:think>",
        "</seed:think>",
        "</seed:think>",
    ),
    "minimax m3": Model(
        ("<mm:think>", "</mm:think>"),
        "'<mm:think>\\n' + r + '\\n</mm:think>\\n\\n' + c",
        "<mm:think>\n",
        "\n</mm:think>",
        "</mm:think>\n\n",
        between="\n\n",
    ),
    "command": Model(
        ("<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"),
        "'<|START_THINKING|>' + r + '<|END_THINKING|><|START_RESPONSE|>' + c + '<|END_RESPONSE|>'",
        "<|START_THINKING|>",
        "<|END_THINKING|>",
        "<|END_THINKING|><|START_RESPONSE|>",
        between="<|START_RESPONSE|>",
    ),
    "longcat": Model(
        ("<longcat_think>", "</longcat_think>"),
        "'<longcat_think>\\n' + r + '\\n</longcat_think>\\n' + c",
        "<longcat_think>\n",
        "\n</longcat_think>",
        "</longcat_think>\n",
        between="\n",
    ),
    "think:start": Model(
        ("<|think:start|>", "<|think:end|>"),
        "'<|think:start|>' + r + '<|think:end|>' + c",
        "<|think:start|>",
        "<|think:end|>",
        "<|think:end|>",
    ),
    "kimi k3": Model(
        ("<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>"),
        "'<|open|>think<|sep|>' + r + '<|close|>think<|sep|><|open|>response<|sep|>' + c"
        " + '<|close|>response<|sep|>'",
        "<|open|>think<|sep|>",
        "<|close|>think<|sep|>",
        "<|close|>think<|sep|><|open|>response<|sep|>",
        between="<|open|>response<|sep|>",
    ),
    "gpt-oss": Model(
        ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>"),
        "",
        "<|channel|>analysis<|message|>",
        "<|end|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        between="<|start|>assistant<|channel|>final<|message|>",
        template=GPT_OSS,
    ),
    "muse spark": Model(
        ("<|start|>", "<|message|>", "<|eom|>", "<|eot|>"),
        "",
        "to=self<|message|>",
        "<|eom|>",
        "<|eom|><|start|>assistant to=user<|message|>",
        between="<|start|>assistant to=user<|message|>",
        config='{"model_type": "muse_spark"}',
        template=MUSE,
    ),
}  # fmt: skip
OTHERS = {
    "strips": "{%- for m in messages -%}{{- m.role + ':' + (m.content | trim) + ';' -}}{%- endfor -%}",
    "no template": None,
}
"""Templates of models that don't think."""


def tokenizer_of(folder: Path, model: Model) -> Any:
    """mlx_lm's wrapper of a model's tokeniser: a token a byte, beside the marks."""
    save(folder, Family(model.text, None, model.tokens))
    (folder / "config.json").write_text(model.config)
    return load_tokenizer(folder)


def tokens_of(tokenizer: Any, text: str) -> list[int]:
    return [int(token) for token in tokenizer.encode(text, add_special_tokens=False)]


def between_marks(model: Model) -> str:
    """What a whole answer has between its marks."""
    begun = model.before.replace(_mark(model.before), "", 1)
    behind = model.end.replace(_mark(model.end), "", 1)
    return f"{'' if model.opens else begun}{model.thought}{behind}"


def _mark(text: str) -> str:
    return text.strip("\n")
