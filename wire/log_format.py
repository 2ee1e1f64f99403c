"""How every process logs: readable lines on a terminal, one JSON object a line elsewhere.

Owns the format, and what may be logged: names, counts, times, job ids; never a prompt, an image or
a key. Libraries log more than that (RQ a job's arguments, an exception the value it stumbled over),
so theirs is cut here.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

_OURS = frozenset({"api", "wire", "worker", "scripts"})
FILE_VARIABLE = "CHATQUEUE_LOG_FILE"
"""Names the log file in a child's environment: each process has its own, so it is no setting."""
_FILE_BYTES = 10_000_000
"""A log file is begun anew beyond this; the one before is kept beside it."""
_QUIET = ("rq", "rq.worker", "uvicorn")
"""Loggers of libraries that tell at INFO what our own lines tell already, or several times for
every job."""
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_HARMLESS = (
    OSError,
    ImportError,
    MemoryError,
    AttributeError,
    NameError,
    TypeError,
    RuntimeError,
    AssertionError,
)
"""Exceptions whose message is logged. Others, such as ValueError and pydantic's, may quote what
a client sent."""


def _told(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _told(before, seen)
        yield "which led to:\n"
    yield from traceback.format_tb(error.__traceback__)
    sentence = f": {error}" if isinstance(error, _HARMLESS) else ""
    yield f"{type(error).__module__}.{type(error).__qualname__}{sentence}\n"
    for inner in getattr(error, "exceptions", ()):
        yield from _told(inner, seen)


def without_values(error: BaseException) -> str:
    """A traceback that names exceptions and places, and quotes no value."""
    return "".join(_told(error, set())).rstrip()


class _Discreet(logging.Filter):
    """Takes out of a record what may hold more than names and counts."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.split(".")[0] not in _OURS:
            for name in vars(record).keys() - _PLAIN:
                delattr(record, name)
        if record.name == "asyncio":  # It goes on with the repr of a task, exception and all.
            record.msg, record.args = record.getMessage().split("\n")[0], ()
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = without_values(record.exc_info[1])
            record.exc_info = None
        return True


class _Text(logging.Formatter):
    """One line, with what belongs to it as name=value behind the sentence."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        extra = "".join(
            f" {name}={value}" for name, value in vars(record).items() if name not in _PLAIN
        )
        return super().formatMessage(record) + extra


def _json() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    class Json(JsonFormatter):
        def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
            log_data.pop("taskName", None)
            return log_data

    names = {"levelname": "level", "name": "logger"}
    return Json(
        "%(levelname)s %(name)s %(process)d %(message)s", rename_fields=names, timestamp="time"
    )


def set_up(level: str, form: str, stream: TextIO | None = None) -> None:
    """Log to standard error, or to ``stream``; to a file as well, if the supervisor names one.

    ``form`` is text, json, or auto: text on a terminal and in the file. A file that can't be
    written is named in the log.
    """
    target = sys.stderr if stream is None else stream
    as_text = form == "text" or (form == "auto" and target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(_Text() if as_text else _json())
    handler.addFilter(_Discreet())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    if file := os.environ.pop(FILE_VARIABLE, ""):
        _add_file(root, file, form)
    for name in _QUIET:
        logging.getLogger(name).setLevel("WARNING" if level == "info" else level.upper())


def _add_file(root: logging.Logger, file: str, form: str) -> None:
    try:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(file, maxBytes=_FILE_BYTES, backupCount=1, encoding="utf-8")
    except OSError as error:
        logging.getLogger(__name__).warning("the log file can't be written (%s)", error.strerror)
        return
    handler.setFormatter(_json() if form == "json" else _Text())
    handler.addFilter(_Discreet())
    root.addHandler(handler)
