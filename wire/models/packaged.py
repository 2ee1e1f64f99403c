"""The models that can be downloaded by a short name, without a hub: what people see of them.

Their weights lie in Python packages; how a worker fetches and converts them is the worker's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """One model. ``download_size`` is what is fetched and ``size`` what is kept, both in bytes.

    ``name`` is what the model is called once it is there; ``aliases`` are other names to ask for
    it by, in lower case.
    """

    name: str
    title: str
    aliases: tuple[str, ...]
    license: str
    download_size: int
    size: int


PACKAGED_MODELS = (
    PackagedModel(
        name="smollm2-135m",
        title="SmolLM2 135M Instruct, 4 bit",
        aliases=("smollm2", "smollm2-135m-instruct", "smollm2-135m-4bit"),
        license="Apache-2.0",
        download_size=92_871_040,
        size=118_000_000,
    ),
    PackagedModel(
        name="all-MiniLM-L6-v2",
        title="all-MiniLM-L6-v2, embeddings",
        aliases=("minilm", "all-minilm"),
        license="Apache-2.0",
        download_size=83_506_384,
        size=91_400_000,
    ),
)
"""In the order in which they are offered: the first is the one to begin with."""


def find(wanted: str, models: Iterable[PackagedModel] = PACKAGED_MODELS) -> PackagedModel | None:
    """The model that a name or an alias stands for, in any case."""
    name = wanted.lower()
    return next((m for m in models if name == m.name.lower() or name in m.aliases), None)
