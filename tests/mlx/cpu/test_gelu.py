"""GELU on the CPU: the library's numbers, in less time."""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from worker.backends.cpu.gelu import QuickGELU, quicken_gelu


def test_it_is_as_close_to_gelu_as_the_librarys() -> None:
    x = np.linspace(-12, 12, 4801, dtype=np.float32)
    expected = [float(value) * 0.5 * math.erfc(-float(value) / math.sqrt(2)) for value in x]
    assert np.array(QuickGELU()(mx.array(x))) == pytest.approx(np.array(expected), abs=1e-6)


def test_only_exact_gelus_are_replaced() -> None:
    model = nn.Module()
    model.exact, model.tanh, model.inner = nn.GELU(), nn.GELU("precise"), nn.Module()
    model.inner.exact = nn.GELU()
    quicken_gelu(model)
    assert type(model.exact) is type(model.inner.exact) is QuickGELU
    assert type(model.tanh) is nn.GELU
