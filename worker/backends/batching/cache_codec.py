"""Key-value caches as plain arrays, and back: what the disk cache writes and reads.

A cache becomes a structure in JSON, in which each array is a number, and the arrays themselves. The
objects in it are rebuilt only as classes that the model's own empty cache has.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from worker.backends.batching import kv_cache
from worker.disk_cache.codec import NotExportable, Restored
from worker.disk_cache.entry_file import ArraySpec, blocks, file_order
from worker.prompt_cache import Cache, Checkpoint

PIECE_BYTES = 2 << 20
"""Bytes that are copied in one go: about a millisecond."""
_DTYPES: dict[str, mx.Dtype] = {
    "BOOL": mx.bool_,
    "U8": mx.uint8,
    "I8": mx.int8,
    "U16": mx.uint16,
    "I16": mx.int16,
    "U32": mx.uint32,
    "I32": mx.int32,
    "U64": mx.uint64,
    "I64": mx.int64,
    "F16": mx.float16,
    "BF16": mx.bfloat16,
    "F32": mx.float32,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
VERSION_OF_NUMBERS = 1
"""Raised when this service computes something else for the same model: entries of before are of no
use then."""
_PADDED = ("KVCache", "QuantizedKVCache")
"""Caches whose arrays may have room for more tokens than they hold."""


class CacheCodec:
    """Of one model; ``empty`` is an empty cache of it."""

    def __init__(self, empty: Cache) -> None:
        self._classes = _classes(empty)
        self.made_by = {
            "layout": _layout(empty),
            "libraries": {name: version(name) for name in ("mlx", "mlx-lm", "mlx-vlm")},
            "release": VERSION_OF_NUMBERS,
            "device": str(mx.default_device()),
            "machine": platform.machine(),
            "blas": os.environ.get("LD_PRELOAD", ""),
        }

    def export(self, cache: Cache, checkpoints: Mapping[int, Checkpoint]) -> Export:
        """Raises NotExportable for a cache with something else in it."""
        return Export(self._classes, cache, checkpoints)

    @staticmethod
    def array(array: NDArray[Any]) -> mx.array:
        """A copy of a plain array. Nothing is computed: the engine's thread may go on with it."""
        return mx.array(array)

    def restore(self, structure: Any, arrays: Sequence[mx.array]) -> Restored:
        """Make a cache again. Raises ValueError, KeyError and the like for another model's."""
        made = [
            array if array.dtype == _DTYPES[name] else array.view(_DTYPES[name])
            for array, name in zip(arrays, structure["types"], strict=True)
        ]
        checkpoints = structure["checkpoints"].items()
        return Restored(
            self._built(structure["cache"], made),
            {int(place): self._built(one, made) for place, one in checkpoints},
        )

    def _built(self, value: Any, arrays: list[mx.array]) -> Any:
        if not isinstance(value, dict):
            return value
        [(kind, content)] = value.items()
        if kind == "array":
            return arrays[content]
        if kind in ("list", "tuple"):
            items = [self._built(item, arrays) for item in content]
            return items if kind == "list" else tuple(items)
        made: Any = self._classes[kind]
        result = made.__new__(made)
        for name, field in content.items():
            vars(result)[name] = self._built(field, arrays)
        return result


class Export:
    """A cache as it is now: later changes to its checkpoints don't matter."""

    def __init__(
        self,
        classes: Mapping[str, type],
        cache: Cache,
        checkpoints: Mapping[int, Checkpoint],
    ) -> None:
        self._classes = classes
        self._arrays: list[tuple[mx.array, int | None]] = []
        """With how many tokens of each count, None for all of it."""
        told = self._told(cache)
        places = {str(place): self._told(one) for place, one in checkpoints.items()}
        types = [_NAMES[array.dtype] for array, _ in self._arrays]
        self.structure = {"cache": told, "checkpoints": places, "types": types}
        self.arrays = tuple(
            ArraySpec(name, _shape(array, tokens))
            for name, (array, tokens) in zip(types, self._arrays, strict=True)
        )

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the arrays in the order of the file, copied a piece at a time."""
        for index in file_order(self.arrays):
            array, tokens = self._arrays[index]
            held = _on_host(array)
            for block in blocks(held if tokens is None else held[..., :tokens, :], PIECE_BYTES):
                yield block.tobytes()

    def _told(self, value: Any, tokens: int | None = None) -> Any:
        """A value in JSON; ``tokens`` is the length of the arrays in it."""
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, mx.array):
            if value.dtype not in _NAMES:
                raise NotExportable(str(value.dtype))
            self._arrays.append((value, tokens))
            return {"array": len(self._arrays) - 1}
        if isinstance(value, (list, tuple)):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [self._told(item, tokens) for item in value]}
        name = type(value).__name__
        if self._classes.get(name) is not type(value):
            raise NotExportable(name)
        fields = vars(value)
        offset = fields.get("offset")
        held = offset if name in _PADDED and isinstance(offset, int) else None
        return {name: {field: self._told(one, held) for field, one in fields.items()}}


def _shape(array: mx.array, tokens: int | None) -> tuple[int, ...]:
    if tokens is None or array.ndim < 2:
        return tuple(array.shape)
    return (*array.shape[:-2], min(tokens, array.shape[-2]), array.shape[-1])


def _on_host(array: mx.array) -> NDArray[Any]:
    """An array's bytes without copying them, if they lie one behind another."""
    view = memoryview(array)
    if not view.contiguous:
        # On the CPU's own stream: the copy waits for no step that is being computed.
        array = mx.contiguous(array, stream=mx.cpu)
        mx.eval(array)
        view = memoryview(array)
    carrier = np.dtype(f"u{view.itemsize}")
    return np.frombuffer(view, carrier).reshape(array.shape)


def _classes(empty: Cache) -> dict[str, type]:
    """The classes of a cache and of the caches inside, by name."""
    found: dict[str, type] = {}
    for layer in empty:
        found[type(layer).__name__] = type(layer)
        if hasattr(layer, "caches"):
            found |= _classes(list(layer.caches))
    return found


def _layout(empty: Cache) -> list[Any]:
    """What two caches of a model have in common: the classes of the layers, and their settings."""
    return [
        [type(leaf).__name__, type(leaf).__module__]
        + [[n, v] for n, v in sorted(vars(leaf).items()) if isinstance(v, (int, float, str, bool))]
        for leaf in kv_cache.leaves(empty)
    ]
