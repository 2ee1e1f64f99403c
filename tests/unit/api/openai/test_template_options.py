"""Options for the chat template in a request of OpenAI's: they reach the job, or are refused by
name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.openai_support import Api


def test_options_for_the_chat_template_reach_the_job(api: Api) -> None:
    kwargs = {"enable_thinking": False, "custom": [1], "unset": None}
    job = api.job(chat_template_kwargs=kwargs, reasoning_effort="low")
    assert json.loads(job.form.template_options or "") == {
        "reasoning_effort": "low",
        "enable_thinking": False,
        "custom": [1],
    }
    assert api.job(chat_template_kwargs=None, reasoning_effort=None).form.template_options is None


@pytest.mark.parametrize("name", ["messages", "tools", "add_generation_prompt", "tokenize"])
def test_what_the_service_gives_the_template_is_no_option(api: Api, name: str) -> None:
    told = api.refused(400, chat_template_kwargs={name: False})
    assert (told["code"], told["param"]) == ("unsupported", f"chat_template_kwargs.{name}")
    assert told["message"] == f"{name} is no option of a chat template."


@pytest.mark.parametrize(
    "sent",
    [
        {"chat_template_kwargs": "enable_thinking"},
        {"chat_template_kwargs": {"a b": 1}},
        {"chat_template_kwargs": {"": 1}},
        {"chat_template_kwargs": {str(number): 1 for number in range(33)}},
        {"reasoning_effort": "Very high"},
        {"reasoning_effort": 3},
    ],
)
def test_options_of_a_wrong_shape_are_refused(api: Api, sent: dict[str, Any]) -> None:
    assert api.refused(400, **sent)["param"] == next(iter(sent))


@pytest.mark.parametrize("name", ["enable_thinking", "thinking"])
def test_an_answer_held_to_a_schema_can_not_think_first(api: Api, name: str) -> None:
    schema = {"type": "json_object"}
    told = api.refused(400, response_format=schema, chat_template_kwargs={name: True})
    assert (told["code"], told["param"]) == ("unsupported", "chat_template_kwargs")
    job = api.job(response_format=schema, chat_template_kwargs={name: False})
    assert job.form.template_options == f'{{"{name}": false}}'
