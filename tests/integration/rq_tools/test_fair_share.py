"""One key's flood beside another key's chat, or its batch of one line, end to end: which is begun
when. How long each waits is measured by ``scripts.benchmarks.parts.fair_share``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.support.http_client import Service
from tests.support.service_support import RunningService, wait
from wire.batches import SLICE_LINES, slice_job_id
from wire.batches.records import ENDED_STATES

KEYS, BATCHES = "/api/engine/keys", "/api/engine/batches"
SUSPENDED = "rq:suspended"


@pytest.fixture
def keyed(service: RunningService) -> Iterator[tuple[Service, Service]]:
    """The clients of ann and ben. With their keys the service is open to all again."""
    ann, ann_id = holder_of_a_new_key(service.http, "ann")
    ben, ben_id = holder_of_a_new_key(ann, "ben")
    yield ann, ben
    for key_id in (ben_id, ann_id):
        assert ann.call("DELETE", f"{KEYS}/{key_id}")[0] == 200


def holder_of_a_new_key(client: Service, name: str) -> tuple[Service, str]:
    _, added = client.call("POST", KEYS, {"name": name, "roles": ["chat", "admin"]})
    return Service(client.url, added["key"]), added["id"]


def in_order_of_their_starts(service: RunningService, jobs: Mapping[str, str]) -> list[str]:
    """The names of these jobs."""
    return sorted(jobs, key=lambda name: service.job(jobs[name]).started_at)


def test_a_flood_of_chats_lets_another_keys_chat_begin_after_one_of_them(
    service: RunningService, keyed: tuple[Service, Service]
) -> None:
    ann, ben = keyed
    service.redis.set(SUSPENDED, 1)
    streams = {f"ann-{number:02}": ann.chat("x", seed=number, max_tokens=1) for number in range(12)}
    streams["ben"] = ben.chat("x", seed=99, max_tokens=1)
    service.redis.delete(SUSPENDED)
    for stream in streams.values():
        stream.rest()
    jobs = {name: stream.job_id for name, stream in streams.items()}
    order = in_order_of_their_starts(service, jobs)
    assert order == ["ann-00", "ben", *(f"ann-{number:02}" for number in range(1, 12))]


def wait_for_end(client: Service, batch_id: str) -> None:
    path = f"{BATCHES}/{batch_id}"
    wait(lambda: client.call("GET", path)[1]["status"] in ENDED_STATES)


def test_a_long_batch_lets_another_keys_batch_begin_after_one_slice(
    service: RunningService, keyed: tuple[Service, Service]
) -> None:
    ann, ben = keyed
    body = {"model_id": "demo-chat", "max_tokens": 1}
    service.redis.set(SUSPENDED, 1)
    _, flood = ann.call("POST", BATCHES, body | {"prompts": ["x"] * 96})
    _, small = ben.call("POST", BATCHES, body | {"prompts": ["x"]})
    service.redis.delete(SUSPENDED)
    for client, batch in ((ben, small), (ann, flood)):
        wait_for_end(client, batch["id"])
    jobs = {f"ann-{number}": slice_job_id(flood["id"], number) for number in range(3)}
    jobs["ben"] = slice_job_id(small["id"], 0)
    assert in_order_of_their_starts(service, jobs) == ["ann-0", "ben", "ann-1", "ann-2"]


def test_a_line_that_comes_while_another_keys_batch_runs_waits_for_a_row_and_not_for_its_slice(
    service: RunningService, keyed: tuple[Service, Service]
) -> None:
    """The slice takes half a minute, a row becomes free within two seconds."""
    ann, ben = keyed
    body = {"model_id": "demo-chat", "prompts": ["x"] * 500, "max_tokens": 100}
    _, flood = ann.call("POST", BATCHES, body)
    wait(lambda: service.job(slice_job_id(flood["id"], 0)).started_at)
    _, small = ben.call("POST", BATCHES, body | {"prompts": ["x"], "max_tokens": 1})
    wait(lambda: ben.call("GET", f"{BATCHES}/{small['id']}")[1]["status"] == "completed")
    assert ann.call("GET", f"{BATCHES}/{flood['id']}")[1]["counts"]["done"] < SLICE_LINES / 2
    ann.call("POST", f"{BATCHES}/{flood['id']}/cancel")
    wait(lambda: ann.call("GET", f"{BATCHES}/{flood['id']}")[1]["status"] in ENDED_STATES)
