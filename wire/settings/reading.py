"""Settings as they are read: from flags and the environment, once, when a process starts.

A bad value stops the start with one clear line.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from wire.settings.field import BadSetting, convert
from wire.settings.table import LOCAL_DATA, Settings

URL_VARIABLE = "MLXQ_URL"
API_KEY_VARIABLE = "MLXQ_API_KEY"
CLIENT_VARIABLES = {
    URL_VARIABLE: "address of the service for the command line",
    API_KEY_VARIABLE: "API key that the command line sends",
}
"""Settings of clients, which may be set in the same shell as the service's."""


def data_folder(environ: Mapping[str, str]) -> Path:
    """The data folder where none is named: the current folder's if it has one, else the user's."""
    if LOCAL_DATA.is_dir():
        return LOCAL_DATA
    home = Path(environ.get("HOME") or Path.home())
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "mlxq"
    chosen = Path(environ.get("XDG_DATA_HOME", ""))
    return (chosen if chosen.is_absolute() else home / ".local" / "share") / "mlxq"


def parser(program: str, about: str) -> argparse.ArgumentParser:
    """A command line with a flag for every setting; help names variable, default and unit."""
    secrets = [
        f"MLXQ_{item.name.upper()}: {item.metadata['help']}"
        for item in fields(Settings)
        if item.metadata["secret"]
    ]
    result = argparse.ArgumentParser(
        program, description=about, epilog=f"Variables alone: {'; '.join(secrets)}."
    )
    for item in fields(Settings):
        if item.metadata["secret"]:
            continue
        flag = "--" + item.name.replace("_", "-")
        text = (
            f"{item.metadata['help']} (MLXQ_{item.name.upper()}; default "
            f"{shown_default(item.name)})"
        )
        many = str(item.type).startswith("tuple")
        result.add_argument(
            flag, dest=item.name, action="append" if many else "store", metavar="VALUE", help=text
        )
    return result


def shown_default(name: str) -> str:
    """A setting's default as help and README print it."""
    if name == "data":
        return "by the system"
    value = getattr(Settings(), name)
    return "none" if value in ("", ()) else str(value)


def load(
    arguments: argparse.Namespace | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read the settings: a flag wins over ``MLXQ_…``, then ``REDIS_URL``, then the default.

    Raises BadSetting with a sentence that names the variable.
    """
    env = os.environ if environ is None else environ
    given: dict[str, Any] = {}
    for item in fields(Settings):
        raw = getattr(arguments, item.name, None) if arguments is not None else None
        if isinstance(raw, list):
            raw = (os.pathsep if "Path" in str(item.type) else ",").join(raw)
        if raw is None:
            raw = env.get("MLXQ_" + item.name.upper())
        if raw is None and item.name == "redis_url":
            raw = env.get("REDIS_URL")
        if raw is not None:
            given[item.name] = convert(item.name, item.type, raw, item.metadata)
    given.setdefault("data", data_folder(env))
    known = {"MLXQ_" + item.name.upper() for item in fields(Settings)} | set(CLIENT_VARIABLES)
    unknown = [name for name in env if name.startswith("MLXQ_") and name not in known]
    if unknown:
        raise BadSetting(f"{sorted(unknown)[0]} is not a setting of this service")
    return Settings(**given)


def check_model_folders(settings: Settings) -> None:
    """Raise BadSetting for a missing model folder: a typing error would look like an empty one."""
    for folder in settings.models:
        if not folder.is_dir():
            raise BadSetting(
                f"MLXQ_MODELS: {folder} is not a folder; correct --models, or mount the disk"
            )


def from_command_line(program: str, about: str, argv: Sequence[str] | None = None) -> Settings:
    """Parse flags and environment; on a bad value print one line and exit with status 2."""
    commands = parser(program, about)
    arguments = commands.parse_args(argv)
    try:
        return load(arguments)
    except BadSetting as bad:
        commands.exit(2, f"{program}: {bad}\n")


def to_environment(settings: Settings) -> dict[str, str]:
    """The variables under which another process reads the same settings."""
    result = {}
    for item in fields(Settings):
        value = getattr(settings, item.name)
        if isinstance(value, tuple):
            value = (os.pathsep if "Path" in str(item.type) else ",").join(str(v) for v in value)
        result["MLXQ_" + item.name.upper()] = str(value)
    return result
