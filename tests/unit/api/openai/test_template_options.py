"""Options for the chat template in a request of OpenAI's: they reach the job, or are refused by
name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.openai_support import Api


def test_options_for_the_chat_template_reach_the_job(api: Api) -> None:
    kwargs = {"enable_thinking": False, "custom": 1.5, "word": "x", "unset": None}
    job = api.job(chat_template_kwargs=kwargs, reasoning_effort="low")
    assert json.loads(job.form.template_options or "") == {
        "reasoning_effort": "low",
        "enable_thinking": False,
        "custom": 1.5,
        "word": "x",
    }
    assert api.job(chat_template_kwargs=None, reasoning_effort=None).form.template_options is None


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high"])
def test_every_effort_reaches_the_job(api: Api, effort: str) -> None:
    form = api.job(reasoning_effort=effort).form
    assert json.loads(form.template_options or "") == {"reasoning_effort": effort}


@pytest.mark.parametrize("name", ["thinking_token_budget", "reasoning_budget_tokens"])
def test_a_limit_of_thinking_reaches_the_job_by_either_name(api: Api, name: str) -> None:
    for sent, kept in ((0, 0), (7, 7), (10**9, 32768), (-1, None), (None, None)):
        assert api.job(**{name: sent}).sampling.thinking_budget == kept


@pytest.mark.parametrize("name", ["thinking_token_budget", "reasoning_budget_tokens"])
@pytest.mark.parametrize("sent", [-2, True, "5"])
def test_a_limit_that_is_none_is_refused(api: Api, name: str, sent: Any) -> None:
    assert api.refused(400, **{name: sent})["param"] == name


def test_of_two_limits_vllms_holds(api: Api) -> None:
    both = {"thinking_token_budget": 3, "reasoning_budget_tokens": 9}
    assert api.job(**both).sampling.thinking_budget == 3


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
        {"chat_template_kwargs": {"custom": [1]}},
        {"chat_template_kwargs": {"custom": {"a": 1}}},
        {"reasoning_effort": "Very high"},
        {"reasoning_effort": "xhigh"},
        {"reasoning_effort": 3},
    ],
)
def test_options_of_a_wrong_shape_are_refused(api: Api, sent: dict[str, Any]) -> None:
    assert api.refused(400, **sent)["param"] == next(iter(sent))


@pytest.mark.parametrize("name", ["enable_thinking", "thinking"])
def test_an_answer_held_to_a_schema_may_think_first(api: Api, name: str) -> None:
    for value, written in ((True, "true"), (False, "false")):
        job = api.job(response_format={"type": "json_object"}, chat_template_kwargs={name: value})
        assert job.form.template_options == f'{{"{name}": {written}}}'
