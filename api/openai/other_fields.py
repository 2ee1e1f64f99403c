"""Request fields that are part of no body's shape: refused, or accepted without effect.

Known are the fields of OpenAI, vLLM, llama-server and mlx_lm.server. A field that a body declares
is honoured and doesn't stand here; to honour one, move it from the table into the body.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from api.errors import ApiError

MOST_NAMED = 20
"""Names of unknown fields in one header: a request may hold thousands."""
_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")

Harmless = Callable[[Any], bool]
"""Whether a value asks for nothing but what is done anyway."""


def _unset(value: Any) -> bool:
    return value is None or value in ("", [], {})


def _only(*values: Any) -> Harmless:
    # To Python 0 is False, and 1 is True; to a client that sends them they are not.
    return lambda value: (
        _unset(value) or any(value == one and _is_bool(value) == _is_bool(one) for one in values)
    )


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _at_most(limit: float) -> Harmless:
    return lambda value: value is None or (isinstance(value, (int, float)) and value <= limit)


_OFF = _only(False)
_ON = _only(True)
_ZERO = _at_most(0)

REFUSED: dict[str, Harmless] = {
    # Which tokens are chosen
    "logit_bias": _unset,
    "top_k": _ZERO,
    "min_p": _ZERO,
    "typical_p": _only(1),
    "top_n_sigma": _ZERO,
    "xtc_probability": _ZERO,
    "dynatemp_range": _ZERO,
    "mirostat": _only(0),
    "adaptive_target": _ZERO,
    "dry_multiplier": _ZERO,
    "min_keep": _ZERO,
    "samplers": _unset,
    "repeat_penalty": _only(1),
    "repeat_last_n": _unset,
    "repetition_context_size": _unset,
    "presence_context_size": _unset,
    "frequency_context_size": _unset,
    "bad_words": _unset,
    "allowed_token_ids": _unset,
    "watermarking": _OFF,
    "use_beam_search": _OFF,
    "length_penalty": _only(1),
    "best_of": _only(1),
    "n": _only(1),
    "n_cmpl": _only(1),
    # Where an answer ends
    "stop_token_ids": _unset,
    "include_stop_str_in_output": _OFF,
    "ignore_eos": _OFF,
    "min_tokens": _ZERO,
    "n_predict": _at_most(-1),
    "n_indent": _ZERO,
    "t_max_predict_ms": _ZERO,
    "repetition_detection": _unset,
    # What the prompt is made of
    "suffix": _unset,
    "continue_final_message": _OFF,
    "add_generation_prompt": _ON,
    "chat_template": _unset,
    "role_mapping": _unset,
    "documents": _unset,
    "prompt_embeds": _unset,
    "truncate_prompt_tokens": _at_most(-1),
    "mm_processor_kwargs": _unset,
    "media_io_kwargs": _unset,
    "web_search_options": _unset,
    "functions": _unset,
    "function_call": _only("none", "auto"),
    "cache_salt": _unset,
    # How the model thinks and says it
    "verbosity": _unset,
    "thinking_token_budget": _unset,
    "reasoning_budget_tokens": _at_most(-1),
    "reasoning_budget_message": _unset,
    "include_reasoning": _ON,
    "reasoning_format": _only("auto", "deepseek"),
    "thinking_forced_open": _OFF,
    # What the answer is held to
    "structured_outputs": _unset,
    "guided_json": _unset,
    "guided_regex": _unset,
    "guided_choice": _unset,
    "guided_grammar": _unset,
    "grammar": _unset,
    "json_schema": _unset,
    # What the answer holds
    "echo": _OFF,
    "logprobs": _OFF,
    "top_logprobs": _ZERO,
    "prompt_logprobs": _unset,
    "logprob_token_ids": _unset,
    "n_probs": _ZERO,
    "modalities": _only(["text"]),
    "audio": _unset,
    "moderation": _unset,
    "skip_special_tokens": _ON,
    "spaces_between_special_tokens": _ON,
    "return_tokens": _OFF,
    "return_token_ids": _OFF,
    "return_prompt_text": _OFF,
    "response_fields": _unset,
    # Which model answers
    "draft_model": _only("default_model"),
    "adapters": _unset,
    "lora": _unset,
    "lora_request": _unset,
    "kv_transfer_params": _unset,
    "ec_transfer_params": _unset,
    "vllm_xargs": _unset,
}
"""What would change the answer and can't be had, and the values that ask for nothing."""

WITHOUT_EFFECT = frozenset(
    {
        # OpenAI: who asks, what it is kept and billed as, how prompts are cached, what would make
        # it faster
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "prediction",
        # vLLM: names, order, and how the stream is cut
        "request_id",
        "session_id",
        "priority",
        "stream_interval",
        "truncation_side",
        "return_tokens_as_token_ids",
        "return_token_offsets",
        "return_mm_kwargs",
        "routed_experts_prompt_start",
        "guided_decoding_backend",
        "guided_whitespace_pattern",
        # llama-server: its cache, its slots, what it tells beside, and what belongs to a field that
        # is refused
        "cache_prompt",
        "n_cache_reuse",
        "id_slot",
        "n_keep",
        "n_discard",
        "timings_per_token",
        "return_progress",
        "post_sampling_probs",
        "backend_sampling",
        "xtc_threshold",
        "dynatemp_exponent",
        "mirostat_tau",
        "mirostat_eta",
        "adaptive_decay",
        "dry_base",
        "dry_allowed_length",
        "dry_penalty_last_n",
        "dry_sequence_breakers",
        "grammar_lazy",
        "grammar_triggers",
        "preserved_tokens",
        "chat_format",
        "chat_parser",
        "parse_tool_calls",
        "reasoning_in_content",
        "reasoning_budget_start_tag",
        "reasoning_budget_end_tag",
        "reasoning_budget_arm_immediately",
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

ON_CHATS: dict[str, Harmless] = {"add_special_tokens": _OFF}
ON_COMPLETIONS: dict[str, Harmless] = {
    "add_special_tokens": _ON,
    "chat_template_kwargs": _unset,
    "reasoning_effort": _unset,
    "response_format": _only({"type": "text"}),
}
"""What one of the two has in another way than the other, or not at all."""

MESSAGE_REFUSED: dict[str, Harmless] = {
    "audio": _unset,
    "function_call": _unset,
    "refusal": _unset,
    "prefix": _OFF,
}
"""The same for the fields of one message. A ``prefix`` is continued elsewhere; here an answer is
a new turn."""

MESSAGE_WITHOUT_EFFECT = frozenset({"annotations"})
STREAM_REFUSED: dict[str, Harmless] = {"continuous_usage_stats": _OFF}
STREAM_WITHOUT_EFFECT = frozenset({"include_obfuscation"})
"""The same for ``stream_options``."""

_SENTENCES = {
    "n": "One answer a request: n must be 1.",
    "best_of": "One answer a request: best_of must be 1.",
    "suffix": "A suffix is not offered: a prompt is only continued at its end.",
    "echo": "The prompt is not echoed: echo must be false.",
    "logprobs": "Log-probabilities are not offered.",
    "functions": "Functions are called tools now: send tools.",
    "function_call": "Functions are called tools now: send tool_choice.",
    "repeat_penalty": "Send repetition_penalty in place of repeat_penalty.",
    "n_predict": "Send max_tokens in place of n_predict.",
    "json_schema": "Send response_format in place of json_schema.",
    "structured_outputs": "Send response_format in place of structured_outputs.",
    "guided_json": "Send response_format in place of guided_json.",
    "continue_final_message": (
        "The last message is not continued: every answer is a turn of its own."
    ),
    "prefix": "The last message is not continued: every answer is a turn of its own.",
    "modalities": 'Answers are text: modalities must be ["text"].',
}


def refuse(
    fields: Mapping[str, Any], table: Mapping[str, Harmless] = REFUSED, prefix: str = ""
) -> None:
    """Raises ApiError ``unsupported`` for a field that would change the answer and can't be had."""
    for name, value in fields.items():
        harmless = table.get(name)
        if harmless is not None and not harmless(value):
            sentence = _SENTENCES.get(name, f"{name} is not offered: leave it out.")
            raise ApiError("unsupported", sentence, param=f"{prefix}{name}")


def unknown(fields: Mapping[str, Any], *known: Container[str], prefix: str = "") -> list[str]:
    """Which of the fields are unknown, of those that are set to something."""
    present = (name for name, value in fields.items() if not _unset(value))
    return [f"{prefix}{name}" for name in present if not any(name in names for names in known)]


def named(fields: Iterable[str]) -> str:
    """The names as one line of ASCII, however many and whatever they are."""
    names = sorted({name if _NAME.fullmatch(name) else "(not a name)" for name in fields})
    rest = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f", and {rest} more" if rest > 0 else "")
