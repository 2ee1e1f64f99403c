"""``/metrics``: valid text, correct over several workers and restarts, documented, and without
anything of requests."""

from __future__ import annotations

import re

from fakeredis import FakeServer
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from starlette.testclient import TestClient

from api.monitoring.worker_metrics import COUNTERS, GAUGES, TIMES
from tests.support.api_support import MODEL, QUEUE, announce, status
from tests.support.paths import ROOT
from wire import keys
from wire.queueing import turns
from wire.queueing.turns import Tier
from wire.routing.told import OUTCOMES, ROUTED
from wire.rq_jobs import started_key
from wire.worker_status import BUCKETS, Histogram, Totals

DOCS = ROOT / "docs" / "metrics.md"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(client: TestClient) -> Samples:
    """Every sample by name and labels; the parser refuses what isn't the format."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def spread(name: str, *places: int, total: float = 1.0) -> Histogram:
    counts = [0] * (len(BUCKETS[name]) + 1)
    for place in places:
        counts[place] += 1
    return Histogram(counts=tuple(counts), sum=total)


def test_each_worker_has_its_series_and_a_histogram_adds_up(
    client: TestClient, redis: Redis
) -> None:
    one = Totals(
        generation_tokens=70,
        prompt_tokens=9,
        cached_tokens=4,
        ttft=spread("ttft", 0, 0, 3, total=0.5),
    )
    announce(
        redis,
        status("a.1", work=one, running_total=3),
        status("b.1", work=Totals(generation_tokens=5)),
    )
    samples = read(client)
    assert value(samples, "mlxq_generation_tokens_total", worker="a") == 70
    assert value(samples, "mlxq_generation_tokens_total", worker="b") == 5
    assert value(samples, "mlxq_num_requests_running", worker="a") == 3
    name = "mlxq_time_to_first_token_seconds"
    assert value(samples, f"{name}_bucket", worker="a", le="0.005") == 2
    assert value(samples, f"{name}_bucket", worker="a", le="+Inf") == 3
    assert (
        value(samples, f"{name}_count", worker="a"),
        value(samples, f"{name}_sum", worker="a"),
    ) == (3, 0.5)


def test_a_killed_worker_whose_last_write_arrived_does_not_repeat_it(
    client: TestClient, redis: Redis
) -> None:
    old = status("a.1", beat_ms=5000, started_ms=1, work=Totals(generation_tokens=70))
    new = status("a.2", beat_ms=9000, started_ms=8000, work=Totals(generation_tokens=1, restarts=1))
    announce(redis, old, new)
    samples = read(client)
    assert value(samples, "mlxq_generation_tokens_total", worker="a") == 1
    assert value(samples, "mlxq_worker_restarts_total", worker="a") == 1


def test_queues_and_ends_are_counted_over_all_processes(client: TestClient, redis: Redis) -> None:
    announce(redis)
    redis.rpush(QUEUE, "x", "y")
    redis.hset(keys.ENDED, mapping={"stop": 7, "error:engine_failed": 2})
    redis.hset(ROUTED, mapping={"prompt": 3, "late": 1})
    samples = read(client)
    assert value(samples, "mlxq_queue_depth", queue="chat") == 2
    assert value(samples, "mlxq_num_requests_waiting") == 2
    assert value(samples, "mlxq_request_finished_total", finished_reason="stop", code="") == 7
    routed = {of: value(samples, "mlxq_chats_routed_total", outcome=of) for of in OUTCOMES}
    assert {of: count for of, count in routed.items() if count} == {"prompt": 3, "late": 1}
    assert (
        value(samples, "mlxq_request_finished_total", finished_reason="error", code="engine_failed")
        == 2
    )
    assert (
        value(samples, "mlxq_model_weights_bytes", worker="w1", model=MODEL.id, kv_bits="8") == 99
    )


def test_chats_that_wait_and_run_are_counted_by_class_of_service(
    client: TestClient, redis: Redis
) -> None:
    announce(redis)
    tiers: tuple[Tier, ...] = ("flex", "default", "flex", "priority")
    with redis.pipeline() as pipe:
        for number, tier in enumerate(tiers):
            turns.join(pipe, "chat", f"waits-{number}", "ann", tier)
            record = {"kind": "chat"} | ({} if tier == "default" else {turns.TIER: tier})
            pipe.hset(keys.job(f"runs-{number}"), mapping=record)
            pipe.zadd(started_key("chat"), {f"runs-{number}:execution": 1})
        pipe.hset(keys.job("command"), "kind", "model")
        pipe.zadd(started_key("chat"), {b"command:execution": 1, b"\xff:x": 1})
        pipe.execute()
    counts = {"priority": 1, "default": 1, "flex": 2}
    samples = read(client)
    for what in ("waiting", "running"):
        name = f"mlxq_num_requests_{what}_by_tier"
        assert {tier: value(samples, name, tier=tier) for tier in counts} == counts
        assert client.get("/api/engine/status").json()[f"{what}_by_tier"] == counts


def test_requests_are_counted_by_route_and_status_and_no_path_becomes_a_label(
    client: TestClient,
) -> None:
    client.get("/api/engine/jobs/secret-canary")
    client.get(
        "/secret-canary?key=secret-canary", headers={"Authorization": "Bearer secret-canary"}
    )
    client.request("SECRET-CANARY", "/health")
    text = client.get("/metrics").text
    assert "canary" not in text.lower()
    samples = read(client)
    name = "mlxq_http_requests_total"
    assert value(samples, name, method="GET", route="/api/engine/jobs/{job_id}", status="404") == 1
    assert value(samples, name, method="GET", route="none", status="404") == 1
    assert value(samples, name, method="other", route="/health", status="405") == 1
    assert value(samples, name, method="GET", route="/metrics", status="200") == 1


def test_without_redis_the_process_still_tells_of_itself(
    server: FakeServer, client: TestClient
) -> None:
    server.connected = False
    samples = read(client)
    assert value(samples, "mlxq_redis_up") == 0
    assert ("mlxq_num_requests_waiting", frozenset()) not in samples


def test_every_metric_is_documented_and_nothing_else_is(client: TestClient, redis: Redis) -> None:
    announce(redis)
    redis.hset(keys.ENDED, "stop", 1)
    client.get("/health")
    text = client.get("/metrics").text
    exported = {
        name
        for name in re.findall(r"^# TYPE (mlxq_\w+)", text, re.M)
        if not name.endswith("_created")
    }
    documented = set(re.findall(r"^\| `(mlxq_\w+)`", DOCS.read_text(encoding="utf-8"), re.M))
    assert exported == documented
    assert {f"{row.name}_total" for row in COUNTERS} | {
        row.name for row in (*GAUGES, *TIMES)
    } <= exported
