"""What an adapter's folder says of it, its weights left out. Knows no MLX."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worker.backends.adapters import peft

CONFIG, WEIGHTS = "adapter_config.json", "adapters.safetensors"
"""Files that mlx_lm's tuner writes. PEFT's weights have another name."""


def is_adapter(files: Collection[str]) -> bool:
    """Whether a folder or repository with files of these names is an adapter, and no model that has
    kept its adapter's config."""
    weights = [name for name in files if name.endswith(".safetensors")]
    return CONFIG in files and all(name.endswith((WEIGHTS, peft.PEFT_WEIGHTS)) for name in weights)


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """``base`` is what its config calls the model that it was trained on, empty if it doesn't say.
    ``problem`` says why it can't be served. ``is_peft``: it is in PEFT's format."""

    base: str
    problem: str = ""
    is_peft: bool = False

    @property
    def weights(self) -> str:
        """The name of the file that they are in."""
        return peft.PEFT_WEIGHTS if self.is_peft else WEIGHTS


def read_folder(folder: Path) -> AdapterFolder:
    """An adapter's folder, whatever is in it."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict):
        return AdapterFolder("", f"its {CONFIG} can't be read")
    named = config.get("model") or config.get("base_model_name_or_path")
    base = named.rstrip("/") if isinstance(named, str) else ""
    is_peft = "peft_type" in config
    problem = peft.problem(config) if is_peft else _problem(config)
    told = AdapterFolder(base, problem, is_peft)
    if not problem and not (folder / told.weights).is_file():
        return replace(told, problem=f"it has no {told.weights}")
    return told


def _problem(config: dict[str, Any]) -> str:
    """Why an adapter of mlx_lm's tuner can't be served, by its config."""
    kind = config.get("fine_tune_type", "lora")
    parameters = config.get("lora_parameters")
    scale = parameters.get("scale") if isinstance(parameters, dict) else None
    if kind == "full":
        return "it is a full fine-tune and not a LoRA adapter"
    if kind not in ("lora", "dora"):
        return "its fine_tune_type is neither lora nor dora"
    return "" if peft.is_number(scale) else f"its {CONFIG} has no lora_parameters with a scale"
