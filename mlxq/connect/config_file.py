"""A program's configuration file, changed so that nothing in it can get lost.

The text is edited in place, parsed again and compared with what the merge should give. Only then is
the file replaced in one step, with a copy of the old one beside it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mlxq.connect.agent import ConfigFile
from mlxq.connect.formats.merge import CannotMerge, merged
from mlxq.connect.target import Target

PRIVATE = 0o600
_LARGEST = 4 << 20


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be written to a file; ``text`` is None when it has the settings already."""

    path: Path
    old: bytes | None
    text: bytes | None


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written, and the copy of what was there before."""

    path: Path
    backup: Path | None


def plan(file: ConfigFile, target: Target) -> Change:
    """What merging its settings into a file makes of it; nothing is written. Raises CannotMerge."""
    # What a link names is replaced, not the link.
    path = Path(os.path.realpath(file.path()))
    old = _content(path)
    try:
        text = (old or b"").decode("utf-8")
    except UnicodeDecodeError:
        raise CannotMerge("it is not UTF-8") from None
    has_crlf = "\r\n" in text and text.count("\r\n") == text.count("\n")
    text = text.replace("\r\n", "\n") if has_crlf else text
    new = _edited(file, text, target)
    if old is not None and new == text:
        return Change(path, old, None)
    return Change(path, old, (new.replace("\n", "\r\n") if has_crlf else new).encode())


def _edited(file: ConfigFile, text: str, target: Target) -> str:
    """The text with the settings in it, and all else that it held."""
    form = file.format
    before = form.parse(text)
    if not isinstance(before, dict):
        raise CannotMerge("it is not an object")
    values = file.values(target)
    values = {key: value for key, value in values.items() if key not in {*file.kept} & {*before}}
    after = merged(before, values)
    if after == before:
        return text
    new = form.edit(text, values)
    if form.parse(new) != after:
        raise CannotMerge("its settings are written in a form that can't be changed safely")
    return new


def _content(path: Path) -> bytes | None:
    """What a file holds; None when there is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CannotMerge("it is not a regular file")
        if path.stat().st_size > _LARGEST:
            raise CannotMerge(f"it is larger than {_LARGEST >> 20} MiB")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CannotMerge(f"it can't be read: {error.strerror}") from None


def write(change: Change, is_private: bool) -> Written:
    """Carry out a change. Raises CannotMerge when the file was changed meanwhile, and OSError."""
    assert change.text is not None
    if _content(change.path) != change.old:
        raise CannotMerge("another program has just changed it")
    change.path.parent.mkdir(parents=True, exist_ok=True)
    backup = None if change.old is None else _backed_up(change.path)
    _replace(change.path, change.text, _mode(change.path, is_private))
    return Written(change.path, backup)


def _mode(path: Path, is_private: bool) -> int:
    with contextlib.suppress(FileNotFoundError):
        old = stat.S_IMODE(path.stat().st_mode)
        return old & PRIVATE if is_private else old
    return PRIVATE


def _backed_up(path: Path) -> Path:
    """Copy a file beside itself, under the first number that is free."""
    number = 1
    while True:
        backup = path.with_name(f"{path.name}.backup-{number}")
        try:
            descriptor = os.open(backup, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE)
        except FileExistsError:
            number += 1
            continue
        with open(descriptor, "wb") as copy, path.open("rb") as original:
            shutil.copyfileobj(original, copy)
            _to_disk(copy.fileno())
        shutil.copystat(path, backup)
        return backup


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file so that its readers see the old one or the new one, whole."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            _to_disk(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _to_disk(descriptor: int) -> None:
    os.fsync(descriptor)
