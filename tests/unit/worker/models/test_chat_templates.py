"""What a folder's chat template says about thinking before the model is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worker.models.chat_templates import reasoning_efforts

SWITCH = (
    "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "efforts"),
    [
        ("{{ messages }}", ()),
        ("{# enable_thinking #}{{ messages }}", ()),
        (SWITCH, ("none", "high")),
        ("{% if thinking %}<think>{% endif %}", ("none", "high")),
        ("Reasoning: {{ reasoning_effort }}", ("none", "low", "medium", "high")),
        ("{{ reasoning_effort }}" + SWITCH, ("none", "low", "medium", "high")),
    ],
)
def test_the_efforts_that_a_template_tells_apart(
    tmp_path: Path, template: str, efforts: tuple[str, ...]
) -> None:
    config = {"chat_template": template}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert reasoning_efforts(tmp_path, is_vision=False) == efforts


def test_a_folder_without_a_template_has_none(tmp_path: Path) -> None:
    assert reasoning_efforts(tmp_path, is_vision=False) == ()
