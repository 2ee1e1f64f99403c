"""The service as it is started for use: real Redis, real worker with the echo backend, real API."""

from __future__ import annotations

import http.client
import json
import shlex
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.support.service_support import LIMIT_S, SERVE, Running


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    running = Running(SERVE, tmp_path, MLXQ_BACKEND="echo")
    yield running
    running.close()


def paste(line: str) -> list[dict[str, object]]:
    """Do what the curl line does: one request; return the frames of the response."""
    words = shlex.split(line)
    url = urlsplit(words[2])
    with closing(
        http.client.HTTPConnection(url.hostname or "", url.port, timeout=LIMIT_S)
    ) as connection:
        headers = dict([words[words.index("-H") + 1].split(": ")])
        connection.request("POST", url.path, words[words.index("-d") + 1], headers)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return [
            json.loads(text[5:])
            for text in answer.read().decode().splitlines()
            if text.startswith("data:")
        ]


def test_the_printed_line_streams_an_answer(service: Running) -> None:
    frames = paste(service.line("curl"))
    assert "".join(str(frame["text"]) for frame in frames)
    assert [frame["done"] for frame in frames] == [False] * (len(frames) - 1) + [True]


def test_the_service_stops_and_starts_again_on_the_same_data(
    service: Running, tmp_path: Path
) -> None:
    paste(service.line("curl"))
    service.signal(signal.SIGINT)
    assert service.status() == 0
    assert service.left_over() == []
    again = Running(SERVE, tmp_path, MLXQ_BACKEND="echo")
    try:
        assert paste(again.line("curl"))[-1] == {"text": "", "done": True}
    finally:
        again.close()


def test_worker_and_api_end_when_the_supervisor_is_killed_and_the_next_start_takes_over(
    service: Running, tmp_path: Path
) -> None:
    paste(service.line("curl"))
    parts = {process for process in service.descendants() if "-server" not in process.name()}
    service.signal(signal.SIGKILL)
    gone, alive = psutil.wait_procs(parts, timeout=LIMIT_S)
    assert alive == []
    assert len(gone) >= 2  # and the process that reads schemas, if it was there already
    again = Running(SERVE, tmp_path, MLXQ_BACKEND="echo")
    try:
        assert paste(again.line("curl"))[-1] == {"text": "", "done": True}
    finally:
        again.close()
