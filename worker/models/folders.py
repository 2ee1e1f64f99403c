"""The models this worker can load: folders with a config.json, weights unopened.

Reads model folders; knows neither MLX nor Redis.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from wire import model_registry
from wire.model_registry import NO_DEFAULTS, ModelRecord, Task
from worker.backends.adapters.folder import is_adapter
from worker.backends.pooling.echo import ECHO_EMBEDDINGS
from worker.backends.pooling.folder import read_folder, tasks_of
from worker.errors import WorkerError
from worker.models import files, generation_config, model_config
from worker.models.adapters import found as adapters
from worker.models.chat_templates import reasoning_efforts, takes_tools
from worker.models.files import PARTIAL, download_id, repository_of, subfolders

DEMO_MODELS = Path(__file__).parents[1] / "demo_models"
_IDS = uuid.UUID("5c6c9f4e-6d0c-4f2c-9c55-2f0d8f1b7a10")
_OF_A_MODEL = ("config.json", "model_index.json")
"""Files of a model's own folder; folders below it are its parts."""
log = logging.getLogger(__name__)


class ModelFolders:
    """Model records by id.

    Safe for any thread: what is read is replaced as a whole, never changed.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        echo: ModelRecord | None = None,
        downloaded: Path | None = None,
        registered: Path | None = None,
        with_defaults: bool = True,
        with_demos: bool = True,
    ) -> None:
        """``echo`` is the chat model of the echo backend, if that runs.

        ``registered`` is the file that keeps the names and folders of registered models.

        ``with_defaults``: the records tell the models' own defaults for sampling. ``with_demos``:
        the shipped models are among them.
        """
        self._folders = [folder.resolve() for folder in folders]
        self._downloaded = downloaded
        self._registered = registered
        self._names = _read_names(registered)
        self._echo = echo
        self._with_defaults, self._with_demos = with_defaults, with_demos
        self._records: dict[str, ModelRecord] = {}
        self._scanning, self._changing = threading.Lock(), threading.Lock()
        """The first is held while folders are read. The engine's thread, which puts records, does
        not wait for that."""

    def all(self) -> list[ModelRecord]:
        return list(self._records.values())

    def find(self, name: str) -> ModelRecord | None:
        return model_registry.find(self._records.values(), name)

    def put(self, record: ModelRecord) -> None:
        """Take in a record. How a model's cache is quantised goes for its adapters, too."""
        with self._changing:
            its_adapters = {
                other.id: with_kv(other, record.kv_quantization)
                for other in self._records.values()
                if other.base_id == record.id
            }
            self._records = {**self._records, **its_adapters, record.id: self._published(record)}

    def _published(self, record: ModelRecord) -> ModelRecord:
        """A record as others see it: without the model's own defaults where they are ignored."""
        if self._with_defaults:
            return record
        return record.model_copy(update={"sampling_defaults": NO_DEFAULTS})

    def scan(self) -> list[ModelRecord]:
        """Read the folders again; known models keep their cache's quantisation and their draft
        model."""
        with self._scanning:
            self._scan()
        return self.all()

    def _scan(self) -> None:
        if self._echo is not None:
            found = [self._echo, ECHO_EMBEDDINGS, *self._downloads()]
        else:
            found = [*self._demos(), *self._downloads(), *self._in_folders(), *self._under_names()]
        there = {r.id: r for r in map(self._published, found)}
        adapters = list(self._adapters(there.values()))
        with self._changing:  # Others may have put a record while the folders were read.
            for i, r in self._records.items():
                if i in there:
                    kept = with_kv(there[i], r.kv_quantization)
                    there[i] = kept.with_draft(there.get(r.draft_model))
            its_kv = {i: r.kv_quantization for i, r in there.items()}
            like_bases = (with_kv(r, its_kv.get(r.base_id)) for r in adapters)
            self._records = there | {r.id: r for r in like_bases}

    def _adapters(self, bases: Collection[ModelRecord]) -> Iterable[ModelRecord]:
        if self._echo is None:
            yield from adapters.adapters_in(self._folders, bases)
            if self._downloaded is not None:
                yield from adapters.downloaded(self._downloaded, bases)

    def register(self, name: str, path: str) -> ModelRecord:
        """Describe one model folder under a name of the caller's.

        The name stays, also over a restart. Raises WorkerError ``model_not_found`` for a path
        outside the configured folders or without a model: which of the two it is would tell a
        stranger what is on the disk.
        """
        folder = self._inside(path)
        if folder is None:
            raise WorkerError(
                "model_not_found",
                "There is no model at this path below the configured model folders.",
            )
        record = describe(folder, name=name)
        if record is None:
            raise WorkerError("load_failed", "The model's config.json can't be read.")
        with self._scanning:
            names = {**self._names, name: str(folder)}
            if self._registered is not None:
                _write_names(self._registered, names)
            self._names = names
            self.put(record)
        return self._published(record)

    def _inside(self, path: str) -> Path | None:
        """The model folder at a path below the configured folders."""
        folder = None if "\0" in path else Path(path).resolve()
        inside = folder is not None and any(folder.is_relative_to(root) for root in self._folders)
        return (
            folder if folder is not None and inside and (folder / "config.json").is_file() else None
        )

    def _under_names(self) -> Iterable[ModelRecord]:
        for name, path in self._names.items():
            if (folder := self._inside(path)) is not None:
                yield from _described(folder, name=name)

    def _demos(self) -> Iterable[ModelRecord]:
        for config in sorted(DEMO_MODELS.glob("*/config.json")) if self._with_demos else []:
            for record in _described(config.parent, name=f"demo-{config.parent.name}"):
                yield record.model_copy(update={"demo": True})

    def _downloads(self) -> Iterable[ModelRecord]:
        """Models downloaded here: folders named <owner>--<name>, or <name> for packaged ones.

        One still under way has another ending.
        """
        for config in sorted(self._downloaded.glob("*/config.json")) if self._downloaded else []:
            folder = config.parent
            if folder.name.endswith(PARTIAL) or is_adapter(os.listdir(folder)):
                continue
            repository, name = repository_of(folder.name)
            for record in _described(folder, name=name, repository=repository):
                yield record.model_copy(update={"deletable": True, "id": download_id(folder.name)})

    def _in_folders(self) -> Iterable[ModelRecord]:
        for root in self._folders:
            found = [*_models_of(root), *_in_hub_cache(root)]
            if not found:
                log.warning("no model in a model folder", extra={"folder": str(root)})
            yield from found


def _models_of(root: Path) -> Iterable[ModelRecord]:
    """Models at a folder, directly below it, or one level further down in a publisher's folder."""
    if (root / "config.json").is_file() and any(root.glob("*.safetensors")):
        # What is below it is a part of it, such as the pooling of an embedding model.
        yield from _described(root)
        return
    for config in sorted([*root.glob("config.json"), *root.glob("*/config.json")]):
        yield from _described(config.parent)
    if (root / "config.json").exists():
        return
    publishers = (
        folder
        for folder in subfolders([root])
        if not any((folder / name).exists() for name in _OF_A_MODEL)
    )
    for folder in subfolders(publishers):
        # This deep a config.json alone may not be a model's.
        if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
            yield from _described(folder, repository=f"{folder.parent.name}/{folder.name}")


def _in_hub_cache(root: Path) -> Iterator[ModelRecord]:
    """The layout of a hub's download cache: models--<owner>--<name>/snapshots/<revision>/."""
    for config in sorted(root.glob("models--*--*/snapshots/*/config.json")):
        owner, name = config.parts[-4].removeprefix("models--").split("--", 1)
        yield from _described(config.parent, name=name, repository=f"{owner}/{name}")


def _read_names(file: Path | None) -> dict[str, str]:
    """Names given to model folders; none where nothing useful is kept."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8")) if file is not None else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        log.warning("the names of registered models can't be read (%s)", type(error).__name__)
        return {}
    return (
        {name: path for name, path in kept.items() if isinstance(path, str)}
        if isinstance(kept, dict)
        else {}
    )


def _write_names(file: Path, names: dict[str, str]) -> None:
    """Keep the names. Raises WorkerError ``insufficient_disk`` where they can't be kept."""
    new = file.with_name(file.name + ".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps(names, ensure_ascii=False, indent=1), encoding="utf-8")
        new.replace(file)
    except OSError as error:
        message = f"The model's name can't be kept in the data folder ({error.strerror})."
        raise WorkerError("insufficient_disk", message) from error


def _described(folder: Path, **named: Any) -> Iterable[ModelRecord]:
    record = describe(folder, **named)
    return [] if record is None else [record]


def describe(folder: Path, *, name: str = "", repository: str | None = None) -> ModelRecord | None:
    """The record of a model folder, or None if its config.json is no JSON object."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(config, dict):
        return None
    weights = sorted(folder.glob("*.safetensors"))
    revision = files.revision(folder, weights)
    name = name or folder.name
    described = ModelRecord(
        id=str(uuid.uuid5(_IDS, f"{name}:{revision}")),
        name=name,
        path=str(folder),
        size=sum(file.stat().st_size for file in weights),
        architecture=str(config.get("model_type", "unknown")),
        context_window=model_config.context_window(config),
        is_vision=model_config.sees_images(config, folder),
        repository=repository,
        revision=revision,
        prompt_revision=files.prompt_revision(folder),
    )
    tasks = tasks_of(config, folder, f"{repository or ''} {name} {folder.name}")
    return described.model_copy(
        update=_of_chats(folder, is_vision=described.is_vision)
        if "chat" in tasks
        else _of_vectors(config, folder, tasks)
    )


def _of_chats(folder: Path, *, is_vision: bool) -> dict[str, Any]:
    """What only the records of chat models have."""
    return {
        "takes_tools": takes_tools(folder, is_vision=is_vision),
        "reasoning_efforts": reasoning_efforts(folder, is_vision=is_vision),
        "sampling_defaults": generation_config.sampling_defaults(folder),
    }


def _of_vectors(config: dict[str, Any], folder: Path, tasks: tuple[Task, ...]) -> dict[str, Any]:
    """What the records of embedding models and rerankers have in another way."""
    told = read_folder(config, folder)
    return {
        "tasks": tasks,
        "is_vision": False,
        "context_window": told.most_tokens,
        "dimensions": told.dimensions if "embed" in tasks else 0,
        "shorter_dimensions": told.shorter_dimensions,
    }


def with_kv(record: ModelRecord, bits: Literal[4, 8] | None) -> ModelRecord:
    """The same model, to be loaded with another quantisation of its key-value cache."""
    return record.model_copy(update={"kv_quantization": bits})
