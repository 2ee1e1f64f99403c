"""The README tells of everything: each endpoint, each field of a chat with its default, each
file, each script."""

from __future__ import annotations

import re

import pytest

from api.app import create_app
from api.chat.schemas import ChatRequest
from tests.support.paths import ROOT
from wire.settings import Settings

README = (ROOT / "README.md").read_text(encoding="utf-8")
PATHS = sorted(create_app(Settings()).openapi()["paths"])


@pytest.mark.parametrize("path", PATHS)
def test_each_endpoint_is_named(path: str) -> None:
    assert path in README


@pytest.mark.parametrize("field", sorted(ChatRequest.model_fields))
def test_each_field_of_a_chat_is_named(field: str) -> None:
    assert f"`{field}`" in README


@pytest.mark.parametrize("package", ["wire", "api", "mlxq/commands", "worker", "worker/backends"])
def test_each_file_is_in_the_tree(package: str) -> None:
    tree = README[README.index("## The files") :]
    names = {file.name for file in (ROOT / package).glob("*.py")} - {"__init__.py"}
    assert names <= set(re.findall(r"[\w]+\.py", tree))


def test_each_command_is_named() -> None:
    commands = {
        file.name
        for file in (ROOT / "scripts").iterdir()
        if file.is_file() and "." not in file.name
    }
    for command in commands - {"environment"}:
        assert re.search(rf"\b{command}\b", README), command
