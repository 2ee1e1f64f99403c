"""Model commands of a worker: load, unload, register, scan, download, cancel a download, delete.

Answers are JSON objects; failures are WorkerErrors. Weights are touched on the engine's thread
only.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from wire import model_registry
from wire.messages import ModelCommand
from wire.model_registry import ModelRecord
from worker.backends import is_text_model
from worker.backends.base import Backend
from worker.engine.engine import Engine
from worker.errors import WorkerError
from worker.models.downloads import Downloads
from worker.models.folders import ModelFolders, with_kv
from worker.models.loaded import LoadedModels
from worker.models.memory import ModelKey, key_of

Answer = dict[str, Any]


class ModelCommands:
    """Runs one command at a time."""

    def __init__(
        self, catalogue: ModelFolders, models: LoadedModels, engine: Engine, downloads: Downloads
    ) -> None:
        self._catalogue = catalogue
        self._downloads = downloads
        self._models = models
        self._engine = engine

    def run(self, command: ModelCommand) -> Answer:
        """Raises WorkerError with the code that the caller gets."""
        actions: dict[str, Callable[[ModelCommand], Answer]] = {
            "load": self._load,
            "unload": self._unload,
            "register": self._register,
            "scan": self._scan,
            "download": self._download,
            "cancel_download": self._cancel_download,
            "delete": self._delete,
        }
        return actions[command.action](command)

    def _load(self, command: ModelCommand) -> Answer:
        plain = self._record(command)
        if plain.adapter_path:
            record = self._adapter(plain, command)
        else:
            draft = self._draft(command, plain)
            record = with_kv(plain, command.kv_quantization).with_draft(draft)

        def load() -> Future[Backend]:
            # Keys alone: a backend that is held would not leave the memory.
            for key in [key for key, _ in self._models.resident()]:
                other = key.model_id == record.id and key != key_of(record)
                if other and self._engine.is_busy(key):
                    raise WorkerError(
                        "load_conflict",
                        "The model is in use; it can be reloaded once its chats end.",
                    )
            loaded = self._engine.load(record)
            loaded.add_done_callback(keep)
            return loaded

        def keep(loaded: Future[Backend]) -> None:
            """The model's record says from now on how it is loaded."""
            there = self._catalogue.find(record.id) is not None
            if loaded.exception() is None and there and not record.adapter_path:
                self._catalogue.put(record)

        self._engine.call(load).result().result()
        return {
            "status": "loaded",
            "model_id": record.id,
            "context_window": record.context_window,
            "architecture": record.architecture,
            "is_vision": record.is_vision,
        }

    def _unload(self, command: ModelCommand) -> Answer:
        record = None if command.model_id is None else self._record(command)
        model_id = None if record is None else record.id

        def unload() -> list[str]:
            if any(model_id in (None, *self._needed(key)) for key in self._models.loading):
                raise WorkerError(
                    "load_conflict", "The model is being loaded; it can be unloaded after that."
                )
            keys: list[ModelKey] = [
                k for k, _ in self._models.resident() if model_id in (None, k.model_id)
            ]
            if any(self._engine.is_busy(key) for key in keys):
                raise WorkerError(
                    "load_conflict", "The model is in use; it can be unloaded once its chats end."
                )
            if record is not None and record.adapter_path:
                return [record.id] if self._models.unload_adapter(record.id) else []
            return [gone for key in keys for gone in self._models.unload(key)]

        return {"status": "unloaded", "models": self._engine.call(unload).result()}

    def _needed(self, key: ModelKey) -> tuple[str, str]:
        """The ids of a model that is being loaded, and of its base if it is an adapter."""
        record = self._catalogue.find(key.model_id)
        return key.model_id, "" if record is None else record.base_id

    def _register(self, command: ModelCommand) -> Answer:
        record = self._catalogue.register(command.name or "", command.path or "")
        return {"status": "registered", "model_id": record.id, "name": record.name}

    def _scan(self, _: ModelCommand) -> Answer:
        return {"status": "scanned", "models": len(self._catalogue.scan())}

    def _download(self, command: ModelCommand) -> Answer:
        record = self._downloads.start(command.model_id or "")
        return {
            "status": "downloading",
            "model_id": record.id,
            "name": record.name,
            "size": record.size,
        }

    def _cancel_download(self, command: ModelCommand) -> Answer:
        record = self._under_way(command) or self._record(command)
        self._downloads.cancel(record)
        return {"status": "cancelled", "model_id": record.id}

    def _under_way(self, command: ModelCommand) -> ModelRecord | None:
        """The model as a download that hasn't ended well."""
        return model_registry.find(self._downloads.records(), command.model_id or "")

    def _delete(self, command: ModelCommand) -> Answer:
        under_way = self._under_way(command)
        record = under_way or self._record(command)
        if under_way is None:
            self._refuse_drafting(record)
            self._unload(command)
        self._downloads.delete(record)
        self._catalogue.scan()
        return {"status": "deleted", "model_id": record.id}

    def _refuse_drafting(self, record: ModelRecord) -> None:
        """Raises WorkerError for the draft model of a loaded one."""

        def drafts_for() -> list[str]:
            return [k.model_id for k, _ in self._models.resident() if k.draft_model == record.id]

        if self._engine.call(drafts_for).result():
            raise WorkerError(
                "load_conflict", "It is the draft model of a loaded one, which must go first."
            )

    def _adapter(self, record: ModelRecord, command: ModelCommand) -> ModelRecord:
        """An adapter that is to be loaded. Raises WorkerError for what its base alone can have."""
        for name in ("kv_quantization", "draft_model"):
            if getattr(command, name) is not None:
                sentence = f"An adapter has its base's {name}: load the base with it."
                raise WorkerError("unsupported", sentence, param=name)
        return record

    def _draft(self, command: ModelCommand, record: ModelRecord) -> ModelRecord | None:
        """The model that is to guess for another. Raises WorkerError if it can't."""
        if command.draft_model is None:
            return None
        draft = self._catalogue.find(command.draft_model)
        if draft is None:
            raise WorkerError(
                "model_not_found", "No such draft model is registered.", param="draft_model"
            )
        if draft.adapter_path:
            raise WorkerError(
                "unsupported", "An adapter can't be a draft model.", param="draft_model"
            )
        for one in (record, draft):
            if not is_text_model(one):
                raise WorkerError(
                    "unsupported",
                    f"{one.name} is no text model: only those draft, and are drafted for.",
                    param="draft_model",
                )
        return draft

    def _record(self, command: ModelCommand) -> ModelRecord:
        record = self._catalogue.find(command.model_id or "")
        if record is None:
            raise WorkerError("model_not_found", "No such model is registered.")
        return record
