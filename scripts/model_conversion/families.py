"""Which code makes a model's folder: the service's own, or what only tests need."""

from __future__ import annotations

from pathlib import Path

from scripts.model_conversion import gemma3
from scripts.model_conversion.gguf_library import LibraryFile
from worker.models.packaged import conversion as packaged
from worker.models.packaged.catalogue import Conversion


def convert(conversion: Conversion, gguf: Path, folder: Path) -> None:
    """Write the model into an empty folder."""
    if conversion.source.family == "gemma3":
        packaged.write(LibraryFile(gguf), gemma3, conversion.form, folder)
    else:
        packaged.convert(conversion, gguf, folder)
