"""The command line: quick to start, one line for every mistake, JSON for programs, and the requests
that it sends."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import httpx2
import pytest
import typer
from typer.testing import CliRunner

from mlxq.cli import app
from tests.support.cli_support import MODEL, FakeService, mlxq, refusal
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
SLOW = {
    "rich",
    "httpx2",
    "pydantic",
    "fastapi",
    "redis",
    "rq",
    "psutil",
    "mlx",
    "worker",
    "asyncio",
    "ssl",
}
GROUP = typer.main.get_command(app)
COMMANDS = sorted(GROUP.commands)  # type: ignore[attr-defined]
MODEL_COMMANDS = sorted(GROUP.commands["models"].commands)  # type: ignore[attr-defined]
STATUS = {
    "queues": {"chat": 3, "batch": 0},
    "queue_limit": 9,
    "running_total": 1,
    "running": [
        {
            "job_id": "j1",
            "model_id": "m1",
            "model": "Tiny",
            "tokens": 12,
            "tokens_per_second": 31.25,
            "ttft_ms": 150.0,
            "elapsed_ms": 64_000.0,
            "worker": "w1",
        }
    ],
    "models": [
        {"id": "m1", "name": "Tiny", "kv_quantization": 4, "bytes": 5 << 30, "worker": "w1"}
    ],
    "memory": [],
    "workers": [
        {
            "name": "w1",
            "host": "here",
            "running_total": 1,
            "slots": 4,
            "draining": True,
            "memory": {"percent": 50.4, "mlx_bytes": 6 << 30},
        }
    ],
}

BATCH = {
    "id": "b1",
    "status": "running",
    "model_id": "m1",
    "counts": {"total": 10, "done": 7, "failed": 1, "left": 2},
    "created_at": 1.0,
    "tokens_per_second": 99.4,
    "seconds_left": 65.0,
}


def ended(code: int, service: httpx2.BaseTransport, *arguments: str, stdin: str = "") -> str:
    """The output of a command that fails: one line, without a traceback."""
    result = mlxq(service, *arguments, stdin=stdin)
    assert result.exit_code == code, result.output
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("mlxq: ")
    return result.stderr


def test_help_and_completion_import_nothing_slow() -> None:
    script = (
        "import sys\nfrom mlxq.cli import app\n"
        "try:\n    app(['--help'], prog_name='mlxq')\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "models" in done.stdout
    assert SLOW & set(done.stderr.split()) == set()


@pytest.mark.parametrize("command", [*COMMANDS, *(f"models {name}" for name in MODEL_COMMANDS)])
def test_every_command_explains_itself_prints_json_and_is_in_the_docs(command: str) -> None:
    assert f"`mlxq {command}" in PAGE
    if command == "serve":  # Its help is that of the settings.
        return
    shown = CliRunner().invoke(app, [*command.split(), "--help"], prog_name="mlxq")
    assert shown.exit_code == 0
    if command in ("help", "logs"):  # They ask no service.
        return
    for option in ("--json", "--url", "--key"):
        assert option in shown.stdout


@pytest.mark.parametrize(
    ("words", "expected"), [("mlxq sta", "status"), ("mlxq models unl", "unload")]
)
def test_a_shell_completes_commands(words: str, expected: str) -> None:
    environ = {
        "_MLXQ_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    result = CliRunner(env=environ).invoke(app, prog_name="mlxq")
    assert result.stdout.split() == [expected]


def test_a_shell_completes_names_of_models() -> None:
    environ = {
        "_MLXQ_COMPLETE": "complete_bash",
        "COMP_WORDS": "mlxq models load ",
        "COMP_CWORD": "3",
    }
    result = CliRunner(env=environ).invoke(app, prog_name="mlxq", obj=FakeService())
    assert result.stdout.split() == ["Tiny"]


def unreachable(_: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("refused")


@pytest.mark.parametrize(
    "command", ["ps", "status", "models", "stop --all", "chat hi", "models load x"]
)
def test_without_a_service_each_command_says_how_to_start_one(command: str) -> None:
    output = ended(3, httpx2.MockTransport(unreachable), *command.split())
    assert "mlxq serve" in output
    assert "http://127.0.0.1:8000" in output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frob"], "No such command 'frob'"),
        (["ps", "--frob"], "No such option: --frob"),
        (["models", "load"], "Missing argument 'model'"),
        (["models", "--json", "load", "x"], "after `mlxq models load`"),
        (["stop"], "--all"),
        (["stop", "j1", "--all"], "--all"),
        (["ps", "--url", "ftp://x"], "is not the address of a service"),
        (["ps", "--url", "http://x:99999"], "is not the address of a service"),
        (["chat", "hi", "--image", "nowhere.png"], "cannot read the image nowhere.png"),
        (["chat", "hi", "--image", __file__], "not a PNG, JPEG, WebP or GIF"),
        (["chat"], "the prompt is empty"),
    ],
)
def test_wrong_use_is_one_line_and_nothing_is_sent(arguments: list[str], says: str) -> None:
    service = FakeService()
    assert says in ended(2, service, *arguments)
    assert service.requests == []


def test_an_unknown_model_is_refused_with_where_to_look() -> None:
    service = FakeService()
    assert "`mlxq list` lists those there are" in ended(1, service, "chat", "hi", "-m", "nope")
    for words in (("run", "tinny", "hi"), ("load", "tinny"), ("show", "tinny"), ("rm", "tinny")):
        assert "there is no model 'tinny' (did you mean 'Tiny'?)" in ended(1, service, *words)
    assert "`mlxq pull smollm2` gets it" in ended(1, service, "run", "smollm2", "hi")
    assert service.sent("/api/engine/chat") == []
    assert "Did you mean 'models'" in ended(2, service, "modles")


def test_a_refusal_names_the_wrong_field_and_when_to_come_back() -> None:
    body = {
        "detail": "The request is not valid.",
        "code": "invalid_request",
        "errors": ["body -> seed: too small"],
    }
    service = FakeService(**{"POST /api/engine/chat": httpx2.Response(422, json=body)})
    assert "body -> seed: too small" in ended(1, service, "chat", "hi", "--seed", "-1")
    full = refusal(429, "queue_full", "The queue is full.", **{"Retry-After": "7"})
    assert "try again in 7 s" in ended(
        1, FakeService(**{"POST /api/engine/chat": full}), "chat", "hi"
    )


@pytest.mark.parametrize(
    "answer", [httpx2.Response(200, text="<html>"), httpx2.Response(404, text="what?")]
)
def test_another_program_at_the_address_is_recognised(answer: httpx2.Response) -> None:
    assert "is not this service" in ended(
        3, FakeService(**{"GET /api/engine/models": answer}), "models"
    )


def test_a_connection_that_breaks_in_an_answer_is_one_line() -> None:
    def broken(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("late")

    assert "was lost" in ended(3, FakeService(**{"GET /api/engine/models": broken}), "models")


def test_the_key_is_sent_and_a_missing_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = refusal(401, "unauthorized", "A key is needed.")
    assert "MLXQ_API_KEY" in ended(1, FakeService(**{"GET /api/engine/models": wanted}), "models")
    service = FakeService()
    monkeypatch.setenv("MLXQ_API_KEY", "secret")
    assert CliRunner().invoke(app, ["models"], obj=service).exit_code == 0
    assert service.requests[0].headers["Authorization"] == "Bearer secret"


def test_ps_and_status_show_what_runs_and_what_waits() -> None:
    batches = [BATCH, BATCH | {"id": "b2", "status": "completed"}]
    answers = {
        "GET /api/engine/status": STATUS,
        "GET /ready": {"status": "ready"},
        "GET /api/engine/batches": batches,
    }
    service = FakeService(**answers)
    shown = mlxq(service, "ps").stdout
    assert re.search(r"j1 +Tiny +12 +31\.2 +0\.1 s +1 min 04 s", shown)
    assert re.search(r"b1 +running +Tiny +7 +1 +10 +99 +1 min 05 s", shown)
    assert "1 chat running, 3 waiting; 1 batch." in shown
    assert json.loads(mlxq(service, "ps", "--json").stdout)["running"] == STATUS["running"]
    shown = mlxq(service, "status").stdout
    assert re.search(r"w1 +here +1 +4 +50 % +6\.0 GiB +draining", shown)
    assert re.search(r"Tiny +5\.0 GiB +4 +w1", shown)
    assert json.loads(mlxq(service, "status", "--json").stdout)["ready"] is True


def test_status_fails_with_the_reason_when_chats_would_not_be_served() -> None:
    no_worker = refusal(503, "no_worker", "No worker is running.")
    service = FakeService(**{"GET /api/engine/status": STATUS, "GET /ready": no_worker})
    result = mlxq(service, "status")
    assert result.exit_code == 1
    assert "not ready: No worker is running" in result.stderr


def test_stop_ends_one_chat_or_all_and_says_when_there_is_no_such_chat() -> None:
    view = {"job_id": "j1", "state": "running"}
    service = FakeService(
        **{"GET /api/engine/jobs/j1": view, "POST /api/engine/chat/stop": {"status": "stopped"}}
    )
    assert mlxq(service, "stop", "j1").stdout == "Stopped j1.\n"
    assert mlxq(service, "stop", "--all").exit_code == 0
    assert service.sent("/api/engine/chat/stop") == [{"job_id": "j1"}, None]
    unknown = FakeService(
        **{"GET /api/engine/jobs/j2": refusal(404, "job_not_found", "There is no such job.")}
    )
    assert "neither a chat nor a batch j2" in ended(1, unknown, "stop", "j2")


def test_models_are_listed_and_commands_are_passed_on() -> None:
    row = MODEL | {"default": True, "repository": None, "sampling_defaults": {"top_k": 20}}
    service = FakeService(
        **{
            "GET /api/engine/models": [row],
            "POST /api/engine/models/load": {"status": "loaded", "model_id": "m1"},
            "POST /api/engine/models/unload": {"status": "unloaded", "models": ["m1"]},
            "POST /api/engine/models/scan": {"models": 2},
            "POST /api/engine/models/delete": {"status": "deleted", "model_id": "m1"},
        }
    )
    for words in (("list",), ("models",), ("models", "list")):
        shown = mlxq(service, *words).stdout
        assert re.search(r"Tiny +3\.0 MiB +2,048 +no +loaded, default", shown)
        assert "m1" not in shown
    assert json.loads(mlxq(service, "models", "list", "--json").stdout) == [row]
    for words in (("load",), ("models", "load")):
        assert mlxq(service, *words, "Tiny", "--kv", "4").stdout == "Loaded Tiny.\n"
    assert service.sent("/api/engine/models/load")[0] == {"model_id": "m1", "kv_quantization": 4}
    assert mlxq(service, "load", "m1", "--draft", "Tiny").stdout == "Loaded Tiny.\n"
    assert service.sent("/api/engine/models/load")[2]["draft_model"] == "m1"
    reply = json.loads(mlxq(service, "unload", "--json").stdout)
    assert (reply["models"], reply["names"]) == (["m1"], ["Tiny"])
    assert mlxq(service, "unload", "m1").stdout == "Unloaded Tiny.\n"
    assert mlxq(service, "rm", "m1").stdout == "Deleted Tiny.\n"
    assert json.loads(mlxq(service, "models", "scan", "--json").stdout) == {"models": 2}
    shown = mlxq(service, "show", "Tiny").stdout
    assert re.search(r"Name +Tiny\n", shown)
    assert re.search(r"Sampling +top_k 20\n", shown)
    assert re.search(r"Context +2,048 tokens\n", shown)


def test_what_a_server_says_cannot_steer_the_terminal() -> None:
    service = FakeService(**{"GET /api/engine/models": [MODEL | {"name": "\x1b[2Jevil\x07"}]})
    assert "\x1b" not in mlxq(service, "models").stdout
