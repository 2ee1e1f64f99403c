"""A processor's arrays on their way over the host."""

from __future__ import annotations

import mlx.core as mx

from worker.backends.vision.host_arrays import on_device, on_host


def test_arrays_come_to_the_device_as_they_were() -> None:
    made = [mx.array([0.5, -3.0], mx.bfloat16), [mx.array([1.5]), mx.array([[7]], mx.int32)]]
    pixels, (others, counts) = on_device(on_host(made))
    assert (pixels.dtype, pixels.tolist()) == (mx.bfloat16, [0.5, -3.0])
    assert (others.dtype, others.tolist()) == (mx.float32, [1.5])
    assert (counts.dtype, counts.tolist()) == (mx.int32, [[7]])


def test_what_is_no_array_stays() -> None:
    assert on_device(on_host("two")) == "two"
    assert on_device(on_host([3, "two"])) == [3, "two"]
