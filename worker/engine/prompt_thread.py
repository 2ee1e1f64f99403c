"""A thread that tokenises prompts for the engine: streams must not wait for a long one.

Knows backends by their ``prepare``, and no MLX.
"""

from __future__ import annotations

import time
from collections.abc import Sequence as Items
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from worker.backends.base import Backend
from worker.engine.futures import attempt
from worker.sequence import Sequence

LONG_PROMPT_CHARACTERS = 8_000
"""A longer prompt, or one with images, tools or a schema, is prepared on another thread."""
One = TypeVar("One", bound=Sequence)
Prepared = tuple[One, Future[list[str]]]
"""A prompt, and the warnings about it or its error."""


def takes_long(sequence: Sequence) -> bool:
    """Whether to prepare a prompt on another thread."""
    job = sequence.job
    if sequence.images or job.form.tools or job.form.json_schema is not None:
        return True
    return sum(len(message.text()) for message in job.messages) > LONG_PROMPT_CHARACTERS


class PromptThread(ThreadPoolExecutor):
    """One thread: prompts are prepared in the order in which they come."""

    def __init__(self, name: str) -> None:
        super().__init__(1, thread_name_prefix=name)
        self._began: float | None = None

    def prepare(self, backend: Backend, prompts: Items[One]) -> Future[list[Prepared[One]]]:
        """Prepare these one after another; the future has all of them."""
        return self.submit(self._each, backend, prompts)

    @property
    def busy_s(self) -> float:
        """How long the present prompt has taken so far, seconds; 0 without one."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    def _each(self, backend: Backend, prompts: Items[One]) -> list[Prepared[One]]:
        done: list[Prepared[One]] = []
        for prompt in prompts:
            self._began = time.monotonic()
            done.append((prompt, attempt(partial(backend.prepare, prompt))))
            self._began = None
        return done
