"""Every field of OpenAI's routes and of compatible servers is honoured, refused by name, or
accepted without effect."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from openai.types import completion_create_params
from openai.types.chat import chat_completion_assistant_message_param
from openai.types.chat import completion_create_params as chat_create_params

from api.openai import other_fields
from api.openai.messages import Message
from api.openai.schemas import ChatBody, CompletionBody
from tests.support.openai_support import CHAT, COMPLETIONS, Api, body
from tests.support.paths import ROOT

VLLM = """
    logit_bias top_logprobs use_beam_search top_k min_p repetition_penalty length_penalty stop_token_ids
    include_stop_str_in_output ignore_eos min_tokens skip_special_tokens spaces_between_special_tokens
    truncate_prompt_tokens truncation_side prompt_logprobs logprob_token_ids allowed_token_ids bad_words echo
    add_generation_prompt continue_final_message add_special_tokens documents chat_template chat_template_kwargs
    media_io_kwargs mm_processor_kwargs structured_outputs guided_json guided_regex guided_choice guided_grammar
    guided_decoding_backend guided_whitespace_pattern priority request_id session_id return_tokens_as_token_ids
    return_token_ids return_token_offsets return_prompt_text return_mm_kwargs routed_experts_prompt_start cache_salt
    kv_transfer_params ec_transfer_params vllm_xargs repetition_detection stream_interval watermarking
    thinking_token_budget include_reasoning reasoning_effort
"""
LLAMA_SERVER = """
    timings_per_token cache_prompt return_tokens return_progress n_predict n_indent n_keep n_discard n_cmpl
    n_cache_reuse t_max_predict_ms response_fields top_k min_p top_n_sigma xtc_probability xtc_threshold typical_p
    dynatemp_range dynatemp_exponent repeat_last_n repeat_penalty frequency_penalty presence_penalty dry_multiplier
    dry_base dry_allowed_length dry_penalty_last_n dry_sequence_breakers mirostat mirostat_tau mirostat_eta
    adaptive_target adaptive_decay n_probs min_keep backend_sampling post_sampling_probs speculative.n_min
    speculative.n_max speculative.p_min speculative.type speculative.ngram_size_n speculative.ngram_size_m
    speculative.ngram_m_hits lora json_schema grammar grammar_lazy grammar_triggers preserved_tokens chat_format
    reasoning_format thinking_forced_open parse_tool_calls chat_parser reasoning_budget_tokens
    reasoning_budget_start_tag reasoning_budget_end_tag reasoning_budget_message reasoning_budget_arm_immediately
    logit_bias ignore_eos stop samplers id_slot
"""


def fields_of(params: Any) -> set[str]:
    """The fields of a request of the official client, with and without a stream."""
    return {*params.CompletionCreateParamsBase.__annotations__, "stream"}


def of_mlx_lm() -> set[str]:
    """The fields that mlx_lm.server reads from a request."""
    server = pytest.importorskip("mlx_lm.server")
    found = set(re.findall(r"\bbody\.get\(\s*\"(\w+)\"", inspect.getsource(server)))
    assert found >= {"top_k", "logit_bias", "role_mapping"}, (
        "the source of mlx_lm.server has changed"
    )
    return found


@pytest.mark.parametrize("shape", [ChatBody, CompletionBody])
def test_every_known_field_is_in_one_of_the_lists(shape: Any) -> None:
    params = chat_create_params if shape is ChatBody else completion_create_params
    known = fields_of(params) | set(VLLM.split()) | set(LLAMA_SERVER.split()) | of_mlx_lm()
    lists = [set(shape.model_fields), set(shape.refused), set(other_fields.WITHOUT_EFFECT)]
    # Those that only a chat has are unknown to a completion, as they are to OpenAI.
    chats = (
        set(ChatBody.model_fields) - set(CompletionBody.model_fields)
        if shape is CompletionBody
        else set()
    )
    assert known - set().union(*lists) - chats == set()
    assert [
        one & other for one in lists for other in lists if one is not other and one & other
    ] == []


def test_every_field_of_an_assistants_message_is_in_one_of_the_lists() -> None:
    known = set(
        chat_completion_assistant_message_param.ChatCompletionAssistantMessageParam.__annotations__
    )
    assert known <= set(Message.model_fields) | set(other_fields.MESSAGE_REFUSED)


@pytest.mark.parametrize(
    "sent",
    [
        {"typical_p": 0.5},
        {"modalities": ["audio"]},
        {"modalities": ["text", "audio"]},
        {"audio": {"voice": "alloy", "format": "wav"}},
        {"prompt_logprobs": 3},
        {"verbosity": "high"},
        {"web_search_options": {}},
        {"web_search_options": {"search_context_size": "low"}},
        {"best_of": 2},
        {"suffix": "x"},
        {"use_beam_search": True},
        {"length_penalty": 0.5},
        {"repeat_penalty": 1.2},
        {"repeat_last_n": 64},
        {"n_predict": 5},
        {"lora": [{"id": 0, "scale": 1}]},
        {"adapters": "some/where"},
        {"draft_model": "small"},
        {"typical_p": "5"},
        {"functions": [{"name": "clock"}]},
        {"function_call": {"name": "clock"}},
        {"logprobs": None, "return_tokens_as_token_ids": True},
        {"logprobs": None, "post_sampling_probs": True},
        {"guided_json": {}, "guided_whitespace_pattern": " "},
        {"grammar": 'root ::= "a"', "grammar_lazy": True},
        {"grammar": 'root ::= "a"', "grammar_triggers": [{"type": 0, "value": "a"}]},
        {"preserved_tokens": ["<tool>"]},
        {"parse_tool_calls": False},
        {"reasoning_in_content": True},
        {"reasoning_budget_start_tag": "<think>"},
    ],
)
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_field_that_would_change_the_answer_is_refused_by_name(
    api: Api, path: str, sent: dict[str, Any]
) -> None:
    refusal = api.refused(400, path, **sent)
    assert (refusal["code"], refusal["type"]) == ("unsupported", "invalid_request_error")
    assert refusal["param"] == list(sent)[-1]
    assert len(refusal["message"]) > 15


def test_a_completion_is_refused_what_only_chats_have(api: Api) -> None:
    assert api.refused(400, COMPLETIONS, top_logprobs=1)["param"] == "top_logprobs"
    assert (
        api.refused(400, COMPLETIONS, response_format={"type": "json_object"})["param"]
        == "response_format"
    )
    assert api.refused(400, COMPLETIONS, truncation="auto")["param"] == "truncation"
    kwargs = {"enable_thinking": False}
    told = api.refused(400, COMPLETIONS, chat_template_kwargs=kwargs)
    assert (told["code"], told["param"]) == ("unsupported", "chat_template_kwargs")
    for field, value in (
        ("reasoning_effort", "low"),
        ("thinking_token_budget", 0),
        ("reasoning_budget_tokens", 9),
        ("continue_final_message", True),
        ("add_generation_prompt", False),
    ):
        assert api.refused(400, COMPLETIONS, **{field: value})["param"] == field


@pytest.mark.parametrize(
    "sent",
    [
        {
            "logit_bias": {},
            "top_k": 0,
            "min_p": 0.0,
            "typical_p": 1.0,
            "stop_token_ids": [],
            "min_tokens": 0,
        },
        {
            "top_k": -1,
            "ignore_eos": False,
            "modalities": ["text"],
            "audio": None,
            "prediction": None,
        },
        {
            "top_logprobs": 0,
            "logprobs": None,
            "continue_final_message": False,
            "add_generation_prompt": True,
        },
        {
            "chat_template_kwargs": {},
            "reasoning_effort": None,
            "n": 1,
            "best_of": 1,
            "suffix": "",
            "echo": False,
        },
        {
            "user": "ann",
            "metadata": {"chat": "1"},
            "store": True,
            "safety_identifier": "x",
        },
        {
            "prediction": {"type": "content", "content": "x"},
            "prompt_cache_key": "x",
            "cache_prompt": False,
            "timings_per_token": True,
            "num_draft_tokens": 3,
        },
        {"stream_options": {"include_obfuscation": False}},
    ],
)
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_what_asks_for_nothing_is_served_and_not_named(
    api: Api, path: str, sent: dict[str, Any]
) -> None:
    answer = api.client.post(path, json=body(path) | sent)
    assert answer.status_code == 200, answer.text
    assert "x-ignored-fields" not in answer.headers


@pytest.mark.parametrize(
    ("turn", "param"),
    [
        ({"role": "assistant", "content": "x", "audio": {"id": "a"}}, "messages[1].audio"),
        (
            {"role": "assistant", "content": "", "function_call": {"name": "f"}},
            "messages[1].function_call",
        ),
        ({"role": "user", "content": "x", "refusal": "No."}, "messages[1].refusal"),
    ],
)
def test_fields_of_a_message_are_refused_by_name_as_well(
    api: Api, turn: dict[str, Any], param: str
) -> None:
    assert api.refused(400, messages=[{"role": "user", "content": "Hi"}, turn])["param"] == param
    assert api.refused(400, stream=True, stream_options={"continuous_usage_stats": True})[
        "param"
    ] == ("stream_options.continuous_usage_stats")


def test_the_newer_name_of_the_limit_holds_for_completions(api: Api) -> None:
    assert api.job(COMPLETIONS, max_completion_tokens=50).sampling.max_tokens == 50
    assert api.job(COMPLETIONS, max_completion_tokens=50, max_tokens=7).sampling.max_tokens == 50


def test_thinking_is_accepted_under_either_name(api: Api) -> None:
    for name in ("reasoning", "reasoning_content"):
        turns = [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Yes", name: "Hm."},
        ]
        job = api.job(messages=[*turns, {"role": "user", "content": "So?", "reasoning": None}])
        assert [message.reasoning for message in job.messages] == [None, "Hm.", None]


def test_the_documentation_lists_every_field() -> None:
    text = (ROOT / "docs" / "openai.md").read_text(encoding="utf-8")
    sections = {part.split("\n")[0]: part for part in text.split("\n## ")}
    names = ("Honoured", "Refused when set", "Accepted without effect")
    documented = [set(re.findall("`([a-z_.]+)`", sections[name])) for name in names]
    assert {*ChatBody.model_fields, *CompletionBody.model_fields} - {
        "stream_options"
    } <= documented[0]
    assert {
        *other_fields.REFUSED,
        *other_fields.ON_CHATS,
        *other_fields.MESSAGE_REFUSED,
    } <= documented[1]
    assert {*other_fields.WITHOUT_EFFECT, *other_fields.MESSAGE_WITHOUT_EFFECT} <= documented[2]
