"""A Redis that refuses commands: which refusals pass, what clients get, and what is logged."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from fakeredis import FakeAsyncRedis, FakeRedis
from redis._parsers.base import BaseParser
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    RedisError,
    ResponseError,
)
from starlette.testclient import TestClient

from api import errors
from api.app import create_app
from api.jobs.queue import JobQueue
from api.redis_client import Clients
from tests.support.api_support import announce, chat_body
from tests.support.fake_api import fake_redis, server_of
from wire.redis_refusals import kind
from wire.settings import Settings

REPLIES = {
    "MISCONF": "MISCONF Errors writing to the AOF file: No space left on device",
    "OOM": "OOM command not allowed when used memory > 'maxmemory'.",
    "READONLY": "READONLY You can't write against a read only replica.",
    "NOREPLICAS": "NOREPLICAS Not enough good replicas to write.",
    "NOPERM": "NOPERM No permissions to access a key",
    "CLUSTERDOWN": "CLUSTERDOWN The cluster is down",
    "TRYAGAIN": "TRYAGAIN Multiple keys request during rehashing of slot",
    "BUSY": "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "MASTERDOWN": "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "LOADING": "LOADING Redis is loading the dataset in memory",
    "NOAUTH": "NOAUTH Authentication required.",
    "WRONGPASS": "WRONGPASS invalid username-password pair or user is disabled.",
}


def refusal(text: str) -> RedisError:
    """The exception that redis-py raises for a server's reply."""
    error: RedisError = BaseParser.parse_error(text)
    return error


def in_a_pipeline(error: RedisError) -> RedisError:
    error.args = (
        f"Command # 1 (SET a caused error: MISCONF canary) of pipeline caused error: {error.args[0]}",
    )
    return error


@pytest.mark.parametrize("name", REPLIES)
def test_a_refusal_that_passes_is_a_503_that_says_when_to_come_back(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    for error in (refusal(REPLIES[name]), in_a_pipeline(refusal(REPLIES[name]))):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            refused = errors.from_redis(error)
        assert refused.code == ("redis_full" if name in ("MISCONF", "OOM") else "redis_unavailable")
        assert errors.STATUS[refused.code] == 503
        assert refused.retry_after
        assert caplog.messages == [f"Redis refuses commands: {name}"]
        assert "canary" not in caplog.text


@pytest.mark.parametrize("name", ["MISCONF", "READONLY", "NOREPLICAS", "OOM"])
def test_older_servers_say_it_inside_of_a_scripts_error(name: str) -> None:
    reply = f"ERR Error running script (call to f_0123): @user_script:1: @user_script: 1: -{REPLIES[name]}"
    assert kind(refusal(reply)) == name


@pytest.mark.parametrize(
    "reply",
    ["WRONGTYPE Operation against a key holding the wrong kind of value", "ERR unknown command 'X'", "ERR -5", "",
     "ERR Error running script: @user_script:1: READONLYX"],
)  # fmt: skip
def test_any_other_refusal_is_a_fault_of_ours(reply: str) -> None:
    for error in (refusal(reply), in_a_pipeline(refusal(reply))):
        assert kind(error) == "ResponseError"
        assert errors.from_redis(error).code == "internal_error"


@pytest.mark.parametrize(
    "error", [ConnectionError("nobody there"), ConnectionError("MISCONFigured"), ResponseError()]
)
def test_what_is_no_refusal_keeps_its_own_name(error: RedisError) -> None:
    assert kind(error) == type(error).__name__


def test_a_server_that_loads_or_wants_a_password_is_not_there_yet() -> None:
    for name, expected in (("LOADING", BusyLoadingError), ("NOAUTH", AuthenticationError)):
        assert isinstance(refusal(REPLIES[name]), expected)


@pytest.fixture
def redis() -> FakeRedis:
    redis = fake_redis()
    announce(redis)
    return redis


class Refusing(FakeAsyncRedis):
    """Answers reads and refuses writes."""

    reply = ""

    async def execute_command(self, *args: object, **options: object) -> object:
        if self.reply and args[0] == "SET":
            raise refusal(self.reply)
        return await super().execute_command(*args, **options)


@pytest.fixture
def client(redis: FakeRedis) -> Iterator[TestClient]:
    waiting = Refusing(server=server_of(redis))
    with TestClient(create_app(Settings(), Clients(waiting, redis))) as client:
        yield client


@pytest.mark.parametrize("name", REPLIES)
def test_ready_is_not_ready_while_nothing_can_be_written(
    client: TestClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/ready").status_code == 200
    monkeypatch.setattr(Refusing, "reply", REPLIES[name])
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["code"] == (
        "redis_full" if name in ("MISCONF", "OOM") else "redis_unavailable"
    )
    assert int(answer.headers["retry-after"]) > 0
    monkeypatch.setattr(Refusing, "reply", "")
    assert client.get("/ready").status_code == 200


def test_a_chat_that_cannot_be_queued_says_why(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = client.app.state.services[JobQueue]  # type: ignore[attr-defined]

    def refused(*_: object) -> str:
        raise in_a_pipeline(refusal(REPLIES["MISCONF"]))

    monkeypatch.setattr(jobs, "_submit_chats", refused)
    for path, field in (("/api/engine/chat", "model_id"), ("/v1/chat/completions", "model")):
        body = {field: "model-1", "messages": chat_body()["messages"]}
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert "redis_full" in answer.text
