"""What a file holds once settings are merged into it; knows no file format."""

from __future__ import annotations

from typing import Any

_NAMES = ("id", "name")
"""The keys that tell items of a list apart."""


class CannotMerge(Exception):
    """The text can't be changed without the risk of losing something; says why."""


def merged(old: Any, new: Any) -> Any:
    """``old`` with the settings of ``new``: objects key by key, lists of objects item by item.

    A list of plain values that is there is kept: it is the user's choice.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        both = {key: merged(old[key], value) for key, value in new.items() if key in old}
        return {**old, **new, **both}
    if isinstance(old, list) and isinstance(new, list):
        return _merged_lists(old, new)
    if isinstance(old, dict | list) or isinstance(new, dict | list):
        raise CannotMerge(f"{_kind(old)} stands where {_kind(new)} belongs")
    return new


def _merged_lists(old: list[Any], new: list[Any]) -> list[Any]:
    result = list(old)
    for item in new:
        if not isinstance(item, dict):
            continue
        place = place_of(item, result)
        if place is None:
            result.append(item)
        else:
            result[place] = merged(result[place], item)
    return result


def place_of(item: dict[str, Any], items: list[Any]) -> int | None:
    """Where a list has the item of the same id or name."""
    key = next(name for name in _NAMES if name in item)
    found = (
        number
        for number, other in enumerate(items)
        if isinstance(other, dict) and other.get(key) == item[key]
    )
    return next(found, None)


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else "a plain value"
