"""Dates of a model's files. Reads model folders; knows neither MLX nor Redis."""

from __future__ import annotations

from pathlib import Path

from wire.model_registry import ModelRecord


def created(record: ModelRecord) -> int:
    """The date of a model's newest file, seconds since the epoch; 0 without files."""
    try:
        return max(
            (int(file.stat().st_mtime) for file in Path(record.path).iterdir() if file.is_file()),
            default=0,
        )
    except OSError:
        return 0
