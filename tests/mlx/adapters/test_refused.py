"""Adapters that don't fit their base: refused by name, with the base as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from tests.mlx.adapters.conftest import AdapterBench
from wire.model_registry import ModelRecord
from worker.errors import WorkerError
from worker.models.adapters.found import describe

Q = "model.layers.0.self_attn.q_proj"
Tensors = dict[str, mx.array]


def tensors(path: str = Q, inputs: int = 192, rank: int = 4, outputs: int = 192) -> Tensors:
    return {
        f"{path}.lora_a": mx.zeros((inputs, rank)),
        f"{path}.lora_b": mx.zeros((rank, outputs)),
    }


@pytest.fixture(scope="module")
def bench(base: ModelRecord) -> AdapterBench:
    return AdapterBench(base)


def written(folder: Path, base: ModelRecord, weights: Tensors) -> ModelRecord:
    config = {"model": base.path, "lora_parameters": {"rank": 4, "scale": 2.0}}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    mx.save_safetensors(str(folder / "adapters.safetensors"), weights)
    return describe(folder, [base])


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        ({}, "it has no weights"),
        (tensors("model.layers.9.self_attn.q_proj"), "no layer model.layers.9.self_attn.q_proj"),
        (tensors(inputs=128), "(128, 4) and (4, 192) where the base has 192 inputs and 192"),
        (tensors(outputs=64), "(4, 64) where the base has 192 inputs and 192 outputs"),
        (
            tensors("model.embed_tokens"),
            "model.embed_tokens, a layer of a kind that is not served (Embedding)",
        ),
        (tensors("model.norm"), "not served (RMSNorm)"),
        (tensors() | {f"{Q}.m": mx.zeros((192,))}, f"{Q} has lora_a and lora_b and m and not"),
        ({f"{Q}.lora_a": mx.zeros((192, 4))}, f"{Q} has lora_a and not lora_a and lora_b"),
        ({f"{Q}.weight": mx.zeros((192, 192))}, f"{Q} has weight and not"),
        ({n: w.astype(mx.int32) for n, w in tensors().items()}, "are no fractions"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    bench: AdapterBench, base: ModelRecord, tmp_path: Path, weights: Tensors, why: str
) -> None:
    record = written(tmp_path, base, weights)
    with pytest.raises(WorkerError) as caught:
        bench.attach(record)
    assert caught.value.code == "load_failed"
    assert caught.value.message.startswith(f"The adapter demo-chat+{tmp_path.name} can't be used: ")
    assert why in caught.value.message
    assert bench.backend.adapters is not None
    assert bench.backend.adapters.nbytes == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-100]),
        lambda file: file.write_bytes(b"\xff" * 64),
        lambda file: file.unlink(),
        lambda file: (file.parent / "adapter_config.json").write_text("{}"),
    ],
    ids=["cut short", "noise", "gone", "without a scale"],
)
def test_damaged_files_are_refused_without_a_path(
    bench: AdapterBench, base: ModelRecord, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    record = written(tmp_path, base, tensors())
    damage(tmp_path / "adapters.safetensors")
    with pytest.raises(WorkerError) as caught:
        bench.attach(record)
    assert caught.value.code == "load_failed"
    assert "/" not in caught.value.message


def test_a_layer_that_is_not_fed_row_by_row_is_refused_and_the_base_is_as_before(
    base: ModelRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = AdapterBench(base)
    before = bench.answer("Hello!", seed=1)
    model = bench.backend._model._model  # type: ignore[attr-defined]
    attention = type(model.model.layers[0].self_attn)
    call = attention.__call__

    def flattened(self: object, x: mx.array, *rest: object, **more: object) -> mx.array:
        project = self.q_proj  # type: ignore[attr-defined]
        flat = project(x.reshape(-1, x.shape[-1]))
        assert flat.shape[0] == x.shape[0] * x.shape[1]
        return call(self, x, *rest, **more)

    monkeypatch.setattr(attention, "__call__", flattened)
    with pytest.raises(WorkerError, match=f"{Q} isn't fed row by row"):
        bench.attach(written(tmp_path, base, tensors()))
    monkeypatch.undo()
    bench.forget()
    assert bench.answer("Hello!", seed=1) == before
