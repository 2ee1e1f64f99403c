"""Canary words in prompts, images and keys: none appears in what operators, logs and dashboards
show.

One service on the echo backend, behind a key that contains the canary, its processes logging all
they can; it gets every kind of request, also wrong ones, and a worker is killed. Then everything
that it wrote is searched.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.security.canaries import (
    KEY,
    OWNER,
    CanaryService,
    contains_canary,
    kill_the_worker,
    read_every_page,
    send_invalid_requests,
    send_valid_requests,
    write_to_redis,
)
from wire import keys

LINES = 40


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CanaryService]:
    service = CanaryService(tmp_path_factory.mktemp("canaries"))
    stack = service.stack
    stack.start_worker()
    stack.start_api()
    try:
        asyncio.run(stack.worker_ready())
        asyncio.run(stack.api_ready())
        send_valid_requests(service)
        send_invalid_requests(service)
        write_to_redis(service)
        kill_the_worker(service)
        read_every_page(service)
        stack.kill("api", 15)
        stack.kill("worker", 15)
        yield service
    finally:
        stack.close()


def test_no_log_line_of_any_part_holds_one(service: CanaryService) -> None:
    logs = service.logs()
    assert [line for line in logs.splitlines() if contains_canary(line)] == []
    assert not contains_canary(logs)
    assert logs.count("\n") > LINES, "the processes should log at the most detailed level"


def test_every_line_of_a_part_is_json_with_level_time_and_logger(service: CanaryService) -> None:
    for line in service.logs().splitlines():
        if line.startswith("listening on "):
            continue  # Printed on standard output for whoever started the process.
        entry = json.loads(line)
        assert {"time", "level", "logger", "message"} <= entry.keys(), line


def test_each_end_of_a_chat_is_one_line_with_its_timings(service: CanaryService) -> None:
    ends = [
        line
        for line in map(_parsed, service.logs().splitlines())
        if line.get("message") == "chat ended"
    ]
    assert sorted(end["job_id"] for end in ends) == sorted(set(service.jobs) - {""})
    for end in ends:
        assert {
            "model",
            "reason",
            "completion_tokens",
            "ttft_ms",
            "tokens_per_second",
            "queue_ms",
        } <= end.keys()
    assert {end.get("code") for end in ends} == {None, "engine_failed"}


def _parsed(line: str) -> dict[str, Any]:
    return {} if line.startswith("listening on ") else dict(json.loads(line))


def test_start_stop_and_recovery_are_logged(service: CanaryService) -> None:
    messages = [line.get("message", "") for line in map(_parsed, service.logs().splitlines())]
    assert messages.count("ready") == 2
    assert {"listening", "stopped", "model loaded"} <= set(messages)
    assert any("its worker died" in line for line in messages)


def test_no_page_metric_or_status_shows_one(service: CanaryService) -> None:
    assert {path: page for path, page in service.pages.items() if contains_canary(page)} == {}
    assert re.search(r"^mlxq_generation_tokens_total\S* [1-9]", service.pages["/metrics"], re.M)
    assert "event: status" in service.pages["events"]


def test_no_job_description_and_no_name_in_redis_holds_one(service: CanaryService) -> None:
    redis = service.stack.redis
    names: list[bytes] = list(redis.scan_iter(count=1000))
    assert [name for name in names if b"xyzzy" in name.lower()] == []
    for name in names:
        if name.startswith(b"rq:job:") and redis.type(name) == b"hash":
            assert not contains_canary((redis.hget(name, "description") or b"").decode())  # type: ignore[union-attr]
    for log in (keys.RECENT, keys.HISTORY):
        assert not contains_canary(repr(redis.xrange(log)))


def test_a_key_is_nowhere_in_redis_and_its_owner_is_who_asked(service: CanaryService) -> None:
    redis = service.stack.redis
    for name in redis.scan_iter(count=1000):
        assert KEY.encode() not in (redis.dump(name) or b""), name  # type: ignore[operator]
    assert {redis.hget(keys.job(job), "owner") for job in service.jobs} == {OWNER.encode()}
