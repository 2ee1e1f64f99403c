"""Numbers and bounds: enforced exactly, narrowed with a warning, or refused."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.support.schema_support import allowed, verdict


@pytest.mark.parametrize(
    "number", [2**53 + 1, -(2**53) - 1, 1234567890123456789, 12345678901234567890123, 1e300, -1e300]
)
@pytest.mark.parametrize("form", ["const", "enum", "inside"])
def test_an_integer_that_could_come_out_as_another_is_refused(number: float, form: str) -> None:
    schema = {
        "const": {"const": number},
        "enum": {"enum": [1, number]},
        "inside": {"const": {"a": [number]}},
    }[form]
    reason = verdict({"type": "object", "properties": {"id": schema}}).reason
    assert reason == (
        "it has an integer beyond 2^53 (at properties.id), which could come out as another one; "
        "ask for a string in its place"
    )


@pytest.mark.parametrize(
    "number", [0, -1, 2**53, -(2**53), 0.1, 0.30000000000000004, 123456.789, -2.5e-3]
)
def test_numbers_that_doubles_keep_come_out_as_they_are(number: float) -> None:
    text = json.dumps(number)
    assert allowed({"const": number}, text) == [text]
    assert allowed({"enum": ["x", number]}, json.dumps(number + 1)) == []


def test_a_fraction_that_could_come_out_as_another_is_refused() -> None:
    reasons = [verdict({"const": {"a": 0.1 + 1 / 7**n}}).reason for n in range(1, 60)]
    assert (
        "it has a number with more digits than can be kept exactly; ask for a string in its place"
        in reasons
    )
    chance = random.Random(1)
    for _ in range(100):
        number = chance.uniform(-1000, 1000)
        found = verdict({"const": number})
        assert found.reason or allowed({"const": number}, json.dumps(number)) == [
            json.dumps(number)
        ]


@pytest.mark.parametrize("kind", ["integer", "number"])
def test_no_bound_lets_a_wrong_number_through(kind: str) -> None:
    chance = random.Random(1)
    for _ in range(150):
        at = chance.choice([2**53, 2**60, 10**18, 2**63, 2**64, 10**15, 10**4]) + chance.randint(
            -3, 3
        )
        at = chance.choice([at, -at])
        name = chance.choice(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"])
        schema = {"type": kind, name: at}
        if verdict(schema).reason:
            continue
        near = [at + step for step in (-1025, -3, -2, -1, 0, 1, 2, 3, 1025)]
        right = {
            "minimum": lambda one, at=at: one >= at,
            "maximum": lambda one, at=at: one <= at,
            "exclusiveMinimum": lambda one, at=at: one > at,
            "exclusiveMaximum": lambda one, at=at: one < at,
        }[name]
        wrong = [str(one) for one in near if not right(one)]
        assert allowed(schema, *wrong) == [], schema


def test_64_bit_integers_are_enforced_with_a_warning_of_narrowed_bounds() -> None:
    limits = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
    assert allowed(limits, "1234567890123456789", "-1234567890123456789", str(2**63)) == [
        "1234567890123456789",
        "-1234567890123456789",
    ]
    assert "narrowed" in verdict(limits).warnings[0]
    assert verdict({"type": "integer", "minimum": 0, "maximum": 2**53}).warnings == ()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 2**63},
        {"type": "integer", "maximum": -(2**63), "minimum": -(2**63)},
        {"type": "number", "minimum": 1e16},
        {"type": "integer", "multipleOf": 2**53 + 1},
        {"type": "integer", "minimum": 2**53 + 1, "maximum": 2**53 + 1},
    ],
)
def test_bounds_without_an_exact_number_between_them_are_refused(schema: dict[str, Any]) -> None:
    assert verdict(schema).reason


def test_a_bound_that_an_older_draft_leaves_out_is_left_out() -> None:
    schema = {
        "type": "integer",
        "minimum": 3,
        "exclusiveMinimum": True,
        "maximum": 5,
        "exclusiveMaximum": False,
    }
    assert allowed(schema, "3", "4", "5") == ["4", "5"]
