"""What the disk cache needs of a loaded model: its caches as plain arrays, and back.

All but ``array`` runs on the engine's thread, for a few milliseconds at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from worker.disk_cache.entry_file import ArraySpec
from worker.prompt_cache import Cache, Checkpoint


class NotExportable(Exception):
    """A cache holds something that has no place in a file."""


class Restored(NamedTuple):
    """A cache that was read, and its checkpoints."""

    cache: Cache
    checkpoints: dict[int, Checkpoint]


class Export(Protocol):
    """A cache on its way to the disk. ``structure`` is JSON."""

    structure: Any
    arrays: Sequence[ArraySpec]

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the arrays in the order of the file; each is copied when it is asked for."""


class Codec(Protocol):
    """Of one loaded model."""

    made_by: Any
    """How its caches are laid out, and by which libraries they are made: JSON."""

    def export(self, cache: Cache, checkpoints: Mapping[int, Checkpoint]) -> Export:
        """Raises NotExportable."""

    def array(self, array: NDArray[Any]) -> Any:
        """One of the model's arrays, copied from plain bytes: on any thread."""

    def restore(self, structure: Any, arrays: Sequence[Any]) -> Restored:
        """Make a cache of such arrays again. Raises for another model's."""
