"""A forward pass in pieces: MLX computes what is asked for, so asking for the layers' outputs one
after another lets chats step in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import mlx.core as mx


class LayerPieces:
    """Notes the outputs of a model's layers, which are replaced in its list of them."""

    def __init__(self, layers: list[Any]) -> None:
        self._outputs: deque[mx.array] = deque()
        for number, layer in enumerate(layers):
            layers[number] = _Noted(layer, self._outputs)

    def forget(self) -> None:
        """Forget what a pass noted whose laying out failed."""
        self._outputs.clear()

    def take(self) -> Iterator[mx.array]:
        """The outputs of the pass that has just been laid out; computed ones are freed."""
        outputs = deque(self._outputs)
        self._outputs.clear()
        while outputs:
            yield outputs.popleft()


class _Noted:
    def __init__(self, layer: Any, outputs: deque[mx.array]) -> None:
        self._layer, self._outputs = layer, outputs

    def __call__(self, *args: Any, **kwargs: Any) -> mx.array:
        output: mx.array = self._layer(*args, **kwargs)
        self._outputs.append(output)
        return output

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)
