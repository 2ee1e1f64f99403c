"""Model folders as mlx_lm loads them: config, weights, tokeniser."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from worker.models.packaged import smollm2, weights_file
from worker.models.packaged.catalogue import Conversion, Form
from worker.models.packaged.gguf_file import GROUP, Array, GgufFile, Quantised


class Family(Protocol):
    """What a family of models has in its folder, out of a GGUF file. ``SAMPLING`` is what the
    model's card recommends, in the names of generation_config.json."""

    SAMPLING: Mapping[str, float]

    def config(self, file: Any) -> dict[str, Any]: ...

    def tensors(self, file: Any, form: Form) -> Mapping[str, Array | Quantised]: ...

    def tokenizer(self, file: Any) -> dict[str, Any]: ...

    def tokenizer_config(self, file: Any) -> dict[str, Any]: ...


_FAMILIES: dict[str, Family] = {"smollm2": smollm2}


def convert(conversion: Conversion, fetched: Path, folder: Path) -> None:
    """Write a packaged model into an empty folder, from its GGUF file or its files."""
    if conversion.source.files:
        shutil.copytree(fetched, folder, dirs_exist_ok=True)
        return
    write(GgufFile(fetched), _FAMILIES[conversion.source.family], conversion.form, folder)


def write(file: Any, family: Family, form: Form, folder: Path) -> None:
    """Write a model of a family into an empty folder."""
    tensors = family.tensors(file, form)
    config = family.config(file) | {"torch_dtype": "float32"} | _quantization(tensors)
    weights_file.write(folder / "model.safetensors", _arrays(tensors))
    contents = {
        "config.json": config,
        "generation_config.json": {
            name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")
        }
        | dict(family.SAMPLING),
        "tokenizer.json": family.tokenizer(file),
        "tokenizer_config.json": family.tokenizer_config(file),
    }
    for name, content in contents.items():
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (folder / name).write_text(text + "\n", encoding="utf-8", newline="\n")


def digest_of(folder: Path) -> str:
    """SHA-256 of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        name = file.relative_to(folder).as_posix()
        digest.update(f"{name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def sha256_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


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
