"""The adapters of a model in memory: read beside its streams, then put into its layers between two
steps."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten

from wire.model_registry import ModelRecord
from worker.backends.adapters.files import Adapter, read_adapter
from worker.backends.adapters.layers import AdaptedLinear, RowAdapters
from worker.backends.loading import reason
from worker.errors import WorkerError, kept_alive

TRIED = ([0, 0, 0], [0, 0, 0])
"""Tokens of two rows with which an adapted model is tried out."""
BYTES_OF_KEY = 7
"""Ids that tell adapters' prompts apart have 56 bits: they fit where token ids do."""
Try = Callable[[mx.array], Any]
"""Lays out a forward pass over token ids [rows, tokens], of which nothing is computed."""


class AdapterBank:
    """Implements Adapters."""

    def __init__(self, model: nn.Module, try_out: Try) -> None:
        self.rows = RowAdapters()
        self.nbytes: dict[str, int] = {}
        self._model, self._try = model, try_out
        self._read: dict[str, Adapter] = {}
        self._layers: dict[str, AdaptedLinear] = {}
        self._digests: dict[str, bytes] = {}
        """A hash of each adapter's files."""

    def read(self, record: ModelRecord) -> None:
        try:
            with kept_alive():
                self._read[record.id] = read_adapter(Path(record.adapter_path), self._modules)
        except Exception as error:
            raise _refused(record, error) from error

    @cached_property
    def _modules(self) -> dict[str, nn.Module]:
        """The model's modules by path, as they were before the first adapter."""
        return dict(self._model.named_modules())

    def attach(self, record: ModelRecord) -> Iterator[None]:
        adapter = self._read.pop(record.id)
        self.rows.scales[record.id] = adapter.scale
        try:
            for path, delta in adapter.deltas.items():
                self._layer(path).put(record.id, delta)
                yield
            self.rows.set([record.id, None])
            self._try(mx.array(TRIED))
        except Exception as error:
            self.detach(record.id)
            raise _refused(record, error) from error
        self._digests[record.id] = adapter.digest
        self._count()

    def _layer(self, path: str) -> AdaptedLinear:
        if path not in self._layers:
            self._layers[path] = AdaptedLinear(path, self._modules[path], self.rows)
            self._place(path, self._layers[path])
        return self._layers[path]

    def _place(self, path: str, module: nn.Module) -> None:
        self._model.update_modules(tree_unflatten([(path, module)]))

    def detach(self, adapter_id: str) -> None:
        """Also of one that is in some layers only. A layer without adapters is the model's own
        again."""
        self._digests.pop(adapter_id, None)
        self.rows.scales.pop(adapter_id, None)
        for path, layer in list(self._layers.items()):
            if adapter_id in layer.adapters and not layer.drop(adapter_id):
                self._place(path, self._modules[path])
                del self._layers[path]
        self._count()

    def key_ids(self, adapter_id: str, tokens: list[int]) -> list[int]:
        """Token ids as the prompt cache knows them: what a model keeps of a prompt depends on its
        adapter, so a prompt shares its first id with no other adapter's, in memory and on disk. As
        those of images such ids are negative."""
        if adapter_id not in self._digests:
            raise WorkerError("load_failed", "The adapter is not loaded any more.")
        digest = hashlib.sha256(self._digests[adapter_id] + str(tokens[0]).encode()).digest()
        return [-1 - int.from_bytes(digest[:BYTES_OF_KEY], "big"), *tokens[1:]]

    def _count(self) -> None:
        self.nbytes = {
            adapter_id: sum(
                layer.adapter_bytes
                for layer in self._layers.values()
                if adapter_id in layer.adapters
            )
            for adapter_id in self._digests
        }


def _refused(record: ModelRecord, error: Exception) -> WorkerError:
    """The error of an adapter that can't be used, with its name and no path."""
    why = str(error) if isinstance(error, WorkerError) else reason(error)
    return WorkerError("load_failed", f"The adapter {record.name} can't be used: {why}.")
