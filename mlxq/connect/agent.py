"""One program that can be set up: what is printed for it, and the files that it reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from mlxq.connect.target import Target

Form = Literal["json", "toml", "yaml"]
Language = Literal["json", "toml", "yaml", "sh", "text"]


class Format(Protocol):
    """A module of ``mlxq/connect/formats``."""

    def parse(self, text: str) -> Any: ...
    def render(self, values: dict[str, Any]) -> str: ...
    def edit(self, text: str, values: dict[str, Any]) -> str: ...


@dataclass(frozen=True, slots=True)
class Block:
    """A text to copy, and the sentence that says where it goes."""

    about: str
    text: str
    language: Language


@dataclass(frozen=True, slots=True)
class Folder:
    """A program's folder: named by a variable, or below one that is, or below the home folder."""

    usual: str
    variable: str = ""
    below: str = ""

    def path(self, environ: Mapping[str, str] = os.environ) -> Path:
        named = environ.get(self.variable, "") if self.variable else ""
        return Path(named) / self.below if named else Path.home() / self.usual


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file that a program reads its settings from, and those that make it use the service."""

    folder: Folder
    names: tuple[str, ...]
    """The names that the program looks for; the first one is what a new file gets."""
    form: Form
    values: Callable[[Target], dict[str, Any]]
    holds_key: bool = False
    """Whether the key itself is among the values."""
    kept: tuple[str, ...] = ()
    """Keys that a new file needs, and that stay as they are in one that has them."""

    def path(self) -> Path:
        folder = self.folder.path()
        there = (folder / name for name in self.names if (folder / name).exists())
        return next(there, folder / self.names[0])

    @property
    def shown_path(self) -> str:
        return "~/" + "/".join(part for part in (self.folder.usual, self.names[0]) if part)

    @property
    def format(self) -> Format:
        # Imported when it is needed: the command line starts without YAML.
        return cast(Format, import_module(f"mlxq.connect.formats.{self.form}_format"))

    def block(self, target: Target) -> Block:
        text = self.format.render(self.values(target))
        return Block(f"In `{self.shown_path}`:", text, self.form)


@dataclass(frozen=True, slots=True)
class Agent:
    """A program. ``shown`` is what is printed where that is something else than its files."""

    name: str
    title: str
    about: str = ""
    files: tuple[ConfigFile, ...] = ()
    shown: Callable[[Target], tuple[Block, ...]] | None = None
    needs_tools: bool = True
    other_names: tuple[str, ...] = field(default=())

    def blocks(self, target: Target) -> tuple[Block, ...]:
        if self.shown is not None:
            return self.shown(target)
        return self.file_blocks(target)

    def file_blocks(self, target: Target) -> tuple[Block, ...]:
        return tuple(file.block(target) for file in self.files)
