"""`oneOf`: enforced exactly where its options exclude each other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.schema_support import allowed, verdict
from tests.unit.wire.schemas.alternatives import PET

OVERLAPPING = {
    "oneOf": [
        {"type": "object", "properties": {"a": {}}},
        {"type": "object", "properties": {"b": {}}},
    ]
}


@pytest.mark.parametrize("strict", [True, False])
def test_a_union_that_a_tag_tells_apart_is_kept_exactly(strict: bool) -> None:
    assert verdict(PET, strict=strict).warnings == ()
    assert allowed(
        PET, '{"kind": "cat", "lives": 9}', '{"kind": "dog", "lives": 9}', '{"kind": "cat"}'
    ) == ['{"kind": "cat", "lives": 9}']


@pytest.mark.parametrize(
    "options",
    [
        [{"const": "a", "title": "A"}, {"const": "b"}],
        [{"enum": [1, 2]}, {"enum": [3.0]}, {"type": "string"}],
        [{"type": "string"}, {"type": ["integer", "null"]}],
        [{"anyOf": [{"type": "null"}, {"type": "boolean"}]}, {"$ref": "#/$defs/Text"}],
    ],
)
def test_options_that_exclude_each_other_are_kept_exactly(options: list[Any]) -> None:
    found = verdict({"$defs": {"Text": {"type": "string"}}, "oneOf": options}, strict=True)
    assert (found.reason, found.warnings) == ("", ())


def test_a_oneof_that_cannot_be_kept_is_refused_when_strict_and_else_anyof() -> None:
    refused = verdict(OVERLAPPING, strict=True).reason
    assert refused.startswith(
        "an answer could match several options of its oneOf; give each option"
    )
    assert "coerce" not in refused
    assert verdict(OVERLAPPING).warnings == (
        "The schema's oneOf is enforced as anyOf: an answer may match several options.",
    )
