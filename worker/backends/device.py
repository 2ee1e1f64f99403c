"""Which device MLX computes on."""

from __future__ import annotations

import mlx.core as mx


def on_cpu() -> bool:
    """Whether that is the CPU, as on Linux without CUDA. On Apple silicon it is the GPU.

    The condition for everything in ``worker.backends.cpu``.
    """
    return bool(mx.default_device().type == mx.DeviceType.cpu)
