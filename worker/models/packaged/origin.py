"""The packaged models as an origin of downloads: by short names, and without a hub."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from worker.errors import WorkerError
from worker.models import fetch_process
from worker.models.origins import Offer
from worker.models.packaged import catalogue, wheels
from worker.models.packaged.conversion import convert, digest_of

_SCRATCH = ".scratch"


class PackagedModels:
    """An origin: the models of :mod:`wire.models.packaged`."""

    def find(self, wanted: str) -> Offer | None:
        found = catalogue.find(wanted)
        if found is None:
            return None
        model, _ = found
        # The wheel, and pip's copy of it or the GGUF file in it; then that file and the model.
        disk = model.download_size * 5 // 4 + max(model.download_size, model.size)
        return Offer(model.name, model.name, model.size, model.download_size, disk)

    def fetch(self, offer: Offer, folder: Path, cancelled: threading.Event) -> None:
        fetch_process.run("packaged", [offer.name, str(folder)], cancelled)


def make(name: str, folder: Path) -> None:
    """Write a packaged model into a folder, whatever an earlier try has left there.

    Raises WorkerError as :func:`worker.models.packaged.wheels.fetch` does.
    """
    found = catalogue.find(name)
    if found is None:
        raise WorkerError("model_not_found", "There is no packaged model of this name.")
    _, conversion = found
    shutil.rmtree(folder, ignore_errors=True)
    scratch = folder / _SCRATCH
    scratch.mkdir(parents=True)
    fetched = wheels.fetch(conversion.source, scratch)
    (made := scratch / "made").mkdir()
    convert(conversion, fetched, made)
    if (digest := digest_of(made)) != conversion.sha256:
        message = f"The model came out with SHA-256 {digest}, not the known."
        raise WorkerError("internal_error", message)
    for one in made.iterdir():
        one.rename(folder / one.name)
    shutil.rmtree(scratch)
