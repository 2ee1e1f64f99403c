"""Edits of configuration texts, on generated ones: the result is the merge, and what was there
stays to the character."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxq.connect.formats import json_format, toml_format, yaml_format
from mlxq.connect.formats.merge import CannotMerge, merged

KEYS = st.sampled_from(["a", "b", "models", "na me", 'q"', "é"])
PLAIN = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab {}[]/*,:#\\\"'\n", max_size=6)
ITEMS = st.lists(
    st.fixed_dictionaries({"id": st.sampled_from("xyz")}, optional={"n": PLAIN}),
    max_size=3,
    unique_by=lambda item: item["id"],
)
DOCUMENTS = st.recursive(
    st.dictionaries(KEYS, PLAIN | ITEMS, max_size=4),
    lambda inner: st.dictionaries(KEYS, PLAIN | ITEMS | inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, derandomize=True, database=None)
@given(DOCUMENTS, DOCUMENTS, st.sampled_from([None, 1, 2, "\t"]), st.booleans())
def test_json_is_merged_in_any_spacing(old: Any, new: Any, indent: Any, comments: bool) -> None:
    text = json.dumps(old, indent=indent, ensure_ascii=False)
    if comments:
        text = f"// {{ first\n{text} /* last }} */\n"
    try:
        expected = merged(old, new)
    except CannotMerge:
        return
    edited = json_format.edit(text, new)
    assert json_format.parse(edited) == expected
    if comments:
        assert edited.startswith("// { first\n")
        assert edited.endswith(" /* last } */\n")
    else:
        assert json.loads(edited) == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{}", '{\n  "k": {\n    "n": 1\n  }\n}'),
        ("{\n}", '{\n  "k": {\n    "n": 1\n  }\n}'),
        ("{ /* none */ }", '{ /* none */\n  "k": {\n    "n": 1\n  }\n}'),
        ('{"a": 1}', '{"a": 1,\n  "k": {\n    "n": 1\n  }\n}'),
        ('{\n\t"a": 1 // one\n}', '{\n\t"a": 1, // one\n\t"k": {\n\t\t"n": 1\n\t}\n}'),
        ('{\n "a": 1,\n}', '{\n "a": 1,\n "k": {\n  "n": 1\n },\n}'),
        ('{\n  "k": {}\n}', '{\n  "k": {\n    "n": 1\n  }\n}'),
        ('{\n  "k": {"n": 2, "m": 3}\n}', '{\n  "k": {"n": 1, "m": 3}\n}'),
        ("\ufeff{}", '\ufeff{\n  "k": {\n    "n": 1\n  }\n}'),
    ],
)
def test_json_keeps_its_form(old: str, new: str) -> None:
    assert json_format.edit(old, {"k": {"n": 1}}) == new


NAMES = st.sampled_from(["model", "other", "x-y"])
SETTINGS = st.dictionaries(NAMES, st.integers(-9, 9) | st.text("ab #=[]\\\"'", max_size=6))


@settings(deadline=None, derandomize=True, database=None)
@given(SETTINGS, SETTINGS, SETTINGS, SETTINGS)
def test_toml_is_merged(root: Any, table: Any, new_root: Any, new_table: Any) -> None:
    text = toml_format.render({**root, "t": {"one": table}}) + '[u]\nv = "w"\n'
    new = {**new_root, "t": {"two": new_table, "one": new_table}}
    edited = toml_format.edit(text, new)
    expected = merged(tomllib.loads(text), new)
    # An empty table is not written: nothing needs one.
    for name in [name for name, values in expected["t"].items() if not values]:
        expected["t"].pop(name)
    assert {"t": {}, **tomllib.loads(edited)} == expected


VALUES = st.integers(-9, 9) | st.text("ab #:-[]\\\"'", max_size=6)
SIMPLE = st.dictionaries(NAMES, VALUES, min_size=1)
LISTS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("xyz"), "model": VALUES}, optional={"n": VALUES}
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda item: item["name"],
)


@settings(deadline=None, derandomize=True, database=None)
@given(SIMPLE, LISTS, SIMPLE, LISTS)
def test_yaml_is_merged(root: Any, items: Any, new_root: Any, new_items: Any) -> None:
    text = "# first\n" + yaml_format.render({**root, "models": items, "last": 1}) + "# last\n"
    new = {**new_root, "models": new_items}
    edited = yaml_format.edit(text, new)
    assert yaml.safe_load(edited) == merged(yaml.safe_load(text), new)
    assert edited.startswith("# first\n")
    assert edited.endswith("# last\n")
