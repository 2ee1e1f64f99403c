"""The Hugging Face hub: which repositories are models that MLX loads, and why one can't be had.

Asks through the hub's own client and that client's variables; the files are fetched by a child
process.
"""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from worker.backends.adapters.folder import CONFIG, WEIGHTS, is_adapter
from worker.backends.adapters.peft import PEFT_WEIGHTS
from worker.errors import WorkerError
from worker.models import fetch_process
from worker.models.origins import Offer

PATTERNS = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""No code and no pickles: a model is its weights, its config and its tokeniser."""
OF_ADAPTERS = (CONFIG, WEIGHTS, PEFT_WEIGHTS)
"""All else is its base's, or from its training."""
ANSWER_S = 10.0
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_OTHER_KINDS = ("datasets", "spaces")
_BRANCH = "main"
_TOKEN = "set HF_TOKEN to a token of yours in the environment of the service"
_NAMED = "Name a model of the hub as OWNER/NAME."


class HuggingFaceHub:
    """An origin: the repositories of the hub."""

    def __init__(self, endpoint: str | None = None) -> None:
        """``endpoint`` is the hub's address; without it the client's own."""
        self._endpoint = endpoint

    def find(self, wanted: str) -> Offer | None:
        if "/" not in wanted:
            return None
        from huggingface_hub import HfApi, constants

        endpoint = self._endpoint or constants.ENDPOINT
        repository = repository_of(wanted, endpoint)
        hub = HfApi(endpoint=endpoint)
        with _explained(repository):
            info = hub.model_info(repository, files_metadata=True, timeout=ANSWER_S)
            if info.gated:
                hub.auth_check(repository)
        files = info.siblings or []
        adapts = is_adapter([file.rfilename for file in files if "/" not in file.rfilename])
        size = _size(repository, files, is_adapter=adapts)
        owner, name = repository.split("/")
        folder, revision = f"{owner}--{name}", info.sha or ""
        return Offer(name, folder, size, size, size, repository, revision, adapts)

    def fetch(self, offer: Offer, folder: Path, cancelled: threading.Event) -> None:
        arguments = [offer.repository or "", offer.revision, str(folder), self._endpoint or ""]
        patterns = OF_ADAPTERS if offer.is_adapter else PATTERNS
        fetch_process.run("hub", [*arguments, *patterns], cancelled)


def repository_of(wanted: str, endpoint: str) -> str:
    """OWNER/NAME, out of itself or an address on the hub, such as a browser shows.

    Raises WorkerError ``model_not_found`` for what is neither.
    """
    name = wanted.strip()
    if "://" in name:
        name = _of_address(name, endpoint)
    if not _NAME.fullmatch(name) or ".." in name:
        raise WorkerError("model_not_found", _NAMED)
    return name


def _of_address(address: str, endpoint: str) -> str:
    hub = urlsplit(endpoint)
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        raise WorkerError("model_not_found", f"This is not an address. {_NAMED}") from None
    if host != hub.hostname:
        raise WorkerError("model_not_found", f"This is not an address of the model hub. {_NAMED}")
    path = [part for part in parts.path.split("/") if part]
    if path[:1] and path[0] in _OTHER_KINDS:
        raise WorkerError("model_not_found", f"This is the address of no model. {_NAMED}")
    if path[2:3] and path[2] in ("tree", "blob", "resolve") and path[3:4] != [_BRANCH]:
        raise WorkerError("unsupported", f"Only the branch {_BRANCH} can be downloaded.")
    return "/".join(path[:2])


def _size(repository: str, files: list[Any], *, is_adapter: bool) -> int:
    """Bytes to download. Raises WorkerError ``unsupported_model`` where MLX would load nothing."""
    patterns = OF_ADAPTERS if is_adapter else PATTERNS
    wanted = [file for file in files if any(fnmatch(file.rfilename, p) for p in patterns)]
    top = {file.rfilename for file in wanted if "/" not in file.rfilename}
    lacks = [
        what
        for what, there in (
            ("config.json", is_adapter or "config.json" in top),
            ("safetensors weights", any(name.endswith(".safetensors") for name in top)),
        )
        if not there
    ]
    if lacks:
        others = {Path(file.rfilename).suffix.lower() for file in files}
        has = " It has GGUF files, which are for llama.cpp." if ".gguf" in others else ""
        message = f"{repository} has no {' and no '.join(lacks)}: MLX can't load it.{has}"
        raise WorkerError("unsupported_model", message)
    return sum(file.size or 0 for file in wanted)


@contextmanager
def _explained(repository: str) -> Iterator[None]:
    """Turn the client's exceptions into a code and a sentence."""
    try:
        yield
    except Exception as error:
        raise explained(error, repository) from None


def explained(error: Exception, repository: str) -> WorkerError:
    """What a failure of the hub's client means."""
    from huggingface_hub import errors

    if isinstance(error, WorkerError):
        return error
    if isinstance(error, errors.GatedRepoError):
        message = f"Access to {repository} must be granted: accept its terms on the hub, and"
        return WorkerError("access_required", f"{message} {_TOKEN}.")
    if isinstance(error, errors.RepositoryNotFoundError):
        message = f"The hub has no model {repository} that everyone may read. If it is private,"
        return WorkerError("model_not_found", f"{message} {_TOKEN}.")
    if isinstance(error, errors.HFValidationError):
        return WorkerError("model_not_found", _NAMED)
    if isinstance(error, errors.HfHubHTTPError):
        return _answered(error, repository)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return WorkerError("insufficient_disk", "The disk is full.")
    return WorkerError(
        "hub_unreachable", f"There is no connection to the model hub ({type(error).__name__})."
    )


def _answered(error: Any, repository: str) -> WorkerError:
    status = error.response.status_code
    if status in (401, 403):
        message = f"The hub refuses {repository} to the service: {_TOKEN} that may read it."
        return WorkerError("access_required", message)
    if status == 404:
        return WorkerError("model_not_found", f"The hub has no model {repository}.")
    return WorkerError("hub_unreachable", f"The model hub answered with an error ({status}).")
