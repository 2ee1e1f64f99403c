"""Grammars of the formats that mlx_lm reads, by the names of its parsers."""

from __future__ import annotations

from worker.backends.text.call_grammars.json_calls import Build, between, kimi_k2
from worker.backends.text.call_grammars.notations import NotationForm
from worker.backends.text.call_grammars.tags import TagForm


def coder(start: str, end: str) -> TagForm:
    """Qwen3-Coder's tags between two marks."""
    return TagForm(
        start=start,
        head="<function={name}>",
        parameter="<parameter={key}>",
        close="</parameter>",
        tail="</function>",
        end=end,
    )


def _glm(prefix: str = "") -> TagForm:
    return TagForm(
        start=f"<{prefix}tool_call>",
        head="{name}",
        parameter=f"<{prefix}arg_key>{{key}}</{prefix}arg_key>{{blanks}}<{prefix}arg_value>",
        close=f"</{prefix}arg_value>",
        tail="",
        end=f"</{prefix}tool_call>",
    )


_MINIMAX_M2 = TagForm(
    start="<minimax:tool_call>",
    head='<invoke name="{name}">',
    parameter='<parameter name="{key}">',
    close="</parameter>",
    tail="</invoke>",
    end="</minimax:tool_call>",
    around_all=True,
)
_MINICPM5 = TagForm(
    start="<function name=",
    head='"{name}">',
    parameter='<param name="{key}">',
    close="</param>",
    tail="",
    end="</function>",
)
_MUSE_SPARK = TagForm(
    start="<atem:function_calls>",
    head='<atem:invoke name="{name}">',
    parameter='<atem:parameter name="{key}">',
    close="</atem:parameter>",
    tail="</atem:invoke>",
    end="</atem:function_calls>",
    around_all=True,
)
_KIMI_K3 = TagForm(
    start="<|open|>tools<|sep|>",
    head='<|open|>call tool="{name}" index="{number}"<|sep|>',
    parameter='<|open|>argument key="{key}" type="{kind}"<|sep|>',
    close="<|close|>argument<|sep|>",
    tail="<|close|>call<|sep|>",
    end="<|close|>tools<|sep|>",
    around_all=True,
    kind=lambda of: of if of == "string" else "{other}",
)
_GEMMA4 = NotationForm(
    start="<|tool_call>",
    head="call:",
    opens="{",
    sign=":",
    between=",",
    closes="}",
    end="<tool_call|>",
    quote='<|"|>',
)
_FUNCTION_GEMMA = NotationForm(
    start="<start_function_call>",
    head="call:",
    opens="{",
    sign=":",
    between=",",
    closes="}",
    end="<end_function_call>",
    quote="<escape>",
    holds_braces=False,
)
_PYTHONIC = NotationForm(
    start="<|tool_call_start|>",
    head="",
    opens="(",
    sign="=",
    between=", ",
    closes=")",
    end="<|tool_call_end|>",
    words=("True", "False", "None"),
    are_listed=True,
)
BUILDS: dict[str, Build] = {
    "json_tools": between("<tool_call>", "</tool_call>"),
    "kimi_k2": kimi_k2,
    "qwen3_coder": coder("<tool_call>", "</tool_call>").build,
    "glm47": _glm().build,
    "laguna": _glm().build,
    "longcat": _glm("longcat_").build,
    "minimax_m2": _MINIMAX_M2.build,
    "minicpm5": _MINICPM5.build,
    "muse_spark": _MUSE_SPARK.build,
    "kimi_k3": _KIMI_K3.build,
    "gemma4": _GEMMA4.build,
    "function_gemma": _FUNCTION_GEMMA.build,
    "pythonic": _PYTHONIC.build,
}
