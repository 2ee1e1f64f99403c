"""What loading a text model and loading a vision model share."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from wire.model_registry import ModelRecord
from worker.errors import WorkerError

Report = Callable[[float], None]
PIECE_BYTES = 128 << 20
"""Weights that are read between two reports."""
_FETCHES_CODE = {"moondream1", "moondream2"}
"""Model types whose processors run code from the network, whatever they are told."""


def refuse_code(record: ModelRecord) -> None:
    """Raises WorkerError for a folder whose config names code to be run: mlx_vlm would run it
    without being asked."""
    try:
        config = json.loads((Path(record.path) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # Loading the model reports what is wrong with it.
    if not isinstance(config, dict):
        return
    if config.get("model_file") is not None:
        raise WorkerError(
            "load_failed", "The model brings code of its own (model_file), and that is never run."
        )
    if str(config.get("model_type")).lower() in _FETCHES_CODE:
        raise WorkerError(
            "load_failed",
            "This model can't be run here: mlx_vlm fetches its tokeniser from another repository,"
            " with code that it would run.",
        )


def refuse_other_kinds(record: ModelRecord) -> None:
    """Raises WorkerError for a model type that mlx_vlm has for other tasks than chats, such as
    embeddings, detection and images: told by its code, before any weights are read."""
    from mlx_vlm.utils import get_model_and_args, load_config

    try:
        module, _ = get_model_and_args(load_config(Path(record.path)))
    except Exception:  # The library raises errors of any type; loading the model reports them.
        return
    kind = getattr(module, "Model", None)
    sources = [
        inspect.getsource(sys.modules[base.__module__])
        for base in getattr(kind, "__mro__", ())
        if base.__module__.startswith("mlx_vlm.")
    ]
    why = None
    if not (hasattr(kind, "get_input_embeddings") and _is_in("language_model", sources)):
        why = "is not a chat model"
    elif _is_in("lm_head = None", sources[:1]):
        why = "makes embeddings and no text"
    elif hasattr(kind, "predict"):
        why = "answers typed questions with probabilities and writes no text"
    elif hasattr(kind, "generate_perception"):
        why = "finds objects in images and writes no text"
    elif _is_in("_generated_ids_list", sources[:1]):
        why = "points into images with tokens of its own for each, and that is not supported"
    elif _is_in("decoder_inputs_embeds", sources[:1]):
        why = "is an encoder-decoder model, and chats need a decoder-only one"
    if why is not None:
        raise _cant_run(record.architecture, why)


def _is_in(text: str, sources: list[str]) -> bool:
    return any(text in source for source in sources)


def _cant_run(architecture: str, why: str) -> WorkerError:
    return WorkerError(
        "load_failed", f"This model can't be run here: the architecture {architecture} {why}."
    )


def refuse_other_tasks(model: Any, architecture: str) -> None:
    """Raises WorkerError for a model of mlx_vlm that doesn't answer a chat token by token from what
    a key-value cache holds."""
    from mlx_vlm.generate.diffusion import is_diffusion_model  # Who counts prompts needs it not.

    language = getattr(model, "language_model", None)
    why = None
    if language is None:
        why = "has no language model that answers chats"
    elif is_diffusion_model(model):
        why = "writes its answers by diffusion and not token by token"
    elif not looks_across(language) and _takes_cross_attention(language):
        why = "looks at images by a kind of cross attention that isn't known here"
    if why is not None:
        raise _cant_run(architecture, why)


def looks_across(language: Any) -> bool:
    """Whether some layers of a language model look at pictures in place of the prompt, as those of
    Llama 3.2 Vision."""
    return bool(getattr(getattr(language, "config", None), "cross_attention_layers", None))


def _takes_cross_attention(language: Any) -> bool:
    return "cross_attention_states" in inspect.getsource(sys.modules[type(language).__module__])


def configured_ends(folder: Path) -> set[int]:
    """The end-of-text tokens that a model's files name: one id or a list, in config.json and in
    generation_config.json. mlx_lm and mlx_vlm take those of one of the two files."""
    ends: set[int] = set()
    for name in ("config.json", "generation_config.json"):
        try:
            config = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        named = config.get("eos_token_id") if isinstance(config, dict) else None
        ids = named if isinstance(named, list) else [named]
        ends.update(token for token in ids if type(token) is int and token >= 0)
    return ends


def load_failed(error: Exception) -> WorkerError:
    """The error of a model that a library could not load; its sentence gives away no path."""
    return WorkerError("load_failed", f"The model could not be loaded: {reason(error)}.")


def reason(error: Exception) -> str:
    """An exception in a few words without paths."""
    line = next((line for line in str(error).split("\n") if line.strip()), "")
    words = " ".join(word for word in line.split() if "/" not in word)
    return f"{type(error).__name__}: {words[:160].rstrip(' .:')}" if words else type(error).__name__


def evaluate(model: Any, report: Report) -> None:
    """Compute every array of a model, which reads its weights; also those that are no weights, such
    as rotary frequencies. ``report`` is told which share of the bytes is there, 0 to 1.

    MLX can't compute on one thread what another has begun, and models are opened on a thread of
    their own.
    """
    arrays = {id(array): array for array in _arrays_of(model, set())}.values()
    total = max(1, sum(array.nbytes for array in arrays))
    piece: list[mx.array] = []
    there = waiting = 0
    for array in arrays:
        piece.append(array)
        waiting += array.nbytes
        if waiting >= PIECE_BYTES:
            mx.eval(piece)
            there += waiting
            report(there / total)
            piece, waiting = [], 0
    mx.eval(piece)
    report(1.0)


def _arrays_of(value: Any, seen: set[int]) -> Iterator[mx.array]:
    """The arrays that a model holds: in its modules, and in plain objects of theirs, in which some
    keep frequencies."""
    if isinstance(value, mx.array):
        yield value
    if isinstance(value, (str, type, ModuleType)) or id(value) in seen:
        return
    seen.add(id(value))
    held = list(value.values()) if isinstance(value, dict) else []
    held += value if isinstance(value, (list, tuple)) else []
    for part in [*held, *getattr(value, "__dict__", {}).values()]:
        yield from _arrays_of(part, seen)


def weight_bytes(model: Any) -> int:
    """Bytes of a model's weights in memory."""
    return sum(int(array.nbytes) for _, array in tree_flatten(model.parameters()))
