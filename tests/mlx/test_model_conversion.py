"""Conversion of GGUF files: MLX computes with the numbers of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize

from scripts.model_conversion import gemma3
from worker.models.packaged import smollm2, weights_file
from worker.models.packaged.gguf_file import GROUP, GgufFile

ROWS, COLUMNS = 12, 96


@pytest.fixture
def values() -> Any:
    return np.random.default_rng(1).normal(size=(ROWS, COLUMNS)).astype(np.float32)


def file_of(folder: Path, values: Any, kind: GGMLQuantizationType) -> GgufFile:
    writer = GGUFWriter(folder / "one.gguf", "llama")
    writer.add_tensor("token_embd.weight", quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GgufFile(folder / "one.gguf")


@pytest.mark.parametrize("kind", [GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q8_0])
def test_blocks_become_groups_with_the_same_numbers(
    tmp_path: Path, values: Any, kind: GGMLQuantizationType
) -> None:
    file = file_of(tmp_path, values, kind)
    matrix = file.quantised("token_embd.weight")
    weight, scales, biases = map(mx.array, matrix[:3])
    numbers = mx.dequantize(weight, scales, biases, group_size=GROUP, bits=matrix.bits)
    assert np.array_equal(np.array(numbers), dequantize(quantize(values, kind), kind))
    assert np.array_equal(file.array("token_embd.weight"), np.array(numbers))


def test_a_kind_of_blocks_that_mlx_does_not_have_is_refused(tmp_path: Path, values: Any) -> None:
    file = file_of(tmp_path, values, GGMLQuantizationType.Q5_0)
    with pytest.raises(ValueError, match="Q5_0"):
        file.quantised("token_embd.weight")


def test_mlx_reads_the_weights_file(tmp_path: Path, values: Any) -> None:
    arrays = {"b": values, "a.b": np.arange(6, dtype=np.uint32).reshape(2, 3), "c": values[0]}
    weights_file.write(file := tmp_path / "model.safetensors", arrays)
    read = mx.load(str(file))
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        assert np.array_equal(np.array(read[name]), array), name


def test_neighbouring_rows_of_a_head_come_to_lie_half_a_head_apart() -> None:
    assert smollm2.rotary_order(12, 2).tolist() == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]


def test_merges_follow_the_order_of_the_vocabulary() -> None:
    vocabulary = {"aaa": 0, "a": 1, "b": 2, "ab": 3, "aa": 4, "aab": 5}
    assert gemma3.merges(vocabulary, first={4}) == [
        ["a", "a"],
        ["aa", "a"],
        ["a", "aa"],
        ["a", "b"],
        ["aa", "b"],
        ["a", "ab"],
    ]
