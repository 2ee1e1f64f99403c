"""An adapter's file, read and held against the layers of its base."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from worker.backends.adapters.folder import CONFIG, read_folder
from worker.backends.adapters.layers import Delta
from worker.backends.adapters.peft import PeftConfig, mlx_name
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
    told = read_folder(folder)
    if told.problem:
        raise _refused(told.problem)
    said = (folder / CONFIG).read_bytes()
    config, file = json.loads(said), folder / told.weights
    weights: dict[str, mx.array] = mx.load(str(file))
    if told.is_peft:
        weights = {mlx_name(name): one.T for name, one in weights.items()}
    is_dora = not told.is_peft and config.get("fine_tune_type") == "dora"
    names = sorted({name.rpartition(".")[0] for name in weights})
    deltas = {path: _delta(path, weights, modules.get(path), is_dora=is_dora) for path in names}
    if not deltas:
        raise _refused("it has no weights")
    if told.is_peft:
        deltas, scale = _scaled(deltas, PeftConfig(config))
    else:
        scale = float(config["lora_parameters"]["scale"])
    if is_dora:
        deltas = {path: _with_gain(modules[path], one, scale) for path, one in deltas.items()}
    mx.eval([part for delta in deltas.values() for part in (delta.a, delta.b)])
    digest = hashlib.sha256(said)
    with file.open("rb") as opened:
        digest.update(hashlib.file_digest(opened, "sha256").digest())
    return Adapter(deltas, scale, digest.digest())


def _scaled(deltas: Mapping[str, Delta], config: PeftConfig) -> tuple[dict[str, Delta], float]:
    """The deltas on one scale, the largest of theirs. Raises WorkerError for those that don't fit
    their config."""
    scales: dict[str, float] = {}
    for path, delta in deltas.items():
        rank = delta.a.shape[-1]
        if misfit := config.misfit(path, rank):
            raise _refused(misfit)
        scales[path] = config.scale(path, rank)
    scale = max(scales.values(), key=abs)
    smaller = {path: one / scale for path, one in scales.items() if one != scale}
    scaled = {
        path: replace(deltas[path], b=deltas[path].b.astype(mx.float32) * part)
        for path, part in smaller.items()
    }
    return {**deltas, **scaled}, scale


def _with_gain(linear: Any, delta: Delta, scale: float) -> Delta:
    """A DoRA's delta with what its layer's sums are multiplied by, which goes for this base alone.
    As in mlx_lm's DoRALinear."""
    weight = linear.weight
    if isinstance(linear, nn.QuantizedLinear):
        options = {"group_size": linear.group_size, "bits": linear.bits, "mode": linear.mode}
        weight = mx.dequantize(weight, linear.scales, linear.get("biases"), **options)
    adapted = weight + (scale * delta.b.T) @ delta.a.T
    gain = delta.gain / mx.linalg.norm(adapted, axis=1)
    mx.eval(gain)
    return replace(delta, gain=gain)


def _delta(path: str, weights: Mapping[str, mx.array], module: Any, *, is_dora: bool) -> Delta:
    """A layer's part, with a DoRA's magnitudes for its gain. Raises WorkerError for a layer whose
    deltas aren't known here, or don't fit."""
    own = {name.removeprefix(f"{path}."): one for name, one in weights.items() if _of(path, name)}
    expected = {"lora_a", "lora_b"} | ({"m"} if is_dora else set())
    if set(own) != expected:
        raise _refused(f"{path} has {_listed(own)} and not {_listed(expected)}")
    if module is None:
        raise _refused(f"the base has no layer {path}")
    if type(module) not in (nn.Linear, nn.QuantizedLinear):
        kind = type(module).__name__
        raise _refused(f"it changes {path}, a layer of a kind that is not served ({kind})")
    outputs, inputs = _sizes(module)
    a, b, m = own["lora_a"], own["lora_b"], own.get("m")
    rank = a.shape[-1]
    if (a.shape, b.shape) != ((inputs, rank), (rank, outputs)) or not rank:
        raise _refused(
            f"{path} has shapes {a.shape} and {b.shape} where the base has {inputs} inputs and "
            f"{outputs} outputs"
        )
    if m is not None and m.shape != (outputs,):
        raise _refused(f"{path} has magnitudes {m.shape} where the base has {outputs} outputs")
    if not all(mx.issubdtype(one.dtype, mx.floating) for one in own.values()):
        raise _refused(f"the numbers of {path} are no fractions")
    return Delta(a, b, m)


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
