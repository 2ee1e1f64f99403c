"""Chat templates of vision models: words never vanish, with images or without."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import AddedToken

from tests.mlx.conftest import Bench
from tests.model_kinds.kinds import SEES, make_folder
from wire.messages import ImagePart, Message, TextPart
from worker.backends.text.control_tokens import ControlTokens
from worker.backends.vision.template import VisionTemplate
from worker.errors import WorkerError
from worker.models.folders import describe

STRINGS = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
EITHER = (
    "{% for m in messages %}<{{ m['role'] }}>{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% else %}<image>{% endif %}{% endfor %}{% endif %}{% endfor %}"
)
LOOPS = (
    "{% for m in messages %}<{{ m['role'] }}>{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% elif part['type'] == 'image' %}<image>"
    "{% endif %}{% endfor %}{% endfor %}"
)
"""As SmolVLM's and Idefics3's."""
IMAGES_FIRST = (
    "{% for m in messages %}<{{ m['role'] }}>"
    "{% for part in m['content'] | selectattr('type', 'equalto', 'image') %}<image>{% endfor %}"
    "{% for part in m['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] }}"
    "{% endfor %}{% endfor %}"
)
"""As LLaVA's."""
UNDER_CONTENT = (
    "{% for m in messages %}<{{ m['role'] }}>{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for part in m['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% else %}{{ part['content'] }}{% endif %}{% endfor %}{% endif %}{% endfor %}"
)
"""As InternVL's."""
JOINS = "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] }}{% endfor %}"
"""As Phi-3.5-Vision's: an image is a mark in the text."""
PICTURE = ImagePart(sha256="1" * 64, width=8, height=8)
TALK = [
    Message(role="system", content="be brief"),
    Message(role="user", content=(PICTURE, TextPart(text="what is it?"))),
    Message(role="assistant", content="a box"),
    Message(role="user", content=(TextPart(text="and"), TextPart(text=" its colour?"))),
]
WHOLE = "<system>be brief<user><image>what is it?<assistant>a box<user>and its colour?"


class Owner:
    """A tokeniser with a chat template."""

    def __init__(self, chat_template: str) -> None:
        self.chat_template = chat_template
        self._compiled = ImmutableSandboxedEnvironment().from_string(chat_template)

    def apply_chat_template(self, rows: list[Any], **options: Any) -> str:
        return self._compiled.render(messages=rows, **options)


def template(source: str, model_type: str = "qwen2_vl", sees_images: bool = True) -> VisionTemplate:
    owner = Owner(source)
    config = SimpleNamespace(model_type=model_type)
    return VisionTemplate(owner, owner, config, sees_images=sees_images)


@pytest.mark.parametrize("source", [EITHER, LOOPS, IMAGES_FIRST, UNDER_CONTENT])
def test_every_turns_words_and_images_are_in_the_prompt(source: str) -> None:
    made = template(source)
    assert made.render(made.rows(TALK), {}) == WHOLE


@pytest.mark.parametrize("source", [STRINGS, JOINS])
def test_a_template_of_strings_gets_the_processors_marks(source: str) -> None:
    made = template(source, "phi3_v")
    assert made.render(made.rows(TALK), {}) == WHOLE.replace("<image>", "<|image_1|>")


def test_numbered_marks_go_on_from_message_to_message() -> None:
    made = template(STRINGS, "phi3_v")
    rows = made.rows([*TALK, TALK[1], TALK[1]])
    text = made.render(rows, {})
    assert re.findall(r"<\|image_\d+\|>", text) == [f"<|image_{i}|>" for i in (1, 2, 3)]


@pytest.mark.parametrize("kind", ["phi3_v", "molmo", "kimi_vl"])
def test_a_template_runs_in_a_sandbox(kind: str, tmp_path: Path) -> None:
    """Processors of mlx_vlm that render by themselves would run what it says."""
    folder, marker = make_folder(f"{kind}{SEES}", tmp_path / "model"), tmp_path / "was-run"
    evil = f"{{{{ cycler.__init__.__globals__.os.mkdir('{marker}') }}}}"
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "chat_template": evil}))
    record = describe(folder)
    assert record is not None
    assert record.is_vision
    with contextlib.suppress(WorkerError, SecurityError):
        bench = Bench(record)
        bench.backend.prepare(bench.chat("hello"))
    assert not marker.exists()


@pytest.mark.parametrize("source", [STRINGS, EITHER, LOOPS, IMAGES_FIRST, UNDER_CONTENT, JOINS])
def test_a_model_without_a_tower_is_shown_the_words_alone(source: str) -> None:
    made = template(source, sees_images=False)
    assert made.render(made.rows(TALK), {}) == WHOLE.replace("<image>", "")


def test_control_tokens_that_begin_like_a_parts_name_leave_its_words_there() -> None:
    tile = "TILE_GLOBAL"  # Cohere's, and "text" ends with its first letter.
    tokenizer = SimpleNamespace(added_tokens_decoder={9: AddedToken(tile, special=True)})
    made = template(EITHER)
    escaped = ControlTokens(tokenizer, EITHER).escaped(made.rows(TALK), {})
    assert escaped is not None
    assert made.render(escaped.rows, {}).replace(escaped.escape, "") == WHOLE
