"""Sampling with fused operations: the same results, and no step waits for the kernels to be
built."""

from __future__ import annotations

import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest

from worker.backends.cpu.kernel_builder import KernelBuilder
from worker.backends.sampling import top_p

LENGTH = 700


def new_builder() -> KernelBuilder:
    return KernelBuilder(top_p.__name__)


@pytest.mark.parametrize("rows", [1, 2, 5, 32])
def test_fused_and_one_by_one_the_answer_is_the_same(rows: int) -> None:
    rng = np.random.default_rng(rows)
    logits = mx.array(rng.normal(size=(rows, LENGTH)).astype(np.float32) * 3)
    keys = mx.array(rng.integers(0, 1 << 32, size=(rows, 2), dtype=np.uint32))
    temperatures, bounds = (
        mx.array(rng.uniform(0.2, 1, size=(rows, 1)).astype(np.float32)) for _ in range(2)
    )
    for function, arguments in (
        (top_p.gumbel_noise, (logits, keys, temperatures)),
        (top_p.gumbel_top_p, (logits, keys, temperatures, bounds)),
    ):
        plain, fused = np.array(function(*arguments)), np.array(mx.compile(function)(*arguments))
        assert np.array_equal(plain.argmax(axis=-1), fused.argmax(axis=-1))
        assert np.allclose(plain, fused, rtol=1e-5, atol=1e-5)  # Infinite in the same places, too.


@pytest.fixture
def builders(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that are started to build kernels; those that a CPU with a compiler has
    built."""
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type,call-overload]
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    monkeypatch.delenv("MLX_DISABLE_COMPILE", raising=False)
    return started


def test_kernels_are_built_by_another_process(builders: list[subprocess.Popen[bytes]]) -> None:
    kernels = new_builder()
    assert not kernels.ready(LENGTH)
    [builder] = builders
    assert builder.wait(300) == 0
    assert kernels.ready(LENGTH)
    assert kernels.ready(LENGTH)
    assert len(builders) == 1


def test_building_ends_with_the_worker(builders: list[subprocess.Popen[bytes]]) -> None:
    kernels = new_builder()
    kernels.ready(LENGTH)
    kernels.stop()
    assert builders[0].returncode is not None


def test_without_kernels_nothing_is_lost(
    builders: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    kernels = new_builder()
    assert not kernels.ready(LENGTH)
    builders[0].wait(300)
    assert not kernels.ready(LENGTH)
    assert not kernels.ready(LENGTH)
    assert [record.message for record in caplog.records] == [
        f"the kernels for rows of {LENGTH} could not be built: status 1"
    ]


def test_a_gpu_needs_no_builder(
    builders: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top_p, "on_cpu", lambda: False)
    row = mx.zeros((1, 16))
    chosen = top_p.gumbel_max(row, mx.zeros((1, 2), dtype=mx.uint32), mx.ones((1, 1)))
    assert chosen.shape == row.shape
    assert not builders


def test_where_nothing_is_fused_nothing_is_built(
    builders: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLX_DISABLE_COMPILE", "1")
    assert new_builder().ready(LENGTH)
    assert not builders


def test_for_a_large_vocabulary_nothing_is_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def ready(length: int) -> bool:
        asked.append(length)
        return False

    monkeypatch.setattr(top_p, "on_cpu", lambda: True)
    monkeypatch.setattr(top_p._cpu_kernels, "ready", ready)
    for length in (top_p.FUSED_BELOW - 1, top_p.FUSED_BELOW):
        keys = mx.array([[1, 2]], dtype=mx.uint32)
        mx.eval(top_p.gumbel_max(mx.zeros((1, length)), keys, mx.ones((1, 1))))
    assert asked == [top_p.FUSED_BELOW - 1]
