"""What an adapter's folder says of it, its weights left out. Knows no MLX."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG, WEIGHTS, PEFT_WEIGHTS = (
    "adapter_config.json",
    "adapters.safetensors",
    "adapter_model.safetensors",
)
"""Files of an adapter: mlx_lm's tuner writes the first two, PEFT the first and the last."""
_KINDS = {
    "dora": "it is a DoRA, and only LoRA adapters are served",
    "full": "it is a full fine-tune and not a LoRA adapter",
}


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """``base`` is what its config calls the model that it was trained on, empty if it doesn't say.
    ``problem`` says why it can't be served."""

    base: str
    problem: str = ""


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
    return AdapterFolder(base, _problem(folder, config))


def _problem(folder: Path, config: dict[str, Any]) -> str:
    kind = config.get("fine_tune_type", "lora")
    parameters = config.get("lora_parameters")
    scale = parameters.get("scale") if isinstance(parameters, dict) else None
    if "peft_type" in config or (folder / PEFT_WEIGHTS).is_file():
        return "it is in PEFT's format, and only adapters of mlx_lm's tuner are served"
    if kind != "lora":
        return _KINDS.get(str(kind), "its fine_tune_type is not lora")
    if isinstance(scale, bool) or not isinstance(scale, (int, float)):
        return f"its {CONFIG} has no lora_parameters with a scale"
    if not (folder / WEIGHTS).is_file():
        return f"it has no {WEIGHTS}"
    return ""
