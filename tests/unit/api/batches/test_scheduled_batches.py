"""Batches that begin at a time, and lines that ask for an order of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.api_support import MODEL, announce
from tests.support.fake_api import fake_api
from tests.unit.api.batches.test_routes import JSONL, URL, line, lines, queued, results, upload
from wire.batches import slice_job_id


@pytest.fixture
def api(redis: Redis) -> Iterator[TestClient]:
    announce(redis)
    with TestClient(fake_api(redis)) as client:
        yield client


def test_a_batch_that_waits_for_a_time_is_queued_then(api: TestClient, redis: Redis) -> None:
    due = int(time.time()) + 3600
    zoned = datetime.fromtimestamp(due, timezone(timedelta(hours=2))).isoformat()
    asked = {"model_id": MODEL.id, "not_before": zoned}
    made = api.post(URL, params=asked, content=lines(line(1)), headers=JSONL).json()
    body = {"model_id": MODEL.id, "prompts": ["x"], "not_before": due}
    for view in (made, api.post(URL, json=body).json()):
        assert (view["status"], view["not_before"]) == ("queued", due)
    assert queued(redis) == []
    assert set(redis.zrange("rq:scheduled:batch", 0, -1, withscores=True)) == {
        (slice_job_id(view["id"], 0).encode(), due) for view in api.get(URL).json()
    }
    assert api.post(f"{URL}/{made['id']}/cancel").json()["status"] == "cancelled"
    assert redis.zcard("rq:scheduled:batch") == 1


@pytest.mark.parametrize("sent", ["2026-12-01T02:00", "soon", "nan", str(10**11)])
def test_a_time_that_is_none_is_refused_by_name(api: TestClient, redis: Redis, sent: str) -> None:
    asked = {"model_id": MODEL.id, "not_before": sent}
    answer = api.post(URL, params=asked, content=lines(line(1)), headers=JSONL)
    assert answer.status_code in (400, 422)
    assert "not_before" in answer.text or "days ahead" in answer.text
    assert not redis.exists("rq:scheduled:batch", "rq:queue:batch")


@pytest.mark.parametrize(
    "field", [{"priority": "low"}, {"max_queue_s": 5}, {"not_before": 1_900_000_000}]
)
def test_a_line_has_no_order_of_its_own(api: TestClient, field: dict[str, object]) -> None:
    made = upload(api, line(1), line(2, **field))
    [refused] = results(api, made["id"])
    assert refused["error"]["param"] in field
