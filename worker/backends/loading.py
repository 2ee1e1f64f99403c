"""What loading a text model and loading a vision model share."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_vlm.generate.diffusion import is_diffusion_model

from wire.model_registry import ModelRecord
from worker.errors import WorkerError


def refuse_code(record: ModelRecord) -> None:
    """Raises WorkerError for a folder whose config names code to be run: mlx_vlm would run it
    without being asked."""
    try:
        config = json.loads((Path(record.path) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # Loading the model reports what is wrong with it.
    if isinstance(config, dict) and config.get("model_file") is not None:
        raise WorkerError(
            "load_failed", "The model brings code of its own (model_file), and that is never run."
        )


def refuse_other_tasks(model: Any, architecture: str) -> None:
    """Raises WorkerError for a model of mlx_vlm that doesn't answer a chat token by token from what
    a key-value cache holds."""
    language = getattr(model, "language_model", None)
    why = None
    if language is None:
        why = "has no language model that answers chats"
    elif is_diffusion_model(model):
        why = "writes its answers by diffusion and not token by token"
    elif "cross_attention_states" in inspect.getsource(sys.modules[type(language).__module__]):
        why = "looks at images by cross attention, and its steps can't be batched"
    if why is not None:
        raise WorkerError(
            "load_failed", f"This model can't be run here: the architecture {architecture} {why}."
        )


def load_failed(error: Exception) -> WorkerError:
    """The error of a model that a library could not load; its sentence gives away no path."""
    return WorkerError("load_failed", f"The model could not be loaded: {reason(error)}.")


def reason(error: Exception) -> str:
    """An exception in a few words without paths."""
    line = next((line for line in str(error).split("\n") if line.strip()), "")
    words = " ".join(word for word in line.split() if "/" not in word)
    return f"{type(error).__name__}: {words[:160].rstrip(' .:')}" if words else type(error).__name__


def evaluate(model: Any) -> None:
    """Compute every array of a model, also those that are no weights, such as rotary frequencies.

    MLX can't compute on one thread what another has begun, and models are opened on a thread of
    their own.
    """
    owned = [(dict(module), vars(module)) for module in model.modules()]
    mx.eval([array for _, array in tree_flatten(owned) if isinstance(array, mx.array)])


def weight_bytes(model: Any) -> int:
    """Bytes of a model's weights in memory."""
    return sum(int(array.nbytes) for _, array in tree_flatten(model.parameters()))
