"""Exponentials that are fast on the CPU, with their derivatives.

MLX's exp, sigmoid and softmax cost about 13 ns an element on the CPU and its power a third of that; a training step
takes tens of millions of them. `network.check_forward` holds the result against the library's own network.
"""

import math

import mlx.core as mx

_LOG2_E = math.log2(math.e)
# 2 ** 115 is still finite in fp32.
_LEAST = -80.0


def _two_to(x: mx.array) -> mx.array:
    return mx.power(2.0, x * _LOG2_E)


@mx.custom_function  # type: ignore[untyped-decorator]
def sigmoid(x: mx.array) -> mx.array:
    """Give 1 / (1 + e^-x)."""
    return 1 / (1 + _two_to(-mx.maximum(x, _LEAST)))


@sigmoid.vjp  # type: ignore[untyped-decorator]
def _sigmoid_vjp(_x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    return cotangent * output * (1 - output)


@mx.custom_function  # type: ignore[untyped-decorator]
def softmax(x: mx.array) -> mx.array:
    """Give the softmax along the last axis."""
    powers = _two_to(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@softmax.vjp  # type: ignore[untyped-decorator]
def _softmax_vjp(_x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    weighted = cotangent * output
    return weighted - output * weighted.sum(axis=-1, keepdims=True)


@mx.custom_function  # type: ignore[untyped-decorator]
def log_partition(x: mx.array) -> mx.array:
    """Give the logarithm of the sum of the exponentials along the last axis."""
    top = x.max(axis=-1, keepdims=True)
    return mx.log(_two_to(x - top).sum(axis=-1)) + top[..., 0]


@log_partition.vjp  # type: ignore[untyped-decorator]
def _log_partition_vjp(x: mx.array, cotangent: mx.array, _output: mx.array) -> mx.array:
    return cotangent[..., None] * softmax(x)


def cross_entropy(logits: mx.array, targets: mx.array) -> mx.array:
    """Give the loss of each row."""
    return log_partition(logits) - mx.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
