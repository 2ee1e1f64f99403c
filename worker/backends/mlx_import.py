"""Imports MLX and the model libraries once, before the first model: a broken installation ends the
start.

mlx_lm asks for 4096 open files as it is imported: mlx_lm/utils.py, ``setrlimit(RLIMIT_NOFILE,
(2048, 4096))``. Under a lower hard limit that raises, and under a higher one it lowers this
process's limit for good.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_OPEN_FILES = 2048
"""Open files that mlx_lm needs for large models with many files."""


class LibraryError(Exception):
    """A library can't be imported; the message is one line for the operator, with what to do."""


def import_libraries() -> None:
    """Import everything that the backends need. Raises LibraryError."""
    try:
        with open_files_limit_kept():
            import worker.backends.lm
            import worker.backends.vlm  # noqa: F401
    except Exception as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise LibraryError(
            f"MLX or a model library can't be loaded ({why}): see `mlxq doctor`, or remove .venv "
            "and start scripts/serve, which installs them again"
        ) from error


@contextmanager
def open_files_limit_kept() -> Iterator[None]:
    """While the block lasts, ``setrlimit`` only ever raises the limit of open files, within the
    hard one."""
    real = resource.setrlimit

    def only_raise(which: int, limits: Any) -> None:
        if which != resource.RLIMIT_NOFILE:
            real(which, limits)
            return
        soft, hard = resource.getrlimit(which)
        needed = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < needed:
            real(which, (needed, hard))

    resource.setrlimit = only_raise
    try:
        yield
    finally:
        resource.setrlimit = real
