"""MLX and the model libraries, imported once, before the first model: what is broken is told at the
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

_WANTED = 2048
"""Open files that mlx_lm wants for large models with many files."""


class Unusable(Exception):
    """A library can't be imported; the message is one line for the operator, with what to do."""


def load() -> None:
    """Import everything that the backends need. Raises Unusable."""
    try:
        with limits_kept():
            import worker.backends.lm
            import worker.backends.vlm  # noqa: F401
    except Exception as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise Unusable(
            f"MLX or a model library can't be loaded ({why}): see `mlxq doctor`, or remove .venv "
            f"and start "
            "scripts/serve, which installs them again"
        ) from error


@contextmanager
def limits_kept() -> Iterator[None]:
    """While libraries are imported the limit on open files is only ever raised, within what the
    system allows."""
    real = resource.setrlimit

    def raised(which: int, limits: Any) -> None:
        if which != resource.RLIMIT_NOFILE:
            real(which, limits)
            return
        soft, hard = resource.getrlimit(which)
        wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            real(which, (wanted, hard))

    resource.setrlimit = raised
    try:
        yield
    finally:
        resource.setrlimit = real
