"""The adapters in the model folders, as records beside those of their bases."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from wire.model_registry import ModelRecord
from worker.backends.adapters.folder import CONFIG, AdapterFolder, is_adapter, read_folder
from worker.backends.libraries import library_of
from worker.models import files

_IDS = uuid.UUID("0b0a3a52-8f6a-4f65-9d5f-1f2a5c3e7d64")
_CHANGED_WEIGHTS = ("baichuan_m1", "bailing_moe", "bailing_moe_linear", "falcon_h1")
"""Architectures of which mlx_lm multiplies or normalises weights of linear layers as it loads them:
what PEFT trained beside the published ones would be too large or too small."""
_HUB_CACHE = "models--*--*/snapshots/*/"
_OF_HUB_CACHE = re.compile(r"models--([^/]+?)--([^/]+)/snapshots/[^/]+$")


def adapters_in(roots: Iterable[Path], bases: Collection[ModelRecord]) -> Iterator[ModelRecord]:
    """Records of the adapters below some folders, those that can't be served included."""
    found: dict[Path, None] = {}
    for root in roots:
        places = (folder for folder in _places(root) if (folder / CONFIG).is_file())
        found |= dict.fromkeys(places)
    for folder in found:
        yield describe(folder, bases)


def downloaded(folder: Path, bases: Collection[ModelRecord]) -> Iterator[ModelRecord]:
    """Records of the adapters that were downloaded into a folder, each into one of its own, and
    have their repository's name."""
    for config in sorted(folder.glob(f"*/{CONFIG}")):
        place = config.parent
        if place.name.endswith(files.PARTIAL) or not is_adapter(os.listdir(place)):
            continue
        repository, name = files.repository_of(place.name)
        own = {
            "id": files.download_id(place.name),
            "repository": repository,
            "deletable": True,
        }
        yield describe(place, bases, name).model_copy(update=own)


def _places(root: Path) -> Iterator[Path]:
    """Where adapters may be: a model folder itself, one or two levels below it, as models are, or
    in their bases' own folders, and in a hub's cache."""
    yield root
    below = list(files.subfolders([root]))
    yield from below
    yield from files.subfolders(below)
    yield from sorted(root.glob(_HUB_CACHE))


def describe(folder: Path, bases: Collection[ModelRecord], adapter: str = "") -> ModelRecord:
    """The record of an adapter: its base's, with what is its own. ``bases`` are the models that
    are here. It is called as its folder, or ``adapter``."""
    read = read_folder(folder)
    hub = _OF_HUB_CACHE.search(folder.as_posix())
    adapter = adapter or (hub[2] if hub is not None else folder.name)
    base = _base(read.base, bases) if read.base else None
    if base is None:
        return _without_base(folder, adapter, read)
    weights = _weights(folder, read)
    revision = f"{base.revision}+{files.revision(folder, weights)}"
    revision = hashlib.sha256(revision.encode()).hexdigest()[:16]
    name = f"{base.name}+{adapter}"
    repository = None if base.repository is None else f"{base.repository}+{adapter}"
    own = {
        "id": str(uuid.uuid5(_IDS, f"{name}:{revision}")),
        "name": name,
        "repository": repository,
        "revision": revision,
        "size": sum(file.stat().st_size for file in weights),
        "draft_model": "",
        "draft_size": 0,
        "deletable": False,
        "demo": False,
        "base_id": base.id,
        "adapter_path": str(folder),
        "problem": _sentence(name, read.problem or _unfit(base, read)),
    }
    return base.model_copy(update=own)


def _base(named: str, bases: Collection[ModelRecord]) -> ModelRecord | None:
    """The model that an adapter's config names: by its folder, its repository, its name, or, as
    folders differ between machines, by the end of its path."""
    hub = _OF_HUB_CACHE.search(named)
    repository = f"{hub[1]}/{hub[2]}" if hub is not None else named
    end = repository.rpartition("/")[2]
    wanted = {
        "path": str(Path(named).resolve()) if "\0" not in named else "",
        "repository": repository,
        "name": end,
    }
    for field, value in wanted.items():
        found = next((base for base in bases if getattr(base, field) == value), None)
        if found is not None:
            return found
    return next((base for base in bases if Path(base.path).name == end), None)


def _unfit(base: ModelRecord, read: AdapterFolder) -> str:
    """Why no adapter of a base, or none in this format, can be served."""
    if "chat" not in base.tasks:
        return "its base answers no chats"
    if library_of(base.architecture, base.is_vision) == "mlx_vlm":
        return "its base is run by mlx_vlm, whose adapters are not served"
    if read.is_peft and base.architecture in _CHANGED_WEIGHTS:
        return "mlx_lm changes the weights of its base, which PEFT's adapters are not made for"
    return ""


def _without_base(folder: Path, adapter: str, read: AdapterFolder) -> ModelRecord:
    end = read.base.rpartition("/")[2] or "unknown"
    name = f"{end}+{adapter}"
    missing = f"its base model {end} is not here" if read.base else "its config names no base model"
    return ModelRecord(
        id=str(uuid.uuid5(_IDS, f"{name}:{folder}")),
        name=name,
        path="",
        size=sum(file.stat().st_size for file in _weights(folder, read)),
        architecture="unknown",
        context_window=0,
        is_vision=False,
        revision="",
        adapter_path=str(folder),
        problem=_sentence(name, read.problem or missing),
    )


def _weights(folder: Path, read: AdapterFolder) -> list[Path]:
    """Its file; those of earlier steps of its training may lie beside it."""
    return [file for file in [folder / read.weights] if file.is_file()]


def _sentence(name: str, why: str) -> str:
    return why and f"The adapter {name} can't be used: {why}."
