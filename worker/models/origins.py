"""Where models are downloaded from: what an origin says about one, and what it brings.

Knows no hub and no package; worker.models.hub and worker.models.packaged do.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Cancelled(Exception):
    """The download was cancelled; what it had fetched is kept."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that can be downloaded, or an adapter.

    ``folder`` is its folder's name and the same for each way of asking for it. In bytes: ``size``
    is the model's, ``download_size`` what is fetched, ``disk`` what that takes meanwhile.
    """

    name: str
    folder: str
    size: int
    download_size: int
    disk: int
    repository: str | None = None
    revision: str = ""
    is_adapter: bool = False


class Origin(Protocol):
    """A place that models come from."""

    def find(self, wanted: str) -> Offer | None:
        """The model that a name or an address stands for; None: the name is not of this origin.

        Raises WorkerError for one that can't be had: ``model_not_found``, ``access_required``,
        ``unsupported_model``, ``hub_unreachable``.
        """

    def fetch(self, offer: Offer, folder: Path, cancelled: threading.Event) -> None:
        """Write the model's files into the folder; those of an earlier try are used.

        Raises Cancelled once ``cancelled`` is set, and WorkerError.
        """


Origins = Sequence[Origin]
