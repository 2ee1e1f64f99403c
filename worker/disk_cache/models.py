"""The loaded models, as the disk cache knows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.disk_cache.codec import Codec
from worker.disk_cache.fingerprint import fingerprint


@dataclass(slots=True, eq=False)
class DiskModel:
    """``key`` is the model's in the prompt cache. ``fingerprint`` is empty until the weights have
    been hashed: until then nothing is found, and nothing written."""

    key: Any
    folder: Path
    revision: str
    codec: Codec
    fingerprint: str = ""

    def identify(self, weights: str) -> None:
        """Its weights have this hash."""
        self.fingerprint = fingerprint(
            revision=self.revision, weights=weights, made_by=self.codec.made_by
        )
