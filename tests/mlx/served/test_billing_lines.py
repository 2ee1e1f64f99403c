"""The line at the head of Claude Code's system prompt, other with each request: behind it nothing of
a prompt could be reused, so it is taken out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from anthropic import Anthropic

from tests.support.http_client import Service

RULES = "\n".join(
    f"Rule {n}: keep file {n * 7} as it is, and say so in {n} words." for n in range(40)
)


@pytest.fixture(scope="module")
def anthropic(http: Service) -> Iterator[Anthropic]:
    with Anthropic(base_url=http.url, api_key="none", max_retries=0, timeout=120) as made:
        yield made


def turn(anthropic: Anthropic, line: str, messages: list[Any]) -> tuple[str, float]:
    """What is said, and how much of the prompt came from the cache."""
    answer = anthropic.messages.create(
        model="demo-chat",
        max_tokens=12,
        extra_body={"temperature": 0.0},
        system=[
            {"type": "text", "text": line},
            {"type": "text", "text": RULES, "cache_control": {"type": "ephemeral"}},
        ],
        messages=messages,
    )
    [block] = answer.content
    assert block.type == "text"
    cached = answer.usage.cache_read_input_tokens or 0
    whole = answer.usage.input_tokens + cached
    assert whole > 500
    return block.text, cached / whole


def two_turns(anthropic: Anthropic, name: str) -> float:
    """How much of the second turn's prompt is cached, of a conversation whose first line changes."""
    asked: list[Any] = [{"role": "user", "content": f"Who are you, {name}?"}]
    said, _ = turn(anthropic, f"{name}: cc_version=2.1.0; cch=1a2b3;", asked)
    asked += [
        {"role": "assistant", "content": said},
        {"role": "user", "content": "And what is a queue?"},
    ]
    return turn(anthropic, f"{name}: cc_version=2.1.0; cch=ffee9;", asked)[1]


def test_turns_with_changing_billing_lines_reuse_nine_tenths(anthropic: Anthropic) -> None:
    assert two_turns(anthropic, "x-anthropic-billing-header") >= 0.9
    # Any other line is text, and what stands behind it is read again.
    assert two_turns(anthropic, "x-other-header") < 0.1
