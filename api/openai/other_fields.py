"""Request fields that are part of no body's shape: refused, or accepted without effect.

Known are the fields of OpenAI, vLLM, llama-server and mlx_lm.server. A field that a body declares
is honoured and doesn't stand here; to honour one, move it from the table into the body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.serving import fields as common
from api.serving.fields import Harmless, at_most, only, unset

_OFF = only(False)
_ON = only(True)
_ZERO = at_most(0)

REFUSED: dict[str, Harmless] = {
    # Which tokens are chosen
    "typical_p": only(1),
    "top_n_sigma": _ZERO,
    "dynatemp_range": _ZERO,
    "mirostat": only(0),
    "adaptive_target": _ZERO,
    "dry_multiplier": _ZERO,
    "min_keep": _ZERO,
    "samplers": unset,
    "repeat_penalty": only(1),
    "repeat_last_n": unset,
    "presence_context_size": unset,
    "frequency_context_size": unset,
    "bad_words": unset,
    "allowed_token_ids": unset,
    "watermarking": _OFF,
    "use_beam_search": _OFF,
    "length_penalty": only(1),
    "best_of": only(1),
    "n_cmpl": only(1),
    # Where an answer ends
    "include_stop_str_in_output": _OFF,
    "n_predict": at_most(-1),
    "n_indent": _ZERO,
    "t_max_predict_ms": _ZERO,
    "repetition_detection": unset,
    # What the prompt is made of
    "suffix": unset,
    "chat_template": unset,
    "role_mapping": unset,
    "documents": unset,
    "prompt_embeds": unset,
    "truncate_prompt_tokens": at_most(-1),
    "mm_processor_kwargs": unset,
    "media_io_kwargs": unset,
    "web_search_options": lambda value: value is None,  # An empty object switches it on.
    "functions": unset,
    "function_call": only("none", "auto"),
    "cache_salt": unset,
    # How the model thinks and says it
    "verbosity": unset,
    "reasoning_budget_message": unset,
    "reasoning_budget_start_tag": unset,
    "reasoning_budget_end_tag": unset,
    "reasoning_budget_arm_immediately": _OFF,
    "include_reasoning": _ON,
    "reasoning_format": only("auto", "deepseek"),
    "reasoning_in_content": _OFF,
    "thinking_forced_open": _OFF,
    # What the answer is held to
    "json_schema": unset,
    "guided_whitespace_pattern": unset,
    "grammar_lazy": _OFF,
    "grammar_triggers": unset,
    # How the answer is read
    "chat_format": unset,
    "chat_parser": unset,
    "parse_tool_calls": _ON,
    "preserved_tokens": unset,
    # What the answer holds
    "prompt_logprobs": unset,
    "logprob_token_ids": unset,
    "n_probs": _ZERO,
    "post_sampling_probs": _OFF,
    "return_tokens_as_token_ids": _OFF,
    "modalities": only(["text"]),
    "audio": unset,
    "moderation": unset,
    "skip_special_tokens": _ON,
    "spaces_between_special_tokens": _ON,
    "return_tokens": _OFF,
    "return_token_ids": _OFF,
    "return_prompt_text": _OFF,
    "response_fields": unset,
    # Which model answers
    "draft_model": only("default_model"),
    **common.ADAPTERS,
    "kv_transfer_params": unset,
    "ec_transfer_params": unset,
    "vllm_xargs": unset,
}
"""What would change the answer and can't be had, and the values that ask for nothing."""

WITHOUT_EFFECT = frozenset(
    {
        # OpenAI: who asks, what it is kept and billed as, how prompts are cached, what would make
        # it faster
        "user",
        "metadata",
        "store",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "prediction",
        # vLLM: names, and how the stream is cut
        "request_id",
        "session_id",
        "stream_interval",
        "truncation_side",
        "return_token_offsets",
        "return_mm_kwargs",
        "routed_experts_prompt_start",
        "guided_decoding_backend",
        # llama-server: its cache, its slots, what it tells beside, and what belongs to a field that
        # is refused. What belongs to one that is honoured changes the answer, and is refused.
        "cache_prompt",
        "n_cache_reuse",
        "id_slot",
        "n_keep",
        "n_discard",
        "timings_per_token",
        "return_progress",
        "backend_sampling",
        "dynatemp_exponent",
        "mirostat_tau",
        "mirostat_eta",
        "adaptive_decay",
        "dry_base",
        "dry_allowed_length",
        "dry_penalty_last_n",
        "dry_sequence_breakers",
        "speculative.n_min",
        "speculative.n_max",
        "speculative.p_min",
        "speculative.type",
        "speculative.ngram_size_n",
        "speculative.ngram_size_m",
        "speculative.ngram_m_hits",
        # mlx_lm.server: how fast, not what
        "num_draft_tokens",
    }
)
"""Accepted: the answer is the same with them and without."""

ON_CHATS: dict[str, Harmless] = {"add_special_tokens": _OFF, "echo": _OFF}
ON_COMPLETIONS: dict[str, Harmless] = {
    "add_special_tokens": _ON,
    "chat_template_kwargs": unset,
    "reasoning_effort": unset,
    "thinking_token_budget": at_most(-1),
    "reasoning_budget_tokens": at_most(-1),
    "continue_final_message": _OFF,
    "add_generation_prompt": _ON,
    "response_format": only({"type": "text"}),
    "truncation": only("disabled"),
    "top_logprobs": _ZERO,
}
"""What one of the two has in another way than the other, or not at all."""

MESSAGE_REFUSED: dict[str, Harmless] = {
    "audio": unset,
    "function_call": unset,
}
"""The same for the fields of one message."""

MESSAGE_WITHOUT_EFFECT = frozenset({"annotations"})
STREAM_REFUSED: dict[str, Harmless] = {"continuous_usage_stats": _OFF}
STREAM_WITHOUT_EFFECT = frozenset({"include_obfuscation"})
"""The same for ``stream_options``."""

_SENTENCES = {
    "best_of": "Answers are not compared with each other: send n in place of best_of.",
    "n_cmpl": "Send n in place of n_cmpl.",
    "suffix": "A suffix is not offered: a prompt is only continued at its end.",
    "echo": "The prompt of a chat is not echoed: echo must be false.",
    "top_logprobs": "Of a completion, logprobs is the number of the likeliest tokens.",
    "prompt_logprobs": "Send a completion with echo and logprobs in place of prompt_logprobs.",
    "functions": "Functions are called tools now: send tools.",
    "function_call": "Functions are called tools now: send tool_choice.",
    "repeat_penalty": "Send repetition_penalty in place of repeat_penalty.",
    "repeat_last_n": "Send repetition_context_size in place of repeat_last_n.",
    "n_predict": "Send max_tokens in place of n_predict.",
    "json_schema": "Send response_format in place of json_schema.",
    "modalities": 'Answers are text: modalities must be ["text"].',
}


def refuse(
    fields: Mapping[str, Any],
    table: Mapping[str, Harmless] = REFUSED,
    prefix: str = "",
    sentences: Mapping[str, str] | None = None,
) -> None:
    """Raises ApiError ``unsupported`` for a field that would change the answer and can't be had.

    ``sentences`` are those of another API, which says some things in fields of other names.
    """
    common.refuse(fields, table, prefix, _SENTENCES | dict(sentences or {}))


def refuse_all(fields: Mapping[str, Any], prefix: str) -> None:
    """Raises ApiError for the first of the fields that is set."""
    refuse(fields, dict.fromkeys(fields, _OFF), prefix)
