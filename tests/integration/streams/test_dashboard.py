"""RQ's dashboard below /rq: it shows jobs in every state, and unpickles nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import httpx2
from rq.job import Job
from rq.serializers import JSONSerializer

from tests.integration.streams.served_api import CHAT, Running, rq_noise
from tests.support.api_support import LIMIT_S, QUEUE


@rq_noise
def test_the_dashboard_shows_jobs_in_every_state(api: Running) -> None:
    states = ("queued", "started", "finished", "failed", "canceled")
    ids = {state: api.chat().job_id for state in states}
    for state in ("started", "finished", "failed"):
        job = Job.fetch(ids[state], connection=api.redis, serializer=JSONSerializer)
        job.set_status(state)
        api.redis.lrem(QUEUE, 1, job.id)
        registry = {"started": "wip"}.get(state, state)
        entry = f"{job.id}:execution" if state == "started" else job.id
        api.redis.zadd(f"rq:{registry}:chat", {entry: time.time() + 600})
    httpx2.post(f"{api.url}{CHAT}/stop", json={"job_id": ids["canceled"]}, timeout=LIMIT_S)
    for page in (
        "queues",
        "workers",
        "jobs",
        "schedulers",
        *(f"jobs?state={state}" for state in states),
    ):
        answer = api.get(f"/rq/{page}")
        assert answer.status_code == 200, (page, answer.text)
        assert "Hello" not in answer.text
        assert '<a href="/status">' in answer.text
        assert len(answer.content) == int(answer.headers["content-length"])
    for job_id in ids.values():
        answer = api.get(f"/rq/job/{job_id}")
        assert answer.status_code == 200
        assert "Hello" not in answer.text
    assert api.get("/rq").status_code in (302, 307)
    assert api.get("/rq/static/css/custom.css").status_code == 200
    assert api.get("/rq/docs").status_code == 404


@rq_noise
def test_nothing_that_a_hostile_writer_puts_into_redis_is_unpickled(
    api: Running, tmp_path: Path
) -> None:
    import pickle

    class Trap:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    job_id = api.chat().job_id
    trap = pickle.dumps(Trap())
    api.redis.hset(f"rq:job:{job_id}", mapping={"data": trap, "result": trap, "meta": trap})
    for path in (f"/rq/job/{job_id}", "/rq/jobs", "/rq/queues"):
        api.get(path)
    httpx2.post(f"{api.url}{CHAT}/stop", json={"job_id": job_id}, timeout=LIMIT_S)
    assert not (tmp_path / "sprung").exists()
