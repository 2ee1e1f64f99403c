"""Fields of Responses requests that are part of no body's shape: refused, or without effect.

Beside those of chats, which mean the same here (api.openai.other_fields).
"""

from __future__ import annotations

from api.openai.other_fields import REFUSED as REFUSED_ON_CHATS
from api.openai.other_fields import WITHOUT_EFFECT as WITHOUT_EFFECT_ON_CHATS
from api.serving.fields import Harmless, unset
from api.serving.reading import OF_THE_PROMPT
from wire.messages import ErrorCode


def _false(value: object) -> bool:
    return value is None or value is False


REFUSED: dict[str, Harmless] = REFUSED_ON_CHATS | {
    "conversation": unset,
    "prompt": unset,
    "context_management": unset,
    "messages": unset,
    "max_tokens": unset,
    "max_completion_tokens": unset,
    "n": lambda value: value is None or (value == 1 and value is not True),
    "response_format": unset,
    "reasoning_effort": unset,
    "logprobs": _false,
    "continue_final_message": _false,
    "add_generation_prompt": lambda value: value is None or value is True,
    "add_special_tokens": _false,
    "echo": _false,
}
"""What would change the answer and can't be had, and the values that ask for nothing."""

SENTENCES = {
    "conversation": "Conversations are not stored: send their items as input.",
    "prompt": "Prompts are not stored: send instructions and input.",
    "messages": "Send input in place of messages.",
    "max_tokens": "Send max_output_tokens in place of max_tokens.",
    "max_completion_tokens": "Send max_output_tokens in place of max_completion_tokens.",
    "n": "A response is one answer: leave n out.",
    "n_cmpl": "A response is one answer: leave n_cmpl out.",
    "best_of": "A response is one answer: leave best_of out.",
    "n_predict": "Send max_output_tokens in place of n_predict.",
    "response_format": "Send text.format in place of response_format.",
    "json_schema": "Send text.format in place of json_schema.",
    "reasoning_effort": "Send reasoning.effort in place of reasoning_effort.",
    "logprobs": "Send include: message.output_text.logprobs in place of logprobs.",
}
"""What to send in place of a field that is refused."""

WITHOUT_EFFECT = (
    WITHOUT_EFFECT_ON_CHATS - {"metadata", "store", "user", "prompt_cache_key", "safety_identifier"}
) | {
    "max_tool_calls",  # Of tools that OpenAI runs itself.
    "client_metadata",
}
"""Accepted: the answer is the same with them and without."""


class InputFields:
    """This API's names of fields, for a job's bad end."""

    def param_of(self, code: ErrorCode) -> str | None:
        return "input" if code in OF_THE_PROMPT else None


FIELDS = InputFields()
HIDDEN_REASONING, LOGPROBS = "reasoning.encrypted_content", "message.output_text.logprobs"
INCLUDES = frozenset(
    {
        HIDDEN_REASONING,
        LOGPROBS,
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "message.input_image.image_url",
        "computer_call_output.output.image_url",
        "code_interpreter_call.outputs",
    }
)
"""Values of ``include``. Those after the first two ask for what only OpenAI's own tools have, and
for images in lists of inputs."""
