"""What the text of a chat template says about it: which variables it reads. Imports no MLX."""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any

from jinja2 import Environment, TemplateError, meta

TOOLS = "tools"
EFFORT = "reasoning_effort"
SWITCHES = ("enable_thinking", "thinking")
"""Variables by which templates set how much a model thinks, and whether it does."""


def template_source(tokenizer: Any) -> str:
    """The text of a tokeniser's or processor's chat templates; empty without one."""
    template = getattr(tokenizer, "chat_template", None)
    if callable(written := getattr(tokenizer, "_chat_template", None)):
        # One of mlx_lm's, in Python.
        return inspect.getsource(inspect.getmodule(written) or written)
    if isinstance(template, dict):
        return "\n".join(map(str, template.values()))
    return str(template or "")


def uses(source: str, name: str) -> bool:
    """Whether a template reads a variable, or a renderer in Python has such an argument."""
    if name not in source:
        return False
    word = re.escape(name)
    if "def apply_chat_template(" in source:
        argument = rf"[\"']{word}[\"'] in kwargs|^ +{word}: "
        return re.search(argument, source, re.MULTILINE) is not None
    variables = _variables(source)
    return name in variables if variables else re.search(rf"\b{word}\b", source) is not None


@functools.lru_cache(maxsize=64)
def _variables(source: str) -> frozenset[str]:
    """The variables of a template; none if it can't be read."""
    environment = Environment(extensions=["jinja2.ext.loopcontrols"])
    # An extension of transformers' that marks an assistant's words.
    source = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", source)
    try:
        return frozenset(meta.find_undeclared_variables(environment.parse(source)))
    except TemplateError:
        return frozenset()
