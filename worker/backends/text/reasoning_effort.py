"""``reasoning_effort`` in the terms of a model's chat template.

A template that has a variable of that name gets the value; harmony's knows low, medium and high
alone. One that can only switch thinking on or off has it off for ``none`` and ``minimal``. A model
that always thinks is made to end its thinking at once for ``none``.
"""

from __future__ import annotations

import json
from typing import Any

from wire.messages import OutputFormat
from wire.models.reasoning_effort import EFFORTS
from worker.backends.text.formats.chat_format import ChatFormat, chat_format
from worker.backends.text.template_text import EFFORT, SWITCHES, template_source, uses

_OFF = ("none", "minimal")
_HARMONYS_LEAST = "low"


def effort_options(effort: str, source: str, *, is_harmony: bool) -> dict[str, Any]:
    """The variables that set an effort in the template with this text; none if it has none."""
    if uses(source, EFFORT):
        return {EFFORT: _HARMONYS_LEAST if is_harmony and effort in _OFF else effort}
    return {name: effort not in _OFF for name in SWITCHES if uses(source, name)}


def ends_thinking_at_once(form: OutputFormat, tokenizer: Any) -> bool:
    """Whether a model is asked for no thinking and its template can't turn it off."""
    marks = chat_format(tokenizer)
    if _effort(form) != "none" or not marks.marks_thinking:
        return False
    source = template_source(tokenizer)
    return marks.is_harmony or not effort_options("none", source, is_harmony=False)


def effort_warnings(form: OutputFormat, tokenizer: Any) -> list[str]:
    """A sentence for an effort that changes nothing."""
    effort = _effort(form)
    if effort is None:
        return []
    source, marks = template_source(tokenizer), chat_format(tokenizer)
    if uses(source, EFFORT):
        is_held = form.is_guided and not form.may_call
        held = marks.is_harmony and is_held and effort not in _OFF
        reason = "an answer of this model that is held to a schema begins with it" if held else ""
    else:
        reason = _why_none(effort, source, marks)
    return [f"reasoning_effort has no effect: {reason}."] if reason else []


def _why_none(effort: str, source: str, marks: ChatFormat) -> str:
    if effort_options(effort, source, is_harmony=False):
        return ""
    if not marks.marks_thinking:
        return "" if effort in _OFF else "this model does not think"
    return "" if effort == "none" else "this model's chat template has no setting for it"


def _effort(form: OutputFormat) -> str | None:
    if form.template_options is None:
        return None
    effort = json.loads(form.template_options).get(EFFORT)
    return effort if effort in EFFORTS else None
