"""Pinned models: no worker unloads them to make room, and workers load them when they start.

The API writes the pins, workers read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import ValidationError

from wire.keys import PREFIX
from wire.messages import TolerantRecord

PINNED_MODELS = PREFIX + "pinned-models"
"""Hash: id of a pinned model -> how it is loaded, JSON. Also of models that are not there now."""
PRELOADS = PREFIX + "preloads"
"""Hash: id of a pinned model -> loads of it that workers began at their start and did not end."""


class Pin(TolerantRecord):
    """How a pinned model is loaded. ``kv_quantization``: bits of its key-value cache;
    ``draft_model``: id of the model that guesses for it, empty if none does."""

    kv_quantization: Literal[4, 8] | None = None
    draft_model: str = ""


def decode(stored: Mapping[bytes, bytes]) -> dict[str, Pin]:
    """The pins of a stored hash, by model id; one that can't be read counts with its defaults."""
    return {model_id.decode(): _decoded(value) for model_id, value in stored.items()}


def _decoded(value: bytes) -> Pin:
    try:
        return Pin.model_validate_json(value)
    except ValidationError:
        return Pin()
