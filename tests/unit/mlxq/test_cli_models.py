"""``mlxq pull``, options before the command, ``mlxq help`` and ``mlxq logs``."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from mlxq.commands.models import memory
from mlxq.http_client import Client
from tests.support.cli_support import MODEL, FakeService, mlxq, refusal
from tests.unit.mlxq.test_cli import ended

DOWNLOAD = "POST /api/engine/models/download"
COMING = MODEL | {
    "name": "tiny",
    "repository": "some/tiny",
    "downloaded": False,
    "downloading": True,
}


def pulling(*looks: list[dict[str, object]], answer: object = None) -> FakeService:
    begun = answer or {"status": "downloading", "model_id": "m1", "name": "tiny", "size": 1}
    return FakeService(**{DOWNLOAD: begun, "GET /api/engine/models": iter(looks)})


def test_a_download_is_waited_for_and_its_failure_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxq.commands.models.pulling.POLL_S", 0)
    whole = COMING | {"downloaded": True, "downloading": False}
    for words in (("pull",), ("models", "download")):
        service = pulling([COMING], [], [whole])
        done = mlxq(service, *words, "some/tiny")
        assert done.stdout == "tiny is here: `mlxq run tiny` talks to it.\n", done.output
        assert service.sent("/api/engine/models/download") == [{"model_id": "some/tiny"}]
    vectors = whole | {"capabilities": ["embeddings", "rerank"]}
    done = mlxq(pulling([COMING], [], [vectors]), "pull", "some/tiny")
    assert "tiny is here: `mlxq embed --model tiny TEXT` makes vectors" in done.stdout
    homeless = whole | {"problem": "The adapter can't be used: its base model Qwen is not here."}
    done = mlxq(pulling([COMING], [homeless]), "pull", "some/tiny")
    assert (
        "tiny is here: The adapter can't be used: its base model Qwen is not here.\n" in done.stdout
    )
    failed = COMING | {"downloading": False, "download_error": "The disk is full."}
    assert "tiny was not downloaded: The disk is full\n" in ended(
        1, pulling([COMING], [failed]), "pull", "some/tiny"
    )


def test_what_is_here_or_under_way_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxq.commands.models.pulling.POLL_S", 0)
    whole = COMING | {"downloaded": True, "downloading": False}
    refused = refusal(409, "conflict", "tiny is here already.")
    shown = mlxq(pulling([whole], answer=refused), "pull", "some/tiny")
    assert (shown.exit_code, shown.stdout) == (0, "tiny is here already.\n")
    shown = mlxq(pulling([COMING], [COMING], [whole], answer=refused), "pull", "some/tiny")
    assert shown.stdout.startswith("tiny is here: ")
    gone = refusal(502, "hub_unreachable", "There is no connection to the model hub.")
    assert "no connection" in ended(1, pulling(answer=gone), "pull", "some/tiny")


def test_a_download_can_be_cancelled() -> None:
    service = FakeService(
        **{
            "GET /api/engine/models": [COMING],
            "POST /api/engine/models/download/cancel": {"status": "cancelled", "model_id": "m1"},
        }
    )
    assert "`mlxq pull some/tiny` resumes" in mlxq(service, "pull", "some/tiny", "--cancel").stdout
    assert service.sent("/api/engine/models/download/cancel") == [{"model_id": "m1"}]
    assert "not being downloaded" in ended(1, service, "pull", "other/one", "--cancel")


def test_url_and_key_stand_before_or_behind_the_command() -> None:
    options = ("--url", "http://127.0.0.1:9", "--key", "mine")
    for words in ((*options, "list"), ("list", *options), (*options, "models", "list")):
        service = FakeService()
        assert mlxq(service, *words).exit_code == 0
        [request] = service.requests
        assert (request.url.port, request.headers["Authorization"]) == (9, "Bearer mine")


def test_help_and_version_need_no_service() -> None:
    assert "Commands:" in mlxq(FakeService(), "help").output
    assert mlxq(FakeService(), "help", "pull").stdout.startswith("Usage: mlxq pull")
    shown = mlxq(FakeService(), "help", "models", "load").stdout
    assert shown.startswith("Usage: mlxq models load")
    assert "no command 'nope'" in ended(2, FakeService(), "help", "nope")
    assert re.match(r"\d+\.\d+\.\d+", mlxq(FakeService(), "--version").stdout)


def test_logs_are_shown_with_their_files(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    file = tmp_path / "logs" / "worker.log"
    file.write_text("".join(f"line {number}\n" for number in range(9)))
    shown = mlxq(FakeService(), "logs", "--data", str(tmp_path), "-n", "2").stdout
    assert shown == f"==> {file} <==\nline 7\nline 8\n"
    assert "--data" in ended(1, FakeService(), "logs", "--data", str(tmp_path / "none"))


def test_cached_prompts_are_shown_and_deleted() -> None:
    use = {
        "folder": "/data/prompt-cache",
        "bytes": 5 << 20,
        "cap_bytes": 4_000_000_000,
        "entries": 2,
        "hits": 3,
        "bytes_read": 1 << 20,
        "bytes_written": 9 << 20,
        "problem": "",
    }
    workers = [{"name": "a.1", "disk_cache": use}, {"name": "b.1", "disk_cache": None}]
    cleared = {"status": "deleted", "workers": 2}
    service = FakeService(
        **{
            "GET /api/engine/status": {"workers": workers},
            "DELETE /api/engine/prompt-cache": cleared,
        }
    )
    shown = mlxq(service, "cache").stdout
    assert "/data/prompt-cache" in shown
    assert len(shown.splitlines()) == 2
    assert mlxq(service, "cache", "--clear").stdout == "Deleted the cached prompts of 2 workers.\n"
    off = FakeService(**{"GET /api/engine/status": {"workers": workers[1:]}})
    assert mlxq(off, "cache").stdout == "No worker keeps prompts on disk.\n"


def test_a_model_is_pinned_as_it_is_loaded_and_unpinned_by_its_name() -> None:
    answers = {"load": {"status": "loaded", "model_id": "m1"}, "unpin": {"status": "unpinned"}}
    service = FakeService(
        **{
            "GET /api/engine/models": [MODEL | {"pinned": True, "load_progress": 41.6}],
            **{f"POST /api/engine/models/{name}": answer for name, answer in answers.items()},
        }
    )
    assert mlxq(service, "load", "Tiny", "--pin").stdout == "Loaded Tiny; it is pinned.\n"
    body = {"model_id": "m1", "kv_quantization": None, "pin": True}
    assert service.sent("/api/engine/models/load") == [body]
    assert "loading, 42 %, loaded, pinned" in mlxq(service, "list").stdout
    assert mlxq(service, "unpin", "Tiny").stdout == "Tiny is not pinned.\n"
    assert service.sent("/api/engine/models/unpin") == [{"model_id": "m1"}]


def test_a_load_that_is_waited_for_tells_how_much_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LOOK_S", 0)
    shares = (None, 41.6, 100.0)
    looks = iter([[MODEL | {"size": 3 << 20, "load_progress": share}] for share in shares])
    ended = threading.Event()
    shown: list[tuple[float, str]] = []

    def show(percent: float, words: str) -> None:
        shown.append((percent, words))
        if percent == 100:
            ended.set()

    service = FakeService(**{"GET /api/engine/models": looks})
    with Client("http://127.0.0.1:9", service) as client:
        memory._look(client, "m1", show, ended)
    assert shown == [(41.6, "of 3.0 MiB read"), (100.0, "getting ready")]
