"""Log lines: text for people, JSON for programs, and never a value from a request."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from pydantic import BaseModel, ValidationError

from wire import log_format

SECRET = "xyzzy-canary"


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    for name in ("rq", "rq.worker", "uvicorn"):
        logging.getLogger(name).setLevel(logging.NOTSET)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def logger_to(form: str, stream: io.StringIO, level: str = "info") -> logging.Logger:
    log_format.set_up(level, form, stream)
    return logging.getLogger("worker.jobs.chat_runner")


def test_a_terminal_gets_one_readable_line() -> None:
    stream = Terminal()
    logger_to("auto", stream).info("chat ended", extra={"job_id": "j1", "tokens": 7})
    assert stream.getvalue().endswith(
        "INFO worker.jobs.chat_runner: chat ended job_id=j1 tokens=7\n"
    )


@pytest.mark.parametrize(("form", "stream"), [("auto", io.StringIO()), ("json", Terminal())])
def test_anything_else_gets_one_json_object_a_line(form: str, stream: io.StringIO) -> None:
    log = logger_to(form, stream)
    log.info("chat ended", extra={"job_id": "j1", "tokens": 7})
    log.warning("two\nlines")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert {
        "level": "INFO",
        "logger": "worker.jobs.chat_runner",
        "message": "chat ended",
        "job_id": "j1",
        "tokens": 7,
    }.items() <= (first.items())
    assert first["time"].startswith("20")
    assert second["message"] == "two\nlines"


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_a_library_adds_to_a_record_is_left_out(form: str) -> None:
    stream = io.StringIO()
    logger_to(form, stream)
    logging.getLogger("rq.worker").error(
        "job failed", extra={"kwargs": {"job": SECRET}, "arguments": [SECRET]}
    )
    assert "job failed" in stream.getvalue()
    assert SECRET not in stream.getvalue()


class Shape(BaseModel):
    number: int


def _stumble() -> None:
    try:
        Shape.model_validate({"number": SECRET})
    except ValidationError as error:
        raise RuntimeError("the step failed") from error


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_names_the_places_and_quotes_no_value(form: str) -> None:
    stream = io.StringIO()
    log = logger_to(form, stream)
    try:
        _stumble()
    except RuntimeError:
        log.exception("it failed")
    text = stream.getvalue()
    assert "ValidationError" in text
    assert "RuntimeError: the step failed" in text
    assert "_stumble" in text
    assert SECRET not in text


def test_groups_of_exceptions_are_logged_one_by_one() -> None:
    text = log_format.without_values(
        ExceptionGroup(SECRET, [ValueError(SECRET), TypeError("wrong type")])
    )
    assert "builtins.ValueError\n" in text
    assert "builtins.TypeError: wrong type" in text
    assert SECRET not in text


def test_a_lost_task_is_logged_without_its_exception() -> None:
    stream = io.StringIO()
    logger_to("text", stream)
    logging.getLogger("asyncio").error(
        f"Task exception was never retrieved\nfuture: <Task {SECRET}>"
    )
    assert "never retrieved" in stream.getvalue()
    assert SECRET not in stream.getvalue()


def test_rq_and_the_server_are_quiet_at_info_and_speak_at_debug() -> None:
    stream = io.StringIO()
    for level in ("info", "debug"):
        logger_to("text", stream, level)
        logging.getLogger("rq.worker").info(f"line at {level}")
    assert "line at info" not in stream.getvalue()
    assert "line at debug" in stream.getvalue()
