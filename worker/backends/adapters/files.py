"""An adapter's file, read and held against the layers of its base."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from worker.backends.adapters.folder import CONFIG, WEIGHTS
from worker.backends.adapters.layers import Delta
from worker.errors import WorkerError


@dataclass(frozen=True, slots=True)
class Adapter:
    """``deltas`` by the paths of the layers, without ``scale``. ``digest`` is a hash of its files,
    read whole."""

    deltas: Mapping[str, Delta]
    scale: float
    digest: bytes


def read_adapter(folder: Path, modules: Mapping[str, nn.Module]) -> Adapter:
    """``modules`` are the base's, by path. Raises WorkerError ``load_failed`` for what doesn't fit,
    and errors of any type for files that can't be read."""
    config = (folder / CONFIG).read_bytes()
    scale = float(json.loads(config)["lora_parameters"]["scale"])
    weights: dict[str, mx.array] = mx.load(str(folder / WEIGHTS))
    names = {name.rpartition(".")[0] for name in weights}
    deltas = {path: _delta(path, weights, modules.get(path)) for path in sorted(names)}
    if not deltas:
        raise _refused("it has no weights")
    mx.eval(list(weights.values()))
    digest = hashlib.sha256(config)
    with (folder / WEIGHTS).open("rb") as opened:
        digest.update(hashlib.file_digest(opened, "sha256").digest())
    return Adapter(deltas, scale, digest.digest())


def _delta(path: str, weights: Mapping[str, mx.array], module: Any) -> Delta:
    """Raises WorkerError for a layer whose deltas aren't known here, or don't fit."""
    own = {name.removeprefix(f"{path}."): one for name, one in weights.items() if _of(path, name)}
    if "m" in own:
        raise _refused("it is a DoRA, and only LoRA adapters are served")
    if set(own) != {"lora_a", "lora_b"}:
        raise _refused(f"{path} has {_listed(own)} and not lora_a and lora_b")
    if module is None:
        raise _refused(f"the base has no layer {path}")
    if type(module) not in (nn.Linear, nn.QuantizedLinear):
        kind = type(module).__name__
        raise _refused(f"it changes {path}, a layer of a kind that is not served ({kind})")
    outputs, inputs = _sizes(module)
    a, b = own["lora_a"], own["lora_b"]
    rank = a.shape[-1]
    if (a.shape, b.shape) != ((inputs, rank), (rank, outputs)) or not rank:
        raise _refused(
            f"{path} has shapes {a.shape} and {b.shape} where the base has {inputs} inputs and "
            f"{outputs} outputs"
        )
    if not all(mx.issubdtype(one.dtype, mx.floating) for one in (a, b)):
        raise _refused(f"the numbers of {path} are no fractions")
    return Delta(a, b)


def _of(path: str, name: str) -> bool:
    return name.rpartition(".")[0] == path


def _sizes(linear: Any) -> tuple[int, int]:
    """A layer's outputs and inputs."""
    outputs, inputs = linear.weight.shape
    if isinstance(linear, nn.QuantizedLinear):
        inputs = inputs * 32 // linear.bits
    return outputs, inputs


def _listed(names: Iterable[str]) -> str:
    return " and ".join(sorted(names)[:4])


def _refused(why: str) -> WorkerError:
    return WorkerError("load_failed", why)
