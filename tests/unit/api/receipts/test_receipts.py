"""Receipts of ended chats, and replays: whose, of what, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support import picture_files as files
from tests.support.api_support import MODEL, FakeWorker, announce, chat_body
from tests.support.chats import chat_job
from tests.support.fake_api import fake_api
from tests.support.image_support import body as body_with_images
from wire import keys
from wire.messages import ChatJob, Delta, Event, Failed, Finished, ModelCommand, Run, Timings, Usage
from wire.model_registry import Registry
from wire.receipts import record_fields
from wire.receipts.kept_requests import BUDGET, OVERHEAD, REQUESTS, REQUESTS_TOTAL, request
from wire.receipts.record_fields import NOTE_WORKER, request_hash
from wire.settings import Settings

JOBS = "/api/engine/jobs"
RUN = Run({"mlx": "0.32.4"}, 4096)
END = Finished("stop", Usage(5, 3, 4), Timings(1, 2, 3, 4, 50, 6, 5), run=RUN)


def answer(*tokens: int, end: Event = END) -> Any:
    """What a worker says: tokens, one a delta."""
    events: Sequence[Event] = [*(Delta(f"{token} ", (token,)) for token in tokens), end]
    return lambda _: events


@pytest.fixture
def worker(redis: Redis) -> FakeWorker:
    announce(redis)
    return FakeWorker(redis, answer(7, 8))


def ended(client: TestClient, worker: FakeWorker, body: Any = None) -> str:
    """The job of a chat that has ended."""
    with worker.running():
        response = client.post("/api/engine/chat", json=body or chat_body(seed=9))
        job_id: str = response.headers["x-job-id"]
    return job_id


def replayed(client: TestClient, worker: FakeWorker, job_id: str) -> Any:
    with worker.running():
        return client.post(f"{JOBS}/{job_id}/replay")


def code(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def test_answers_to_one_prompt_are_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    def counting(job: ChatJob) -> str:
        hashed.append(job.job_id)
        return request_hash(job)

    monkeypatch.setattr(record_fields, "request_hash", counting)
    groups = ("a", "a", "b", "b", None)
    jobs = [
        chat_job(group or "c", job_id=str(number), seed=number).model_copy(update={"group": group})
        for number, group in enumerate(groups)
    ]
    assert record_fields.request_hashes(jobs) == [request_hash(job) for job in jobs]
    assert len(hashed) == 3


def test_a_receipt_says_how_a_chat_was_answered(client: TestClient, worker: FakeWorker) -> None:
    job_id = ended(client, worker)
    link = client.get(f"{JOBS}/{job_id}").json()["receipt"]
    receipt = client.get(link).json()
    [job] = worker.seen
    assert isinstance(job, ChatJob)
    assert receipt.pop("submitted_at") == job.submitted_ms // 1000
    assert receipt.pop("sampling")["temperature"] == 0.7
    assert receipt == {
        "job_id": job_id,
        "finish_reason": "stop",
        "code": None,
        "model_id": MODEL.id,
        "model": MODEL.name,
        "model_revision": MODEL.revision,
        "request_sha256": request_hash(job),
        "seed": 9,
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "cached_tokens": 4, "reasoning_tokens": 0},
        "timings": {"queue_ms": 1, "load_ms": 2, "prefill_ms": 3, "ttft_ms": 4, "tokens_per_second": 50, "draft_tokens": 6, "accepted_tokens": 5},
        "workers": [],
        "libraries": {"mlx": "0.32.4"},
        "peak_memory_bytes": 4096,
        "replayable": True,
        "replay_of": None,
        "replay": None,
    }  # fmt: skip


def test_the_hash_is_of_what_was_asked_whatever_the_seed_and_the_job(
    client: TestClient, worker: FakeWorker
) -> None:
    bodies = [chat_body(seed=1), chat_body(seed=2), chat_body(seed=1, top_p=0.5)]
    ids = [ended(client, worker, body) for body in bodies]
    one, same, other = (
        client.get(f"{JOBS}/{job_id}/receipt").json()["request_sha256"] for job_id in ids
    )
    assert one == same != other


def test_each_worker_is_noted_once_however_often_its_start_is_tried(redis: Redis) -> None:
    for name in ("a.1", "a.1", "b.2", "", "a.1"):
        redis.eval(f"{NOTE_WORKER} note_worker(KEYS[1], ARGV[1])", 1, "job", name)
    assert redis.hget("job", "workers") == b"a.1 b.2 a.1"


def test_a_replay_runs_the_same_again_and_is_identical(
    client: TestClient, worker: FakeWorker
) -> None:
    job_id = ended(client, worker)
    response = replayed(client, worker, job_id)
    view = response.json()
    assert view | {"job_id": ""} == {
        "job_id": "", "replay_of": job_id, "result": "identical", "compared_tokens": 2,
        "token": None, "original_token": None, "replay_token": None,
    }  # fmt: skip
    first, second = worker.seen
    assert isinstance(first, ChatJob)
    assert isinstance(second, ChatJob)
    assert second.job_id == view["job_id"] == response.headers["x-job-id"]
    same = {"job_id": "", "submitted_ms": 0}
    assert first.model_copy(update=same) == second.model_copy(update=same)
    receipt = client.get(f"{JOBS}/{view['job_id']}/receipt").json()
    assert receipt["replay_of"] == job_id
    assert receipt["replay"] == {k: view[k] for k in receipt["replay"]}
    assert 'mlxq_replays_total{result="identical"} 1.0' in client.get("/metrics").text


def test_a_replay_tells_the_first_token_that_differs(
    client: TestClient, worker: FakeWorker
) -> None:
    job_id = ended(client, worker)
    worker.answer = answer(7, 9)
    view = replayed(client, worker, job_id).json()
    numbers = view["token"], view["original_token"], view["replay_token"]
    assert (view["result"], view["compared_tokens"], *numbers) == ("differs", 1, 2, 8, 9)


def test_what_can_not_be_run_again_is_refused_by_name(
    client: TestClient, redis: Redis, worker: FakeWorker
) -> None:
    job_id = ended(client, worker)
    replay = f"{JOBS}/{job_id}/replay"
    Registry(redis).put(MODEL.model_copy(update={"revision": "r2"}))
    assert code(client.post(replay)) == (409, "model_changed")
    Registry(redis).remove(MODEL.id)
    assert code(client.post(replay)) == (404, "model_not_found")
    Registry(redis).put(MODEL)
    redis.set(request(job_id), b"not a job")
    assert code(client.post(replay)) == (410, "request_not_kept")
    redis.delete(request(job_id))
    assert code(client.post(replay)) == (410, "request_not_kept")
    assert client.get(f"{JOBS}/{job_id}/receipt").json()["replayable"] is False
    redis.delete(keys.log(job_id))
    for response in (client.post(replay), client.get(f"{JOBS}/{job_id}/receipt")):
        assert code(response) == (410, "expired")
    for name in ("f" * 32, "nothing"):
        assert code(client.post(f"{JOBS}/{name}/replay")) == (404, "job_not_found")
    redis.hset(keys.job(job_id), "state", "running")
    redis.hset(f"rq:job:{job_id}", "status", "started")
    for response in (client.post(replay), client.get(f"{JOBS}/{job_id}/receipt")):
        assert code(response) == (409, "conflict")
    assert len(worker.seen) == 1


def test_a_failed_replay_is_the_failure_and_a_stopped_one_a_conflict(
    client: TestClient, worker: FakeWorker
) -> None:
    job_id = ended(client, worker)
    worker.answer = answer(7, end=Failed("engine_failed", "It broke."))
    assert code(replayed(client, worker, job_id)) == (500, "engine_failed")
    worker.answer = answer(7, end=Finished("cancelled"))
    assert code(replayed(client, worker, job_id)) == (409, "conflict")


def test_another_keys_chat_has_neither(redis: Redis, worker: FakeWorker) -> None:
    settings = Settings(api_keys=(f"ann:{'a' * 16}", f"bob:{'b' * 16}"))
    with TestClient(fake_api(redis, settings)) as client:
        ann, bob = ({"Authorization": f"Bearer {letter * 16}"} for letter in "ab")
        with worker.running():
            made = client.post("/api/engine/chat", json=chat_body(), headers=ann)
        job = f"{JOBS}/{made.headers['x-job-id']}"
        assert code(client.get(f"{job}/receipt", headers=bob)) == (404, "job_not_found")
        assert code(client.post(f"{job}/replay", headers=bob)) == (404, "job_not_found")
        assert client.get(f"{job}/receipt", headers=ann).status_code == 200


def test_requests_are_kept_within_a_budget_and_expire(redis: Redis, worker: FakeWorker) -> None:
    with TestClient(fake_api(redis, Settings(replay_mb=0))) as client:
        job_id = ended(client, worker)
        assert not client.get(f"{JOBS}/{job_id}/receipt").json()["replayable"]
    with TestClient(fake_api(redis)) as client:
        ids = [ended(client, worker) for _ in range(2)]
        size = redis.strlen(request(ids[0])) + OVERHEAD

        def with_room_for_two(job: ChatJob | ModelCommand) -> Sequence[Event]:
            redis.hset(keys.job(job.job_id), BUDGET, 2 * size + OVERHEAD)
            return answer(7)(job)

        worker.answer = with_room_for_two
        third = ended(client, worker)
    there = [redis.exists(request(one)) for one in (job_id, *ids, third)]
    assert there == [0, 0, 1, 1]
    members = [member.decode().split() for member in redis.zrange(REQUESTS, 0, -1)]
    assert [name for name, _ in members] == [ids[1], third]
    assert int(redis.get(REQUESTS_TOTAL)) == sum(int(size) for _, size in members)
    assert 0 < redis.ttl(request(third)) <= keys.LOG_LIFETIME_S


def test_what_is_not_stored_or_deleted_is_not_kept(
    client: TestClient, redis: Redis, worker: FakeWorker
) -> None:
    def respond(**more: Any) -> str:
        with worker.running():
            made = client.post("/v1/responses", json={"input": "x", **more}).json()
        return str(made["id"]).removeprefix("resp_")

    assert not redis.exists(request(respond(store=False)))
    stored = respond()
    assert redis.exists(request(stored))
    client.delete(f"/v1/responses/resp_{stored}")
    assert not redis.exists(request(stored), REQUESTS)
    assert redis.get(REQUESTS_TOTAL) == b"0"


def test_images_are_kept_with_the_request(redis: Redis) -> None:
    announce(redis)
    Registry(redis).put(MODEL.model_copy(update={"is_vision": True}))
    worker = FakeWorker(redis, answer(7))
    with TestClient(fake_api(redis)) as client:
        job_id = ended(client, worker, body_with_images(files.url(files.plain())))
        assert replayed(client, worker, job_id).json()["result"] == "identical"
        first, second = (
            job.messages[0].images() for job in worker.seen if isinstance(job, ChatJob)
        )
        assert first == second != ()
        redis.delete(keys.image(first[0].sha256))
        assert code(replayed(client, worker, job_id)) == (410, "request_not_kept")
