"""Schemas as jobs carry them, for tests: read by the process that reads a request's."""

from __future__ import annotations

import json
from typing import Any

from llguidance import LLMatcher

from wire.schemas import matching
from wire.schemas.check import Verdict
from wire.schemas.process import VOCABULARY
from wire.schemas.rules import STRICT
from worker.backends.sampling.json_schema import schema_check


def verdict(schema: Any, *, strict: bool = False) -> Verdict:
    """What a schema comes to."""
    return schema_check().new(json.dumps(schema | {STRICT: strict}))


def settled(schema: dict[str, Any]) -> str:
    """A schema that an answer can be held to, as a job carries it."""
    found = verdict(schema)
    assert not found.reason, found.reason
    return found.text


def taken(schema: dict[str, Any], *texts: str) -> list[str]:
    """Those of the texts that an answer under the schema may be."""
    grammar = LLMatcher.grammar_from_json_schema(settled(schema))
    matcher = LLMatcher(VOCABULARY, grammar, log_level=0, limits=matching.limits())
    return [text for text in texts if _is_whole(matcher, text.encode())]


def _is_whole(matcher: LLMatcher, text: bytes) -> bool:
    matcher.reset()
    return matcher.try_consume_tokens(list(text)) == len(text) and matcher.is_accepting()
