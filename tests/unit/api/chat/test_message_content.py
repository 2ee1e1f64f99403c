"""Messages of the native route: without content, and with texts of several names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api_support import chat_body, message
from tests.support.openai_support import Api, serving
from wire.messages import ChatJob

CHAT = "/api/engine/chat"


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as api:
        yield api


def sent(api: Api, turns: list[Any]) -> ChatJob:
    response = api.client.post(CHAT, json=chat_body(messages=turns))
    assert response.status_code == 200, response.text
    job = api.worker.seen[-1]
    assert isinstance(job, ChatJob)
    return job


@pytest.mark.parametrize("role", ["assistant", "tool"])
@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": []}, {"content": ""}])
def test_an_assistant_and_a_tool_may_say_nothing(
    api: Api, role: str, content: dict[str, object]
) -> None:
    turns = [message("a"), {"role": role} | content, message("c")]
    assert [m.content for m in sent(api, turns).messages] == ["a", "", "c"]


@pytest.mark.parametrize("role", ["user", "system", "developer"])
@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": []}])
def test_nobody_else_may(api: Api, role: str, content: dict[str, object]) -> None:
    response = api.client.post(CHAT, json=chat_body(messages=[{"role": role} | content]))
    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert error == (
        f"body -> messages -> 0 -> content: Value error, a message of role {role} needs content"
    )


def test_texts_have_several_names(api: Api) -> None:
    parts = [
        {"type": "input_text", "text": "a"},
        {"type": "output_text", "text": "b"},
        {"type": "refusal", "refusal": "c"},
    ]
    turns = [message("x"), {"role": "assistant", "content": parts}, message("y")]
    assert sent(api, turns).messages[1].content == "abc"
