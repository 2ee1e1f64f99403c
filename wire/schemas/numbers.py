"""Numbers of a schema that an answer must reproduce exactly, while the matcher reads doubles. Pure.

Integers that a double can't represent are refused; bounds are narrowed to ones that the matcher
reads exactly.
"""

from __future__ import annotations

import math
from typing import Any

from wire.schemas.tree import Refused, Schema, where

EXACT = 2**53
"""Integers up to here are doubles."""
_FURTHEST = 2**63 - 1024
"""The last double before 2^63.

The matcher's own integers end there, and at the very end it recurses without one.
"""
_LONGEST = 10**18 - 1
"""An integer with one open end must not have more digits than this, or the matcher can't write the
range down."""
_CLEAR = 10**15
"""Bounds of numbers with fractions are exact up to here, with so many digits."""
_DIGITS = 15
_MOST_MULTIPLE = 2**32 - 1


def check_constant(value: Any, path: str) -> set[float]:
    """The fractions in a value that must be reproduced exactly.

    Raises Refused for an integer in it that wouldn't.
    """
    level, fractions = [value], set()
    while level:
        one = level.pop()
        if isinstance(one, (dict, list)):
            level += one.values() if isinstance(one, dict) else one
        elif _is_number(one) and one != math.floor(one):
            fractions.add(one)
        elif _is_number(one) and abs(one) > EXACT:
            raise Refused(
                f"it has an integer beyond 2^53{where(path)}, which could come out as another one; "
                "ask for a string in its place"
            )
    return fractions


def settle_bounds(schema: Schema, path: str) -> bool:
    """Write a schema's bounds so that the matcher keeps them; returns whether they became narrower.

    Raises Refused.
    """
    _settle_booleans(schema)
    bounds = {name: schema[name] for name in _BOUNDS if _is_number(schema.get(name))}
    _check_multiple(schema.get("multipleOf"), path)
    if not bounds:
        return False
    if _is_integer(schema.get("type")):
        return _settle_integers(schema, bounds, path)
    return _settle_fractions(schema, bounds, path)


_BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(kind: Any) -> bool:
    kinds = kind if isinstance(kind, list) else [kind]
    return "integer" in kinds and "number" not in kinds


def _settle_booleans(schema: Schema) -> None:
    """Older drafts, and OpenAPI 3.0: a bound, and beside it whether it is itself left out."""
    for name, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if schema.get(name) is True and _is_number(schema.get(bound)):
            schema[name] = schema.pop(bound)
        elif isinstance(schema.get(name), bool):
            del schema[name]


def _check_multiple(value: Any, path: str) -> None:
    if _is_number(value) and value > _MOST_MULTIPLE:
        raise Refused(f"its multipleOf is larger than 2^32{where(path)}")


def _settle_integers(schema: Schema, bounds: dict[str, Any], path: str) -> bool:
    low = [math.ceil(bounds["minimum"])] if "minimum" in bounds else []
    low += [math.floor(bounds["exclusiveMinimum"]) + 1] if "exclusiveMinimum" in bounds else []
    high = [math.floor(bounds["maximum"])] if "maximum" in bounds else []
    high += [math.ceil(bounds["exclusiveMaximum"]) - 1] if "exclusiveMaximum" in bounds else []
    least, most = max(low, default=None), min(high, default=None)
    if (least is not None and least > _FURTHEST) or (most is not None and most < -_FURTHEST):
        raise Refused(f"its numbers lie beyond 2^63{where(path)}")
    kept_least, kept_most = _inward(least, up=True), _inward(most, up=False)
    # A range that is open at one end and has nineteen digits at the other gets an end.
    if kept_most is None and kept_least is not None and kept_least > _LONGEST:
        kept_most = _FURTHEST
    if kept_least is None and kept_most is not None and kept_most < -_LONGEST:
        kept_least = -_FURTHEST
    for name in bounds:
        del schema[name]
    schema |= {"minimum": kept_least} if kept_least is not None else {}
    schema |= {"maximum": kept_most} if kept_most is not None else {}
    if kept_least is not None and kept_most is not None and kept_least > kept_most:
        raise Refused(
            f"no integer lies between its bounds{where(path)}, as far as they can be represented "
            "exactly"
        )
    return (kept_least, kept_most) != (least, most)


def _inward(bound: int | None, *, up: bool) -> int | None:
    """The nearest inner bound that is a double and within the range of the matcher's integers."""
    if bound is None:
        return None
    bound = max(-_FURTHEST, min(_FURTHEST, bound))
    double = float(bound)
    if (up and int(double) < bound) or (not up and int(double) > bound):
        double = math.nextafter(double, math.inf if up else -math.inf)
    return max(-_FURTHEST, min(_FURTHEST, int(double)))


def _settle_fractions(schema: Schema, bounds: dict[str, Any], path: str) -> bool:
    narrowed = False
    for name, bound in bounds.items():
        up = "inimum" in name
        if (bound > _CLEAR) if up else (bound < -_CLEAR):
            raise Refused(
                f"its {name} lies beyond 10^15{where(path)}, where fractions can't be represented "
                "exactly"
            )
        kept = -_CLEAR if bound < -_CLEAR else _CLEAR if bound > _CLEAR else _short(bound, up=up)
        narrowed |= kept != bound
        schema[name] = kept
    return narrowed


def _short(bound: float, *, up: bool) -> float:
    """A bound rounded inward to the digits that the matcher reads exactly; an integer if whole."""
    if bound == math.floor(bound):
        return int(bound)
    short = float(f"{bound:.{_DIGITS - 1}e}")
    if (up and short < bound) or (not up and short > bound):
        unit = 10.0 ** (math.floor(math.log10(abs(bound))) - _DIGITS + 1)
        short = float(f"{short + (unit if up else -unit):.{_DIGITS - 1}e}")
    return short
