"""Model folders as mlx_lm loads them: config, weights, tokeniser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.model_conversion import gemma3, smollm2, weights_file
from scripts.model_conversion.catalogue import Conversion
from scripts.model_conversion.gguf_file import GROUP, Array, GgufFile, Quantised

_FAMILIES = {"smollm2": smollm2, "gemma3": gemma3}


def convert(conversion: Conversion, gguf: Path, folder: Path) -> None:
    """Write the model into an empty folder."""
    file, family = GgufFile(gguf), _FAMILIES[conversion.source.family]
    tensors = family.tensors(file, conversion.form)
    config = family.config(file) | {"torch_dtype": "float32"} | _quantization(tensors)
    weights_file.write(folder / "model.safetensors", _arrays(tensors))
    contents = {
        "config.json": config,
        "generation_config.json": {
            name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")
        },
        "tokenizer.json": family.tokenizer(file),
        "tokenizer_config.json": family.tokenizer_config(file),
    }
    for name, content in contents.items():
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (folder / name).write_text(text + "\n", encoding="utf-8", newline="\n")


def _arrays(tensors: Mapping[str, Array | Quantised]) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, Quantised):
            parts = {"weight": tensor.weight, "scales": tensor.scales, "biases": tensor.biases}
            arrays |= {f"{name}.{part}": array for part, array in parts.items()}
        else:
            arrays[f"{name}.weight"] = tensor
    return arrays


def _quantization(tensors: Mapping[str, Array | Quantised]) -> dict[str, Any]:
    """The part of config.json about it: the fewest bits are the rule, the others exceptions."""
    bits = {name: part.bits for name, part in tensors.items() if isinstance(part, Quantised)}
    if not bits:
        return {}
    rule = min(bits.values())

    def settings(count: int) -> dict[str, Any]:
        return {"group_size": GROUP, "bits": count, "mode": "affine"}

    others = {name: settings(count) for name, count in sorted(bits.items()) if count != rule}
    return {"quantization": settings(rule) | others}
