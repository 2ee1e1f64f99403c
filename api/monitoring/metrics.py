"""``/metrics``: what workers, queues and this process do, in the text format of Prometheus.

Labels hold names of workers, models, queues, classes of service, reasons and routes, nothing of a
request. ``docs/metrics.md`` says what each means.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from api.deps import service
from api.jobs.relay import Relay
from api.monitoring.overview import Snapshot, StatusReader
from api.monitoring.worker_metrics import (
    COUNTERS,
    DISK_CACHES,
    GAUGES,
    TIMES,
    OfDiskCaches,
    Times,
)
from wire.queueing.turns import Tier
from wire.routing.told import OUTCOMES
from wire.worker_status import BUCKETS, Histogram, WorkerStatus

router = APIRouter(tags=["Operations"])

Family = GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily


class Shared(Collector):
    """Metrics that are the same at every API process: they come from Redis."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Family]:
        yield from self._queues()
        yield from self._ends()
        text, routed = (
            "Chats taken up by one of several workers, by what came.",
            self._snapshot.routed,
        )
        yield _counted("mlxq_chats_routed", text, "outcome", routed, OUTCOMES)
        yield from self._webhooks()
        yield from self._replays()
        workers = self._snapshot.workers
        for row in (*GAUGES, *COUNTERS):
            kind = CounterMetricFamily if row in COUNTERS else GaugeMetricFamily
            family = kind(row.name, row.text, labels=["worker"])
            for worker in workers:
                family.add_metric([worker.machine], float(row.value(worker)))
            yield family
        for of_disk in DISK_CACHES:
            yield self._of_disk_caches(of_disk)
        for times in TIMES:
            yield _histogram(times, workers)
        yield self._heartbeats()
        yield self._weights()

    def _queues(self) -> Iterator[Family]:
        depths = GaugeMetricFamily(
            "mlxq_queue_depth", "Jobs that wait in a queue.", labels=["queue"]
        )
        for name, depth in self._snapshot.waiting.items():
            depths.add_metric([name], depth)
        yield depths
        name, text = "mlxq_num_requests_waiting", "Chats that wait for a worker."
        yield GaugeMetricFamily(name, text, value=self._snapshot.waiting.get("chat", 0))
        tiers = self._snapshot.tiers
        name, text = "mlxq_num_requests_waiting_by_tier", "Chats that wait, by class of service."
        yield _by_tier(name, text, tiers.waiting)
        name, text = "mlxq_num_requests_running_by_tier", "Chats that run, by class of service."
        yield _by_tier(name, text, tiers.running)

    def _ends(self) -> Iterator[Family]:
        labels = ["finished_reason", "code"]
        family = CounterMetricFamily(
            "mlxq_request_finished", "Chats that have ended, by how.", labels=labels
        )
        for how, count in sorted(self._snapshot.ended.items()):
            reason, _, code = how.partition(":")
            family.add_metric([reason, code], count)
        yield family

    def _of_disk_caches(self, row: OfDiskCaches) -> Family:
        kind = CounterMetricFamily if row.counts else GaugeMetricFamily
        family = kind(row.name, row.text, labels=["worker"])
        for worker in self._snapshot.workers:
            use = self._snapshot.disk_caches.get(worker.name)
            if use is not None and use.folder:
                family.add_metric([worker.machine], float(getattr(use, row.field)))
        return family

    def _webhooks(self) -> Iterator[Family]:
        counts, text = self._snapshot.webhooks, "Webhooks that have ended, by how."
        yield _counted("mlxq_webhook_deliveries", text, "outcome", counts, ("delivered", "failed"))
        name, text = "mlxq_webhooks_waiting", "Webhooks that are still to be accepted."
        yield GaugeMetricFamily(name, text, value=counts["waiting"])

    def _replays(self) -> Iterator[Family]:
        counts, text = self._snapshot.replays, "Chats that were run again, by what came of it."
        yield _counted("mlxq_replays", text, "result", counts, ("identical", "differs"))
        name, text = "mlxq_kept_request_bytes", "Memory of Redis for requests of ended chats."
        yield GaugeMetricFamily(name, text, value=self._snapshot.kept_requests)

    def _heartbeats(self) -> Family:
        name, text = "mlxq_worker_heartbeat_age_seconds", "Time since a worker has told of itself."
        family = GaugeMetricFamily(name, text, labels=["worker"])
        for worker in self._snapshot.workers:
            family.add_metric([worker.machine], self._snapshot.age_ms(worker) / 1000)
        return family

    def _weights(self) -> Family:
        text, labels = "Weights of models and adapters.", ["worker", "model", "kv_bits"]
        family = GaugeMetricFamily("mlxq_model_weights_bytes", text, labels=labels)
        for worker in self._snapshot.workers:
            for model in worker.models:
                family.add_metric(
                    [worker.machine, model.id, str(model.kv_quantization or "")], model.bytes
                )
        return family


def _by_tier(name: str, text: str, counts: Mapping[Tier, int]) -> Family:
    family = GaugeMetricFamily(name, text, labels=["tier"])
    for tier, count in counts.items():
        family.add_metric([tier], count)
    return family


def _counted(
    name: str, text: str, label: str, counts: Mapping[str, int], values: Iterable[str]
) -> CounterMetricFamily:
    """A counter with these values of its label; those that were never counted are 0."""
    family = CounterMetricFamily(name, text, labels=[label])
    for value in values:
        family.add_metric([value], counts.get(value, 0))
    return family


def _histogram(times: Times, workers: Iterable[WorkerStatus]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(times.name, times.text, labels=["worker"])
    bounds = [*map(str, map(float, BUCKETS[times.field])), "+Inf"]
    for worker in workers:
        spread: Histogram = getattr(worker.work, times.field)
        if len(spread.counts) == len(bounds):
            family.add_metric(
                [worker.machine],
                list(zip(bounds, accumulate(spread.counts), strict=True)),
                spread.sum,
            )
    return family


class _Here(Collector):
    """What else this process knows."""

    def __init__(self, streams: int, redis_up: bool) -> None:
        self._streams, self._redis_up = streams, redis_up

    def collect(self) -> Iterator[Family]:
        yield GaugeMetricFamily(
            "mlxq_streams_open", "Streams that clients read here.", value=self._streams
        )
        yield GaugeMetricFamily(
            "mlxq_redis_up", "1 while Redis answers this process.", value=self._redis_up
        )


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(
    request: Request,
    reader: Annotated[StatusReader, service(StatusReader)],
    relay: Annotated[Relay, service(Relay)],
) -> Response:
    """Everything for Prometheus. Without Redis, what this process knows by itself."""
    shared = b""
    with contextlib.suppress(RedisError):
        shared = generate_latest(Shared(await reader.snapshot()))
    here = generate_latest(_Here(relay.open, bool(shared)))
    own = generate_latest(request.app.state.traffic.registry)
    return Response(shared + here + own, media_type=CONTENT_TYPE_LATEST)
