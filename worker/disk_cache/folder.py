"""The folder of cached prompts: private, and one process's at a time.

Everything is done relative to the folder that was opened at the start, so that one that is moved or
deleted is gone, and nothing is ever written in its place.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ENDING = ".safetensors"
_UNFINISHED = ".tmp"
_LOCK = "lock"


class FolderRefused(Exception):
    """The folder can't be used; the message is a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that isn't there yet."""

    descriptor: int
    _unfinished: str
    _name: str
    _folder: int

    def commit(self) -> None:
        """Have it appear, in place of an earlier one, once it is on the disk. Raises OSError."""
        os.fsync(self.descriptor)
        os.rename(self._unfinished, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        os.fsync(self._folder)


class Folder:
    """``path`` is made if it isn't there, but not what it is in: that may be a disk that isn't
    mounted. Raises FolderRefused."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise FolderRefused(f"{path} can't be used: {error.strerror}") from error
        try:
            self._check()
            self._lock = self._locked()
        except FolderRefused:
            os.close(self._descriptor)
            raise
        for name in self.names(_UNFINISHED):  # of a process that was killed
            self.remove(name)

    def _check(self) -> None:
        status = os.fstat(self._descriptor)
        if status.st_uid != os.geteuid():
            raise FolderRefused(f"{self.path} belongs to another user")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise FolderRefused(
                f"other users of the machine can read {self.path}: chmod 700, or choose another"
            )

    def _locked(self) -> int:
        """The lock, which goes with this process."""
        try:
            lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT, 0o600, dir_fd=self._descriptor)
        except OSError as error:
            raise FolderRefused(f"{self.path} can't be written to: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise FolderRefused(
                f"another worker uses {self.path}: give each a folder of its own"
            ) from None
        return lock

    def close(self) -> None:
        os.close(self._lock)
        os.close(self._descriptor)

    def names(self, ending: str = ENDING) -> list[str]:
        """The files of this ending. Raises OSError."""
        return [name for name in os.listdir(self._descriptor) if name.endswith(ending)]

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[int]:
        """A descriptor of a regular file. Raises OSError."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # never wait for a pipe's other end
        descriptor = os.open(name, flags, dir_fd=self._descriptor)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(f"{name} is no file")
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def new(self, name: str) -> Iterator[NewFile]:
        """A file to write to, which appears once it is committed, as a whole or not at all; else
        nothing is left of it. Raises OSError."""
        unfinished = f"{name}.{secrets.token_hex(4)}{_UNFINISHED}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        descriptor = os.open(unfinished, flags, 0o600, dir_fd=self._descriptor)
        try:
            yield NewFile(descriptor, unfinished, name, self._descriptor)
        finally:
            os.close(descriptor)
            self.remove(unfinished)

    def write(self, name: str, text: bytes) -> None:
        """Write a small file. Raises OSError."""
        with self.new(name) as file:
            with os.fdopen(file.descriptor, "wb", closefd=False) as whole:  # not a part of it
                whole.write(text)
            file.commit()

    def read(self, name: str) -> bytes:
        """A small file. Raises OSError."""
        with self.reading(name) as descriptor:
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    def size(self, name: str) -> int:
        return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_size

    def used(self, name: str) -> float:
        """When an entry was last used, seconds since the epoch."""
        return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_mtime

    def touch(self, name: str) -> None:
        """Note that an entry has been used: what is used least recently is deleted first."""
        with contextlib.suppress(OSError):
            os.utime(name, dir_fd=self._descriptor, follow_symlinks=False)

    def remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._descriptor)

    def free_bytes(self) -> int:
        """Bytes that may still be written on the folder's disk. Raises OSError."""
        status = os.statvfs(self._descriptor)
        return status.f_bavail * status.f_frsize
