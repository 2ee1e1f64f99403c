"""Adapters in PEFT's format say what their base says with the sums added to its weights: these are
computed here by numpy."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm import load

from tests.mlx.adapters.conftest import AdapterBench
from tests.mlx.adapters.test_rows import GREEDY, library
from wire.model_registry import ModelRecord
from worker.errors import WorkerError
from worker.models.adapters.found import describe

TEXTS = ("Hello!", "What is the capital of France?")
LAYERS = ("self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj")
CONFIG = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": 4,
    "lora_alpha": 10,
    "target_modules": ["q_proj", "o_proj", "down_proj"],
    "bias": "none",
    "modules_to_save": None,
    "init_lora_weights": True,
}
PATTERNS = {
    "rank_pattern": {"o_proj": 2, "^model.layers.1.mlp.down_proj": 6},
    "alpha_pattern": {"model.layers.0.self_attn.o_proj": 3, "down_proj": 24},
}
Factors = dict[str, tuple[np.ndarray, np.ndarray]]


def rank_of(path: str, *, patterns: bool) -> int:
    if not patterns:
        return 4
    if path.endswith("o_proj"):
        return 2
    return 6 if path == "model.layers.1.mlp.down_proj" else 4


def alpha_of(path: str, *, patterns: bool) -> int:
    if not patterns:
        return 10
    if path == "model.layers.0.self_attn.o_proj":
        return 3
    return 24 if path.endswith("down_proj") else 10


def weights_of(base: ModelRecord) -> dict[str, np.ndarray]:
    read = mx.load(f"{base.path}/model.safetensors")
    return {name: np.array(one.astype(mx.float32)) for name, one in read.items()}


def factors_of(base: ModelRecord, *, patterns: bool) -> Factors:
    """A and B of each adapted layer, in PEFT's shapes."""
    drawn = np.random.default_rng(5)
    factors = {}
    for name, weight in sorted(weights_of(base).items()):
        path = name.removesuffix(".weight")
        if path.endswith(LAYERS):
            outputs, inputs = weight.shape
            rank = rank_of(path, patterns=patterns)
            a = drawn.normal(0, 1 / math.sqrt(inputs), (rank, inputs))
            b = drawn.normal(0, 0.4, (outputs, rank))
            factors[path] = a.astype(np.float32), b.astype(np.float32)
    return factors


def written(folder: Path, base: ModelRecord, factors: Factors, **config: Any) -> ModelRecord:
    folder.mkdir()
    said = {**CONFIG, "base_model_name_or_path": base.path, **config}
    (folder / "adapter_config.json").write_text(json.dumps(said))
    tensors = {}
    for path, (a, b) in factors.items():
        tensors[f"base_model.model.{path}.lora_A.weight"] = mx.array(a)
        tensors[f"base_model.model.{path}.lora_B.weight"] = mx.array(b)
    mx.save_safetensors(str(folder / "adapter_model.safetensors"), tensors)
    return describe(folder, [base])


def merged(folder: Path, base: ModelRecord, factors: Factors, scales: dict[str, float]) -> Path:
    """The base with the sums in its weights."""
    shutil.copytree(base.path, folder)
    weights = weights_of(base)
    for path, (a, b) in factors.items():
        weights[f"{path}.weight"] += scales[path] * (b @ a)
    saved = {name: mx.array(one) for name, one in weights.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), saved, {"format": "mlx"})
    return folder


@pytest.mark.parametrize(
    ("stabilised", "patterns"),
    [(False, False), (True, True)],
    ids=["plain", "rank-stabilised with patterns"],
)
def test_it_says_what_the_merged_model_says(
    record: ModelRecord, tmp_path: Path, stabilised: bool, patterns: bool
) -> None:
    factors = factors_of(record, patterns=patterns)
    config = (PATTERNS if patterns else {}) | {"use_rslora": stabilised}
    adapter = written(tmp_path / "peft", record, factors, **config)
    assert adapter.problem == ""
    scales = {}
    for path, (a, _) in factors.items():
        rank = len(a)
        scale = alpha_of(path, patterns=patterns) / (math.sqrt(rank) if stabilised else rank)
        scales[path] = scale
    model, tokenizer = load(str(merged(tmp_path / "merged", record, factors, scales)))
    bench = AdapterBench(record)
    bench.attach(adapter)
    rows = [(one, text) for one in (None, adapter) for text in TEXTS]
    chats = [bench.chat_with(one, text, **GREEDY) for one, text in rows]
    bench.start(*chats)
    bench.run()
    ends = set(tokenizer.eos_token_ids)
    plain, adapted = chats[: len(TEXTS)], chats[len(TEXTS) :]
    for one, other in zip(plain, adapted, strict=True):
        assert other.generated == library(model, other.prompt_ids, ends)
        assert other.generated != one.generated


@pytest.mark.parametrize(
    ("config", "rename", "why"),
    [
        ({"r": 8}, {}, "model.layers.0.mlp.down_proj has rank 4 where its config says 8"),
        (
            {"rank_pattern": {"q_proj": 2}},
            {},
            "self_attn.q_proj has rank 4 where its config says 2",
        ),
        ({"target_modules": ["q_proj"]}, {}, "down_proj, which its target_modules leave out"),
        (
            {},
            {"lora_A.weight": "lora_embedding_A"},
            "has lora_b and lora_embedding_A and not lora_a and lora_b",
        ),
        ({}, {"mlp.down_proj": "mlp.c_proj"}, "the base has no layer model.layers.0.mlp.c_proj"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    record: ModelRecord, tmp_path: Path, config: dict[str, Any], rename: dict[str, str], why: str
) -> None:
    adapter = written(tmp_path / "peft", record, factors_of(record, patterns=False), **config)
    file = str(tmp_path / "peft" / "adapter_model.safetensors")
    tensors = mx.load(file)
    for before, after in rename.items():
        tensors = {name.replace(before, after): one for name, one in tensors.items()}
    mx.save_safetensors(file, tensors)
    bench = AdapterBench(record)
    with pytest.raises(WorkerError) as caught:
        bench.attach(adapter)
    assert caught.value.code == "load_failed"
    assert why in caught.value.message
