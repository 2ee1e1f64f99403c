"""What ``mlxq connect`` does: lists the programs, prints a setup, or writes it into files."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mlxq.connect.agent import Agent, Block
from mlxq.connect.agents import AGENTS, find
from mlxq.connect.config_file import Change, Written, plan
from mlxq.connect.config_file import write as write_change
from mlxq.connect.formats.merge import CannotMerge
from mlxq.connect.target import YOUR_KEY, Target, find_target
from mlxq.errors import Problem, WrongUse
from mlxq.http_client import Client
from mlxq.output import clean, note, show_json, table
from wire.settings import API_KEY_VARIABLE

SMALL_WINDOW = 16_384
"""Coding agents send about as much before the first question."""


def show_names(as_json: bool, is_alone: bool) -> None:
    """List the programs. Raises WrongUse for options that need one."""
    if not is_alone:
        raise WrongUse("name the program that is meant: `mlxq connect` lists those there are")
    files = {agent.name: [file.shown_path for file in agent.files] for agent in AGENTS}
    if as_json:
        rows = [{"name": a.name, "title": a.title, "files": files[a.name]} for a in AGENTS]
        show_json(rows)
        return
    table(
        ("NAME", "PROGRAM", "--write CHANGES"),
        [(agent.name, agent.title, ", ".join(files[agent.name])) for agent in AGENTS],
    )


def find_agent(name: str, write: bool) -> Agent:
    """The program of this name. Raises WrongUse for one that has no file to write."""
    agent = find(name)
    if write and not agent.files:
        raise WrongUse(f"{agent.title} has no file to write: `mlxq connect {agent.name}` prints")
    return agent


def set_up(agent: Agent, client: Client, model: str | None, *, write: bool, as_json: bool) -> None:
    """Print a program's setup for a service, or write it."""
    key = os.environ.get(API_KEY_VARIABLE, "")
    target = find_target(client, model, has_key=bool(key))
    if write:
        _write(agent, target, key, as_json)
    else:
        _print(agent, target, agent.blocks(target), as_json)


# --- printing -------------------------------------------------------------------------------------


def _print(agent: Agent, target: Target, blocks: tuple[Block, ...], as_json: bool) -> None:
    """The texts to copy on standard output; what is said about them on standard error."""
    if as_json:
        show_json(_described(agent, target) | {"blocks": [asdict(block) for block in blocks]})
        return
    note(f"{agent.title}. {agent.about}".replace("`", ""))
    for number, block in enumerate(blocks):
        note(block.about.replace("`", ""))
        print("\n" * (number > 0) + clean(block.text), end="", flush=True)
    for remark in _remarks(agent, target, blocks):
        note(remark)


def _described(agent: Agent, target: Target) -> dict[str, Any]:
    return {
        "name": agent.name,
        "url": target.url,
        "model": target.model,
        "context_window": target.context,
    }


def _remarks(agent: Agent, target: Target, blocks: tuple[Block, ...]) -> list[str]:
    remarks = []
    if any(YOUR_KEY in block.text for block in blocks):
        own = ", as --write does" if agent.files else ""
        remarks.append(f"Put your API key in place of {YOUR_KEY}{own}.")
    if agent.needs_tools and target.context < SMALL_WINDOW:
        remarks.append(
            f"{target.model} has room for {target.context} tokens; agents send 10,000 and more."
        )
    if agent.needs_tools and not target.takes_tools:
        remarks.append(
            f"The chat template of {target.model} has no tools: it is told them as text."
        )
    return remarks


# --- writing --------------------------------------------------------------------------------------


def _write(agent: Agent, target: Target, key: str, as_json: bool) -> None:
    """Change all files, or none: each change is worked out before the first one is made."""
    filled = replace(target, key=key) if key else target
    changes = []
    for file in agent.files:
        try:
            changes.append(plan(file, filled))
        except CannotMerge as reason:
            _print(agent, target, agent.file_blocks(target), as_json)
            raise Problem(
                f"{file.path()} stays as it is ({reason}): put the text in yourself"
            ) from None
    written = [
        _written(change, is_private=bool(key) and file.holds_key)
        for change, file in zip(changes, agent.files, strict=True)
    ]
    if as_json:
        rows = [{"path": str(one.path), "backup": _shown(one.backup)} for one in written if one]
        show_json(_described(agent, target) | {"written": rows})
        return
    for change, one in zip(changes, written, strict=True):
        print(_sentence(change.path, one))
    for remark in _remarks(agent, target, ()):
        note(remark)


def _written(change: Change, is_private: bool) -> Written | None:
    if change.text is None:
        return None
    try:
        return write_change(change, is_private)
    except CannotMerge as reason:
        raise Problem(f"{change.path} stays as it is ({reason}): try again") from None


def _shown(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _sentence(path: Path, written: Written | None) -> str:
    if written is None:
        return f"{path} has these settings already."
    if written.backup is None:
        return f"Wrote {path}."
    return f"Wrote {path}; the file as it was is {written.backup.name}."
