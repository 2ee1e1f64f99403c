"""What a model folder's chat template says, before the model is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from worker.backends.text.template_text import EFFORT, SWITCHES, TOOLS, uses

_RENDERER = "chat_template_type"
"""In a tokeniser's config: a renderer of mlx_lm's, in Python. All of them take tools."""


def takes_tools(folder: Path, *, is_vision: bool) -> bool:
    """Whether a model can be given tools. A model that is loaded answers the same."""
    config = _object(folder / "tokenizer_config.json")
    return config.get(_RENDERER) is not None or uses(_template(folder, config, is_vision), TOOLS)


def reasoning_efforts(folder: Path, *, is_vision: bool) -> tuple[str, ...]:
    """The values of ``reasoning_effort`` that a model's chat template tells apart; none if it has
    no say in how much the model thinks."""
    template = _template(folder, _object(folder / "tokenizer_config.json"), is_vision)
    if uses(template, EFFORT):
        return ("none", "low", "medium", "high")
    return ("none", "high") if any(uses(template, name) for name in SWITCHES) else ()


def _template(folder: Path, config: dict[str, Any], is_vision: bool) -> str:
    """The text of a folder's chat templates, from wherever models keep them; empty without one."""
    files = [
        folder / "chat_template.jinja",
        *(folder / "additional_chat_templates").glob("*.jinja"),
    ]
    found = [text for file in files if (text := _text(file))]
    if not found:
        found = _templates(config.get("chat_template"))
    if not found and is_vision:
        found = _templates(_object(folder / "chat_template.json").get("chat_template"))
    return "\n".join(found)


def _templates(value: Any) -> list[str]:
    """A template, or those of a list of named ones."""
    if isinstance(value, list):
        value = [entry.get("template") for entry in value if isinstance(entry, dict)]
        return [text for text in value if isinstance(text, str)]
    return [value] if isinstance(value, str) else []


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _object(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(file))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
