"""One kind through every check: a row of the table in docs/models.md.

``python -m tests.model_kinds.rows KIND …`` prints the rows as JSON: in a process of its own, a kind
whose native code crashes takes no test with it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from tests.model_kinds import checks, vision_checks
from tests.model_kinds.checks import Case
from tests.model_kinds.expected import ONE_PICTURE, REUSES_NOTHING
from tests.model_kinds.kinds import OF_MLX_VLM, SEES, VISION, make_folder
from tests.model_kinds.references.mllama import MllamaReference
from tests.model_kinds.references.text import TextReference
from tests.model_kinds.references.vision import NamedIds, VisionReference
from tests.model_kinds.tokenizer import Template
from tests.support.paths import ROOT
from worker.errors import WorkerError

MARK = "row: "
LIMIT_S = 90
"""A kind takes some seconds; on a busy machine ten times as long."""
CHECKS: dict[str, Callable[[Case], list[str]]] = {
    "prompts": checks.prompts,
    "counted": checks.counted,
    "alone": checks.alone,
    "at once": checks.at_once,
    "turns A": functools.partial(checks.turns, template="A"),
    "turns B": functools.partial(checks.turns, template="B"),
    "turns C": functools.partial(checks.turns, template="C"),
    "regenerated": checks.regenerated,
    "edited": checks.edited,
    "shared": checks.shared,
    "continued": checks.continued,
    "kv 8": functools.partial(checks.quantised, bits=8),
    "kv 4": functools.partial(checks.quantised, bits=4),
}
OF_VISION: dict[str, Callable[[Case], list[str]]] = {
    "pictures counted": vision_checks.pictures_counted,
    "pictures seen": vision_checks.pictures_seen,
    "pictures alone": vision_checks.pictures_alone,
    "pictures at once": vision_checks.pictures_at_once,
    "pictures remembered": vision_checks.pictures_remembered,
    "pictures continued": vision_checks.pictures_continued,
}
RIGHT: dict[str, type[VisionReference]] = {
    f"mllama{SEES}": MllamaReference,
    f"zaya1_vl{SEES}": NamedIds,
}
"""What to compare with in place of a library that fails or says the wrong thing."""
REUSE = ("turns A", "turns B", "turns C", "regenerated", "edited", "shared")


@dataclass
class Row:
    """What the service does with one kind. ``refused`` is the sentence of a model that doesn't
    load; ``quantises_all``: no layer that holds every token stays as it is; ``failures`` are by
    check."""

    kind: str
    cache: str = ""
    refused: str = ""
    batch_width: int = 0
    quantises: bool = False
    quantises_all: bool = False
    failures: dict[str, list[str]] = field(default_factory=dict)

    def failed(self, *names: str) -> bool:
        return any(self.failures.get(name) for name in names)


def reference_of(kind: str) -> Callable[[Path], TextReference]:
    """What makes the model to compare a kind's answers with, from its folder."""
    if kind not in OF_MLX_VLM:
        return TextReference
    return functools.partial(RIGHT.get(kind, VisionReference), OF_MLX_VLM[kind])


def row_of(kind: str, below: Path) -> Row:
    """Run every check on one kind, with its folders below ``below``."""
    row = Row(kind)

    @functools.cache
    def folder_of(template: Template) -> Path:
        return make_folder(kind, below / f"{kind}-{template}", template)

    sees = kind in VISION
    reuses, one = kind not in REUSES_NOTHING, kind in ONE_PICTURE
    case = Case(folder_of, reference_of(kind), reuses=reuses, one_picture=one)
    row.cache = _cache_of(case)
    try:
        case.chats(remembers=False)
    except WorkerError as error:
        row.refused = str(error)
        return row
    for name, check in {**CHECKS, **(OF_VISION if sees else {})}.items():
        row.failures[name] = _run(check, case)
    with contextlib.suppress(WorkerError):
        row.quantises_all = checks.quantises_all(case)
        row.quantises = True
    with contextlib.suppress(Exception):
        row.batch_width = checks.batches(case)
    return row


def _run(check: Callable[[Case], list[str]], case: Case) -> list[str]:
    try:
        return check(case)
    except Exception as error:
        case.forget()
        *_, last = traceback.extract_tb(error.__traceback__)
        return [f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"]


def _cache_of(case: Case) -> str:
    """The kinds of cache that the model's layers have."""
    from mlx_lm.models.cache import make_prompt_cache

    names = [type(layer).__name__ for layer in make_prompt_cache(case.reference().model)]
    return " ".join(dict.fromkeys(name.removesuffix("Cache") for name in names))


def rows_apart(kinds: Sequence[str]) -> Generator[Row]:
    """The rows of these kinds, made in a process of their own: a kind that ends it costs the others
    nothing. Closed early, it ends the process."""
    left = list(kinds)
    while left:
        made = 0
        with tempfile.TemporaryFile("w+") as errors:
            for row in _rows_of_a_process(left, errors):
                made += 1
                yield row
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:]
        if made < len(left):
            yield Row(left[made], failures={"process": [f"the process ended: {last}"]})
        left = left[made + 1 :]


def _rows_of_a_process(kinds: Sequence[str], errors: IO[str]) -> Generator[Row]:
    """The rows that one process makes before it ends."""
    # Compiled, each kind would first wait for a C++ compiler.
    environment = {**os.environ, "MLX_DISABLE_COMPILE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.model_kinds.rows", *kinds],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )
    watchdog = threading.Timer(LIMIT_S * (len(kinds) + 1), process.kill)
    watchdog.start()
    with process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith(MARK):
                    yield Row(**json.loads(line.removeprefix(MARK)))
        except GeneratorExit:
            process.kill()
            raise
        finally:
            watchdog.cancel()


if __name__ == "__main__":
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as made:
            print(MARK + json.dumps(asdict(row_of(name, Path(made)))), flush=True)
