"""A forward pass in pieces: MLX computes what is asked for, so asking for the layers' outputs one
after another lets chats step in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from worker.backends.device import on_cpu


class LayerPieces:
    """Notes the outputs of a model's layers, which are replaced in its list of them.

    On the CPU, where a layer takes long and asking for more outputs costs nothing, it notes those
    of the layers' parts, too: products, norms and activations.
    """

    def __init__(self, layers: list[Any]) -> None:
        self._outputs: deque[mx.array] = deque()
        for number, layer in enumerate(layers):
            if on_cpu():
                self._note_parts(layer)
            layers[number] = _Noted(layer, self._outputs)

    def _note_parts(self, module: nn.Module) -> None:
        for name, part in module.children().items():
            if not isinstance(part, nn.Module):
                continue
            if part.children():
                self._note_parts(part)
            else:
                setattr(module, name, _Noted(part, self._outputs))

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
