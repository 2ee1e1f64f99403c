"""Counts the tokens of a model's prompts as a worker with the model's weights does, and without
them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from wire.messages import ChatJob
from wire.model_registry import ModelRecord
from worker.backends import echo
from worker.backends.libraries import library_of
from worker.errors import WorkerError, kept_alive


class PromptCounter(Protocol):
    """Counts the prompts of one model."""

    def count(self, job: ChatJob, images: Mapping[str, bytes]) -> int:
        """How many tokens a job's prompt has; ``images`` are its pictures' bytes by SHA-256.

        Raises WorkerError for a prompt that can't be used.
        """


class _Echo:
    def __init__(self, context_window: int) -> None:
        self._context_window = context_window

    def count(self, job: ChatJob, images: Mapping[str, bytes]) -> int:  # noqa: ARG002
        return len(echo.prompt_of(job, self._context_window).token_ids)


def open_counter(record: ModelRecord) -> PromptCounter:
    """What counts a model's prompts. Raises WorkerError ``load_failed`` for a model whose files
    aren't here or can't be read."""
    if record.architecture == "echo" and not record.path:
        return _Echo(record.context_window)
    if not (Path(record.path) / "config.json").is_file():
        sentence = (
            "The prompts of this model can't be counted: the machine of the API has no copy of its "
            "files."
        )
        raise WorkerError("load_failed", sentence)
    # Imports MLX.
    from worker.backends.loading import load_failed, refuse_code

    refuse_code(record)
    try:
        with kept_alive():
            return _opened(record)
    except Exception as error:
        raise load_failed(error) from error


def _opened(record: ModelRecord) -> PromptCounter:
    if library_of(record.architecture, record.is_vision) == "mlx_vlm":
        from worker.backends.prompting import vision

        return vision.open_text(record)
    from worker.backends.prompting import text

    return text.open_text(record)


def keep_off_gpu() -> None:
    """Have this process make arrays on the host alone: the GPU is the worker's."""
    import mlx.core as mx

    mx.set_default_device(mx.cpu)
