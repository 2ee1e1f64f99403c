"""Batches over HTTP, on a Redis without a server: what is accepted, refused, shown and stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer
from starlette.testclient import TestClient

from tests.support.api_support import MODEL, announce
from tests.support.fake_api import fake_api
from wire import keys
from wire.batches import BatchLog, BatchSlice, LineResult, Taken, unpack
from wire.messages import Usage
from wire.settings import Settings
from wire.token_log import TokenLog
from wire.usage import Sums, sums

URL = "/api/engine/batches"
JSONL = {"Content-Type": "application/jsonl"}


@pytest.fixture
def redis(redis: Redis) -> Redis:
    """With a worker."""
    announce(redis)
    return redis


@pytest.fixture
def api(redis: Redis) -> Iterator[TestClient]:
    with TestClient(fake_api(redis, Settings(batch_mb=16))) as client:
        yield client


def lines(*rows: object) -> bytes:
    return b"".join(
        row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows
    )


def line(number: int, **more: object) -> dict[str, object]:
    return {"custom_id": f"id-{number}", "prompt": f"prompt {number}", **more}


def upload(api: TestClient, *rows: object) -> dict[str, Any]:
    answer = api.post(f"{URL}?model_id={MODEL.id}", content=lines(*rows), headers=JSONL)
    assert answer.status_code == 200, answer.text
    return answer.json()


def results(api: TestClient, batch_id: str) -> list[dict[str, Any]]:
    return [json.loads(row) for row in api.get(f"{URL}/{batch_id}/results").text.splitlines()]


def queued(redis: Redis) -> list[BatchSlice]:
    ids = [raw.decode() for raw in redis.lrange("rq:queue:batch", 0, -1)]
    jobs = [Job.fetch(job_id, connection=redis, serializer=JSONSerializer) for job_id in ids]
    return [BatchSlice.model_validate(job.kwargs["job"]) for job in jobs]


def take(redis: Redis) -> Taken:
    """Pop the first slice in the queue, as a worker does."""
    (work, *_) = queued(redis)
    redis.lpop("rq:queue:batch")
    attempt, _ = TokenLog(redis).begin(work.job_id)
    taken = BatchLog(redis).take(work, attempt, 5000)
    assert taken is not None
    return taken


def finish(redis: Redis, taken: Taken, numbers: list[int] | None = None) -> int:
    chosen = [row for row in taken.lines if numbers is None or row.number in numbers]
    done = [
        LineResult(row.number, row.custom_id, row.model_id, "ok", "stop", Usage(3, 2, 1))
        for row in chosen
    ]
    return BatchLog(redis).write(taken, done, 9000)


def test_an_upload_is_cut_into_slices_of_which_the_first_is_queued(
    api: TestClient, redis: Redis
) -> None:
    made = upload(api, *(line(n) for n in range(70)))
    assert made["status"] == "queued"
    assert made["counts"] == {"total": 70, "done": 0, "failed": 0, "cancelled": 0, "left": 70}
    (work,) = queued(redis)
    stored = [unpack(redis.get(keys.batch_input(made["id"], n)))[0] for n in range(3)]
    assert [len(rows) for rows in stored] == [32, 32, 6]
    assert [row.custom_id for rows in stored for row in rows] == [f"id-{n}" for n in range(70)]
    assert (work.batch_id, work.number) == (made["id"], 0)


def test_a_line_has_its_own_sampling_and_the_rest_a_chat_s_defaults(
    api: TestClient, redis: Redis
) -> None:
    upload(
        api,
        line(1, temperature=0, max_tokens=5, seed=9),
        line(2, messages=None)
        | {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi"},
            ],
            "prompt": None,
        },
    )
    upload(api, line(1, temperature=0, max_tokens=5, seed=9))
    rows = take(redis)
    assert rows.lines[0].sampling.max_tokens == 5
    assert rows.lines[0].sampling.seed == 9
    assert rows.lines[0].sampling.top_p == 0.9


def test_a_bad_line_fails_alone_with_its_id_and_reason(api: TestClient, redis: Redis) -> None:
    made = upload(
        api,
        line(1),
        b"{not json\n",
        line(3, temperature=9),
        {"prompt": "no id"},
        line(5, model_id="none"),
        line(6, messages=[]),
        line(7, stream_options={}),
        line(8),
    )
    assert made["counts"]["total"] == 8
    assert made["counts"]["failed"] == 6
    bad = results(api, made["id"])
    assert [(row["line"], row["custom_id"], row["error"]["code"]) for row in bad] == [
        (2, None, "bad_request"),
        (3, "id-3", "invalid_request"),
        (4, None, "invalid_request"),
        (5, "id-5", "model_not_found"),
        (6, "id-6", "invalid_request"),
        (7, "id-7", "invalid_request"),
    ]
    assert "temperature" in bad[1]["error"]["message"]
    assert finish(redis, take(redis)) == 1
    assert [row["line"] for row in results(api, made["id"])] == list(range(1, 9))
    assert api.get(f"{URL}/{made['id']}").json()["status"] == "completed"


def test_a_batch_of_bad_lines_only_has_ended_when_it_is_accepted(
    api: TestClient, redis: Redis
) -> None:
    made = upload(api, *(b"no\n" for _ in range(200)))
    assert made["status"] == "completed"
    assert made["counts"]["failed"] == 200
    assert len(results(api, made["id"])) == 200
    assert queued(redis) == []


def test_a_custom_id_that_comes_twice_refuses_the_whole_upload(
    api: TestClient, redis: Redis
) -> None:
    answer = api.post(
        f"{URL}?model_id={MODEL.id}",
        content=lines(*(line(n % 40) for n in range(41))),
        headers=JSONL,
    )
    assert answer.status_code == 422
    assert "Line 41 has the custom_id of line 1" in answer.json()["detail"]
    assert not [name for name in redis.keys("mlxq:batch*") if name != b"mlxq:batch-bytes-total"]
    assert int(redis.get(keys.BATCH_BYTES_TOTAL) or 0) == 0
    assert api.get(URL).json() == []


def test_prompts_can_be_sent_as_a_list(api: TestClient, redis: Redis) -> None:
    body = {
        "model_id": MODEL.name,
        "prompts": ["a", [{"role": "user", "content": "b"}], {"custom_id": "c", "prompt": "c"}],
    }
    made = api.post(URL, json=body | {"max_tokens": 7}).json()
    rows = take(redis).lines
    assert [(row.custom_id, row.messages[0].content, row.sampling.max_tokens) for row in rows] == [
        ("1", "a", 7),
        ("2", "b", 7),
        ("c", "c", 7),
    ]
    assert made["model_id"] == MODEL.id
    bad = api.post(URL, json=body | {"temperature": 5})
    assert (bad.status_code, bad.json()["code"]) == (422, "invalid_request")
    streamed = api.post(URL, json=body | {"stream_options": {}})
    assert (streamed.status_code, streamed.json()["detail"]) == (
        422,
        "stream_options: a batch has no streams.",
    )
    assert api.post(URL, json={"model_id": "none", "prompts": ["a"]}).status_code == 404
    assert api.post(URL, json={"model_id": MODEL.id, "prompts": []}).status_code == 422


def test_other_content_is_refused_by_name(api: TestClient) -> None:
    answer = api.post(URL, content=b"{}", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    empty = api.post(URL, content=b"\n\n", headers=JSONL)
    assert (empty.status_code, empty.json()["code"]) == (422, "invalid_request")


def test_a_batch_beyond_the_budget_is_refused_and_leaves_nothing(
    api: TestClient, redis: Redis
) -> None:
    redis.set(keys.BATCH_BYTES_TOTAL, (16 << 20) - 10)
    answer = api.post(f"{URL}?model_id={MODEL.id}", content=lines(line(1)), headers=JSONL)
    assert (answer.status_code, answer.json()["code"]) == (429, "batches_full")
    assert int(redis.get(keys.BATCH_BYTES_TOTAL)) == (16 << 20) - 10


def test_a_result_is_written_once_whoever_writes_it(api: TestClient, redis: Redis) -> None:
    made = upload(api, line(1), line(2))
    first = take(redis)
    assert finish(redis, first, [1]) == 0
    second_attempt, _ = TokenLog(redis).begin(first.slice.job_id)
    second = BatchLog(redis).take(first.slice, second_attempt, 6000)
    assert second is not None
    assert [row.number for row in second.lines] == [2]
    assert finish(redis, first) == -1  # a worker that was frozen meanwhile
    assert api.get(f"{URL}/{made['id']}").json()["counts"]["done"] == 1
    assert finish(redis, second) == 1
    assert finish(redis, second) == 1  # the same write again, after a broken connection
    now = api.get(f"{URL}/{made['id']}").json()
    assert (now["status"], now["counts"]["done"], now["usage"]["completion_tokens"]) == (
        "completed",
        2,
        4,
    )
    for name in (keys.usage("everyone"), keys.usage_day("everyone", 0)):
        assert sums(redis.hgetall(name)) == Sums(2, 6, 4, 2)
    assert not redis.exists(keys.batch_input(made["id"], 0))


def test_cancelling_keeps_finished_lines_and_takes_the_rest_off_the_queue(
    api: TestClient, redis: Redis
) -> None:
    made = upload(api, *(line(n) for n in range(40)))
    taken = take(redis)
    assert finish(redis, taken, [1, 2]) == 0
    now = api.post(f"{URL}/{made['id']}/cancel").json()
    assert now["status"] == "cancelling"
    assert BatchLog(redis).write(taken, [], 9000, cut=True) == 1
    now = api.post(f"{URL}/{made['id']}/cancel").json()
    assert now["status"] == "cancelled"
    assert now["counts"] == {"total": 40, "done": 2, "failed": 0, "cancelled": 38, "left": 0}
    assert len(results(api, made["id"])) == 2
    assert int(redis.hget(keys.BATCH_BYTES, made["id"])) == sum(
        map(len, redis.hvals(keys.batch_output(made["id"], 0)))
    )


def test_a_batch_that_waits_is_cancelled_at_once(api: TestClient, redis: Redis) -> None:
    made = upload(api, *(line(n) for n in range(40)))
    assert api.post(f"{URL}/{made['id']}/cancel").json()["status"] == "cancelled"
    assert queued(redis) == []
    assert int(redis.get(keys.BATCH_BYTES_TOTAL)) == 0


def test_stopping_all_chats_leaves_batches_alone(api: TestClient, redis: Redis) -> None:
    made = upload(api, line(1))
    assert api.post("/api/engine/chat/stop").status_code == 200
    assert len(queued(redis)) == 1
    assert api.get(f"{URL}/{made['id']}").json()["status"] == "queued"


def test_batches_are_listed_newest_first_and_unknown_ones_are_not_found(api: TestClient) -> None:
    first, second = upload(api, line(1)), upload(api, line(1))
    assert {row["id"] for row in api.get(URL).json()} == {first["id"], second["id"]}
    for bad in ("0" * 32, "..", "x"):
        assert api.get(f"{URL}/{bad}/results").status_code == 404
    assert api.post(f"{URL}/{'0' * 32}/cancel").json()["code"] == "batch_not_found"
