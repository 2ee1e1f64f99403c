"""LoRA adapters in PEFT's format: what their config says of their weights. Knows no MLX."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

PEFT_WEIGHTS = "adapter_model.safetensors"
_RANK = _ALPHA = 8
"""PEFT's defaults."""
_PREFIX = "base_model.model."
_TENSORS = {"lora_A.weight": "lora_a", "lora_B.weight": "lora_b"}
_REFUSED = (
    *("use_dora", "modules_to_save", "lora_bias", "layer_replication", "target_parameters"),
    *("trainable_token_indices", "alora_invocation_tokens", "arrow_config"),
    *("use_qalora", "use_bdlora", "kasa_config", "monteclora_config"),
)
"""Fields with which an adapter is more than low-rank sums beside linear layers."""
_STARTS = ("gaussian", "eva", "orthogonal", "mica")
"""Values of init_lora_weights that leave the base's weights as they are."""
_PLAIN = re.compile(r"\^?[\w.-]+")
"""Names in patterns. A stranger's regular expression could be matched for ever."""


def problem(config: Mapping[str, Any]) -> str:
    """Why an adapter with this config can't be served; empty if it can."""
    kind, bias = config["peft_type"], config.get("bias", "none")
    start = config.get("init_lora_weights", True)
    if kind != "LORA":
        return f"its peft_type is {str(kind)[:40]}, and of PEFT's adapters only LORA is served"
    if (field := next((field for field in _REFUSED if config.get(field)), None)) is not None:
        return f"its config has {field}, and PEFT's adapters with that are not served"
    if bias != "none":
        return f"its config has bias {str(bias)[:40]}, and trained biases are not served"
    if isinstance(start, str) and start not in _STARTS:
        return f"its init_lora_weights, {start[:40]}, changed the weights of its base"
    return _without_numbers(config)


def _without_numbers(config: Mapping[str, Any]) -> str:
    """Which of the numbers can't be read; empty if all can."""
    named = [("r", config.get("r", _RANK)), ("lora_alpha", config.get("lora_alpha", _ALPHA))]
    for field in ("rank_pattern", "alpha_pattern"):
        patterns = config.get(field) or {}
        if not isinstance(patterns, dict) or not all(map(_PLAIN.fullmatch, patterns)):
            return f"its {field} has more than names of layers"
        named += [(field, value) for value in patterns.values()]
    for field, value in named:
        of_rank = field in ("r", "rank_pattern")
        if not is_number(value) or (of_rank and (value < 1 or value != int(value))):
            return f"its {field} is not a {'rank' if of_rank else 'number'}"
    return ""


def is_number(value: Any) -> bool:
    """Whether a value of a config is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def mlx_name(name: str) -> str:
    """The name that a tensor has in mlx_lm's format, without the wrapper's prefix. Its factors are
    transposed there."""
    bare = name.removeprefix(_PREFIX)
    for theirs, ours in _TENSORS.items():
        if bare.endswith(f".{theirs}"):
            return bare.removesuffix(theirs) + ours
    return bare


class PeftConfig:
    """Of an adapter without a problem."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._rank, self._alpha = config.get("r", _RANK), config.get("lora_alpha", _ALPHA)
        self._ranks: dict[str, float] = config.get("rank_pattern") or {}
        self._alphas: dict[str, float] = config.get("alpha_pattern") or {}
        self._rank_stabilised = bool(config.get("use_rslora"))
        targets = config.get("target_modules")
        self._targets = targets if isinstance(targets, list) else None

    def scale(self, path: str, rank: int) -> float:
        """By what a layer's low-rank sums are multiplied."""
        alpha = _of_layer(self._alphas, path, self._alpha)
        return float(alpha / (math.sqrt(rank) if self._rank_stabilised else rank))

    def misfit(self, path: str, rank: int) -> str:
        """Why PEFT would not take these weights of a layer; empty if it would."""
        if rank != (expected := _of_layer(self._ranks, path, self._rank)):
            return f"{path} has rank {rank} where its config says {expected}"
        if self._targets is not None and not any(_is_of(path, name) for name in self._targets):
            return f"it has weights of {path}, which its target_modules leave out"
        return ""


def _of_layer(patterns: Mapping[str, float], path: str, otherwise: float) -> float:
    """A layer's own value: that of the first pattern that is its path or the end of it."""
    return next((value for name, value in patterns.items() if _is_of(path, name)), otherwise)


def _is_of(path: str, name: Any) -> bool:
    """Whether a name is that of a layer: its path, or, unless it begins with ^, the end of it."""
    bare = str(name).removeprefix("^")
    return path == bare or (bare == name and path.endswith(f".{name}"))
