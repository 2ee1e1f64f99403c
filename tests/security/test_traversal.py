"""Paths in the place of names and ids: each is unknown, and no file or folder is opened because of
it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from tests.support.api_support import MODEL, FakeWorker, announce, message
from tests.support.fake_api import fake_api, fake_redis
from wire.messages import ChatJob, Failed, ModelCommand

SECRET = "passwd"
PATHS = (
    f"../../../../etc/{SECRET}",
    f"/etc/{SECRET}",
    f"..\\..\\{SECRET}",
    f"file:///etc/{SECRET}",
    f"~/{SECRET}",
    f"models/../../{SECRET}",
    f"{MODEL.id}/../{SECRET}",
    f"....//....//{SECRET}",
    f"%2e%2e%2f{SECRET}",
)
BY_ADDRESS = (
    "/v1/models/{}",
    "/v1/files/{}",
    "/v1/files/{}/content",
    "/v1/batches/{}",
    "/api/engine/batches/{}",
    "/api/engine/batches/{}/results",
    "/api/engine/jobs/{}",
    "/api/engine/chat/{}/events",
    "/static/{}",
    "/rq/job/{}",
)
_opened: list[str] = []


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir", "subprocess.Popen") and SECRET in repr(args):
        _opened.append(f"{event} {args!r}")


sys.addaudithook(_watch)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    redis = fake_redis()
    announce(redis)

    def unknown(_: ChatJob | ModelCommand) -> Any:
        return (Failed("model_not_found", "There is no such model."),)

    app = fake_api(redis)
    with TestClient(app, follow_redirects=False) as client, FakeWorker(redis, unknown).running():
        yield client


def refused(answer: Any) -> None:
    assert answer.status_code in (400, 404, 422), (answer.status_code, answer.text[:200])
    assert SECRET not in answer.text
    assert "root:" not in answer.text


def test_the_watch_sees_what_is_opened(tmp_path: Any) -> None:
    (tmp_path / SECRET).write_text("seen")
    assert _opened
    _opened.clear()


@pytest.mark.parametrize("path", PATHS)
def test_a_path_in_an_address_is_an_unknown_name(client: TestClient, path: str) -> None:
    for place in BY_ADDRESS:
        for spelt in (path, quote(path, safe=""), quote(quote(path, safe=""), safe="")):
            answer = client.get(place.format(spelt))
            if answer.status_code not in (303, 307):
                refused(answer)
    assert _opened == []


@pytest.mark.parametrize("path", PATHS)
def test_a_path_in_the_place_of_a_models_name_is_an_unknown_model(
    client: TestClient, path: str
) -> None:
    asks: list[tuple[str, dict[str, Any]]] = [
        ("/api/engine/chat", {"model_id": path, "messages": [message()]}),
        ("/v1/chat/completions", {"model": path, "messages": [message()]}),
        ("/v1/completions", {"model": path, "prompt": "a"}),
        ("/api/engine/batches", {"model_id": path, "prompts": ["a"]}),
        (
            "/v1/batches",
            {"input_file_id": path, "endpoint": "/v1/completions", "completion_window": "24h"},
        ),
        *(
            (f"/models/{what}", {"model_id": path})
            for what in ("load", "unload", "delete", "download")
        ),
        ("/models/register", {"name": "mine", "path": path}),
    ]
    for place, body in asks:
        refused(client.post(place, json=body))
    assert client.post("/api/engine/chat/stop", json={"job_id": path}).status_code == 200
    assert _opened == []


@pytest.mark.parametrize("path", PATHS)
def test_a_files_name_is_only_its_last_part(client: TestClient, path: str) -> None:
    answer = client.post("/v1/files", data={"purpose": "batch"}, files={"file": (path, b"{}\n")})
    if answer.status_code == 200:
        stored = answer.json()
        assert "/" not in stored["filename"]
        assert client.get(f"/v1/files/{stored['id']}/content").content == b"{}\n"
    else:
        assert answer.status_code == 400
    assert _opened == []
