"""What RQ's command line and dashboards show of our jobs."""

from __future__ import annotations

import re

import pytest
from rq.serializers import JSONSerializer

from tests.integration.rq_tools.rq_service import CANARY, busy, rq
from tests.support.service_support import RunningService, wait
from wire import keys
from wire.rq_jobs import rq_job_key
from worker.backends.echo import BAD_PROMPT

# The dashboards use a deprecated property of RQ's jobs.
rq_noise = pytest.mark.filterwarnings("ignore:job.exc_info is deprecated:DeprecationWarning")


def test_rqs_pages_tell_jobs_apart_and_how_they_get_on(service: RunningService) -> None:
    with busy(service) as streams:
        queued = service.http.chat(CANARY)
        running = service.job(streams[0].job_id)
        assert running.description.startswith("demo-chat for everyone")
        of = r"demo-chat for everyone \[running, \d+ tokens, [\d.]+ tokens/s\]"
        wait(lambda: re.fullmatch(of, service.job(running.id).description))
        # Its first words in RQ are said when it is taken up, before it has a token.
        meta = wait(lambda: (meta := service.job(running.id).get_meta()).get("tokens") and meta)
        assert meta["state"] == "running"
        wait(lambda: service.job(running.id).get_meta()["tokens_per_second"] > 0)
        wait(lambda: service.job(queued.job_id).get_meta() == {"state": "queued", "place": 1})
        info = rq(service, "info")
        assert "1 workers" in info
    queued.rest()
    ended = wait(
        lambda: (meta := service.job(queued.job_id).get_meta())["state"] == "ended" and meta
    )
    assert ended["finish_reason"] == "length"
    words = f"[ended: length, {ended['tokens']} tokens]"
    assert service.job(queued.job_id).description == f"demo-chat for everyone {words}"


def test_of_an_ended_chat_rq_keeps_no_prompt_and_no_result(service: RunningService) -> None:
    stream = service.http.chat(CANARY * 100, max_tokens=2)
    stream.rest()
    wait(lambda: service.job(stream.job_id).get_status() == "finished")
    name = rq_job_key(stream.job_id)
    assert service.redis.memory_usage(name) < 700
    assert CANARY not in str(service.job(stream.job_id).kwargs)
    assert not service.redis.exists(f"rq:results:{stream.job_id}", f"rq:executions:{stream.job_id}")
    assert 0 < service.redis.ttl(name) <= keys.RQ_LIFETIME_S


def in_every_state(service: RunningService) -> dict[str, str]:
    """A job in each state, by RQ's name for the state."""
    finished, failed = service.http.chat("fine", max_tokens=1), service.http.chat(BAD_PROMPT)
    finished.rest()
    failed.rest()
    stopped = service.http.chat("stopped", max_tokens=3000)
    stopped.until(1)
    service.http.call("POST", "/api/engine/chat/stop", {"job_id": stopped.job_id})
    stopped.rest()
    return {"finished": finished.job_id, "failed": failed.job_id, "stopped": stopped.job_id}


def wait_for_status(service: RunningService, job_id: str, status: str) -> None:
    wait(lambda: service.job(job_id).get_status() == status)


def test_the_fast_dashboard_shows_jobs_in_every_state(service: RunningService) -> None:
    jobs = in_every_state(service)
    with busy(service) as streams:
        cancelled = service.http.chat("cancelled")
        service.job(cancelled.job_id).cancel()
        cancelled.rest()
        jobs |= {"started": streams[0].job_id, "canceled": cancelled.job_id}
        for status, job_id in jobs.items():
            wait_for_status(service, job_id, status)
        pages = [
            "/rq/workers",
            "/rq/jobs",
            "/rq/queues",
            *(f"/rq/job/{job_id}" for job_id in jobs.values()),
        ]
        for path in [*pages, *(f"/rq/jobs?state={status}" for status in jobs)]:
            code, page = service.http.raw("GET", path)
            assert code == 200, path
            assert b"Traceback (most" not in page, path


@rq_noise
def test_the_classic_dashboard_shows_jobs_in_every_state(service: RunningService) -> None:
    flask = pytest.importorskip("flask")
    web = pytest.importorskip("rq_dashboard")
    jobs = in_every_state(service)
    web.web.config.serializer = JSONSerializer  # rq-dashboard --json
    app = flask.Flask("classic")
    app.config.from_object(web.default_settings)
    app.config["RQ_DASHBOARD_REDIS_URL"] = service.redis_url
    web.web.setup_rq_connection(app)
    app.register_blueprint(web.blueprint, url_prefix="/rq")
    client = app.test_client()
    with busy(service) as streams:
        jobs["started"] = streams[0].job_id
        for status in ("queued", "started", "finished", "failed"):
            answer_ = client.get(f"/rq/0/data/jobs/chat/{status}/8/asc/1.json")
            assert answer_.status_code == 200, (status, answer_.text)
        for job_id in jobs.values():
            answer_ = client.get(f"/rq/0/data/job/{job_id}.json")
            assert answer_.status_code == 200, answer_.text
        assert client.get("/rq/0/data/queues.json").status_code == 200
    # While a job runs this page reads its arguments with pickle, whatever its configuration.
    wait(lambda: client.get("/rq/0/data/workers.json").status_code == 200)
