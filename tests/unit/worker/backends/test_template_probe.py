"""Templates that show a text in parts alone are told from those that take a string."""

from __future__ import annotations

from typing import Any

import pytest
from jinja2 import Environment, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from worker.backends.text.template_probe import roles_in_parts, shows_beside, text_parts

STRINGS = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
EITHER = (
    "{% for m in messages %}<{{ m['role'] }}>{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% else %}<image>{% endif %}{% endfor %}{% endif %}{% endfor %}"
)
PARTS = (
    "{% for m in messages %}<{{ m['role'] | capitalize }}>{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% elif part['type'] == 'image' %}<image>"
    "{% endif %}{% endfor %}{% endfor %}"
)
"""As SmolVLM's and LLaVA's."""
UNDER_CONTENT = (
    "{% for m in messages %}{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for part in m['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% else %}{{ part['content'] }}{% endif %}{% endfor %}{% endif %}{% endfor %}"
)
"""As InternVL's."""
USERS_ALONE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{% for part in m['content'] %}"
    "{{ part['text'] }}{% endfor %}{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise() }}{% endif %}" + PARTS
UPPER = "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}"
REFUSES_PARTS = "{% for m in messages %}{{ m['role'] + m['content'] }}{% endfor %}"


def rendering(template: str) -> Any:
    environment: Environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    compiled = environment.from_string(
        template.replace("part['text']", "part['text'] | default('')")
    )
    return lambda rows: compiled.render(messages=rows)


@pytest.mark.parametrize(
    ("template", "roles"),
    [
        (STRINGS, set()),
        (EITHER, set()),
        (PARTS, {"system", "user", "assistant"}),
        (UNDER_CONTENT, set()),
        (USERS_ALONE, {"user"}),
        (NO_SYSTEM, {"user", "assistant"}),
        (UPPER, set()),
        (REFUSES_PARTS, set()),
    ],
)
def test_a_role_gets_parts_where_its_words_would_vanish(template: str, roles: set[str]) -> None:
    assert roles_in_parts(rendering(template)) == roles


@pytest.mark.parametrize("template", [EITHER, PARTS, UNDER_CONTENT])
def test_words_beside_an_image_are_found_under_either_name(template: str) -> None:
    render = rendering(template)
    assert shows_beside(render, {"type": "image"})
    rows = [{"role": "user", "content": [{"type": "image"}, *text_parts("what is it?")]}]
    assert "<image>what is it?" in render(rows)


def test_a_template_that_joins_strings_takes_no_image() -> None:
    assert not shows_beside(rendering(REFUSES_PARTS), {"type": "image"})
