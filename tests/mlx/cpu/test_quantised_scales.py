"""Quantised models on MLX's CPU backend: their scales are float32, whatever the folder has."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model, quantize_model

from scripts.training.random_text_model import SMALL, make
from worker.backends.cpu.scales import widen_scales, widen_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("models") / "random", SMALL)


def quantised(folder: Path, dtype: mx.Dtype) -> nn.Module:
    """The model in 4 bit, as it is published: rounded to a type, then quantised."""
    model, config = load_model(folder)
    model.set_dtype(dtype)
    model, _ = quantize_model(model, config, group_size=32, bits=4)
    return model


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
def test_scales_are_widened_and_the_weights_stay(folder: Path, dtype: mx.Dtype) -> None:
    model = quantised(folder, dtype)
    before = dict(tree_flatten(model.parameters()))
    widen_scales(model)
    after = dict(tree_flatten(model.parameters()))
    scales = [name for name in after if name.endswith(("scales", "biases"))]
    assert scales
    assert all(after[name].dtype == mx.float32 for name in scales)
    assert all(mx.array_equal(after[name], before[name].astype(mx.float32)) for name in scales)
    others = set(after) - set(scales)
    assert all(mx.array_equal(after[name], before[name]) for name in others)


def test_a_product_loses_fewer_digits(folder: Path) -> None:
    narrow, wide = quantised(folder, mx.bfloat16), quantised(folder, mx.bfloat16)
    exact = quantised(folder, mx.bfloat16)
    widen_scales(wide)
    exact.set_dtype(mx.float32)
    ids = mx.array([[5, 6, 7, 8, 9, 10, 11, 12]])
    right = exact(ids)
    errors = [float(mx.abs(model(ids) - right).mean()) for model in (narrow, wide)]
    assert errors[1] < errors[0] / 10


def test_all_weights_are_widened_but_those_that_are_quantised(folder: Path) -> None:
    model = quantised(folder, mx.bfloat16)
    before = dict(tree_flatten(model.parameters()))
    widen_weights(model)
    after = dict(tree_flatten(model.parameters()))
    assert {weight.dtype for weight in after.values()} == {mx.float32, mx.uint32}
    assert {mx.bfloat16, mx.uint32} == {weight.dtype for weight in before.values()}
