"""Messages of OpenAI's requests: without content, and with texts of several names."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api_support import message
from tests.support.openai_support import Api


@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": []}, {"content": ""}])
@pytest.mark.parametrize("role", ["assistant", "tool"])
def test_an_assistant_and_a_tool_may_say_nothing(
    api: Api, role: str, content: dict[str, Any]
) -> None:
    job = api.job(messages=[message("a"), {"role": role} | content, message("c")])
    assert [m.content for m in job.messages] == ["a", "", "c"]


@pytest.mark.parametrize("role", ["system", "user"])
def test_an_empty_text_is_a_text(api: Api, role: str) -> None:
    assert api.job(messages=[message("", role), message("a")]).messages[0].content == ""


def test_texts_of_other_names_and_refusals_are_texts(api: Api) -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b"}]
    no = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    turns = [{"role": "user", "content": parts}, no, message("c")]
    assert [m.content for m in api.job(messages=turns).messages] == ["ab", "No.", "c"]
    for content in ({"content": None}, {}):
        refused = {"role": "assistant", "refusal": "No."} | content
        assert api.job(messages=[message(), refused, message()]).messages[1].content == "No."


@pytest.mark.parametrize("field", ["refusal", "reasoning", "reasoning_content"])
def test_what_only_an_assistant_says_is_refused_in_other_messages(api: Api, field: str) -> None:
    said = [message("a"), {"role": "assistant", "content": "b", field: "x"}, message("c")]
    assert api.job(messages=said).messages[1].role == "assistant"
    api.worker.seen.clear()
    refusal = api.refused(400, messages=[message("a", "system"), message("b") | {field: "x"}])
    assert (refusal["code"], refusal["param"]) == ("unsupported", f"messages[1].{field}")
