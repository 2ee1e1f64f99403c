"""``mlxq batch``: every prompt gets one result, whatever is interrupted; what can't be sent is
named with its line."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mlxq.commands.batch_files import Results, Ticket
from tests.support.cli_support import FakeService, mlxq, refusal

BATCHES = "/api/engine/batches"
HERE = "http://127.0.0.1:8000"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxq.commands.batch_run.POLL_S", 0)


class FakeBatches(FakeService):
    """Batches that finish ``step`` lines each time they are polled. A prompt "fail" fails; ``b1``
    is the first id."""

    def __init__(self, step: int = 2) -> None:
        super().__init__()
        self.step = step
        self.lines: dict[str, list[dict[str, Any]]] = {}
        self.done: dict[str, int] = {}
        self.status: dict[str, str] = {}
        self.on_poll: Any = lambda: None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        if not path.startswith(BATCHES):
            return super().handle_request(request)
        request.read()
        self.requests.append(request)
        if path == BATCHES and request.method == "POST":
            batch_id = f"b{len(self.lines) + 1}"
            self.lines[batch_id] = [json.loads(line) for line in request.content.splitlines()]
            self.done[batch_id], self.status[batch_id] = 0, "running"
            return httpx2.Response(200, json=self._view(batch_id))
        if path == BATCHES:
            return httpx2.Response(200, json=[self._view(batch_id) for batch_id in self.lines])
        batch_id, _, what = path.removeprefix(BATCHES + "/").partition("/")
        if batch_id not in self.lines:
            return refusal(404, "batch_not_found", "There is no such batch.")
        return self._one(batch_id, what)

    def _one(self, batch_id: str, what: str) -> httpx2.Response:
        if what == "results":
            rows = [
                self._result(n, row)
                for n, row in enumerate(self.lines[batch_id][: self.done[batch_id]], 1)
            ]
            return httpx2.Response(200, text="".join(json.dumps(row) + "\n" for row in rows))
        if what == "cancel":
            self.status[batch_id] = "cancelled"
        elif self.status[batch_id] == "running":
            self.on_poll()
            self.done[batch_id] = min(self.done[batch_id] + self.step, len(self.lines[batch_id]))
            if self.done[batch_id] == len(self.lines[batch_id]):
                self.status[batch_id] = "completed"
        return httpx2.Response(200, json=self._view(batch_id))

    def _result(self, number: int, row: dict[str, Any]) -> dict[str, Any]:
        result = {"custom_id": row["custom_id"], "line": number}
        if row.get("prompt") == "fail":
            return result | {"error": {"code": "prompt_too_long", "message": "It is too long."}}
        return result | {
            "model_id": "m1",
            "text": f"to {row['prompt']}",
            "finish_reason": "stop",
            "usage": {},
        }

    def _view(self, batch_id: str) -> dict[str, Any]:
        failed = sum(
            row.get("prompt") == "fail" for row in self.lines[batch_id][: self.done[batch_id]]
        )
        total, done = len(self.lines[batch_id]), self.done[batch_id] - failed
        counts = {
            "total": total,
            "done": done,
            "failed": failed,
            "cancelled": 0,
            "left": total - done - failed,
        }
        times = {"created_at": 1.0, "tokens_per_second": 20.0, "seconds_left": 61.0}
        return {
            "id": batch_id,
            "status": self.status[batch_id],
            "model_id": "m1",
            "counts": counts,
        } | times


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Path]:
    """A folder with five prompts in it."""
    write(tmp_path, *({"custom_id": f"id{n}", "prompt": f"p{n}"} for n in range(5)))
    yield tmp_path
    assert not (tmp_path / "out.jsonl.new").exists()


def write(folder: Path, *rows: dict[str, Any]) -> None:
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(service: httpx2.BaseTransport, folder: Path, *more: str) -> Any:
    return mlxq(service, "batch", str(folder / "in.jsonl"), "-o", str(folder / "out.jsonl"), *more)


def output(folder: Path) -> dict[str, Any]:
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert len({row["custom_id"] for row in rows}) == len(rows)
    return {row["custom_id"]: row.get("text", "error") for row in rows}


ALL = {f"id{n}": f"to p{n}" for n in range(5)}


def test_every_prompt_gets_its_result_and_nothing_else_is_left_behind(files: Path) -> None:
    service = FakeBatches()
    result = run(service, files)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "5 prompts: 5 done, 0 failed, 0 left." in result.stdout
    assert output(files) == ALL
    assert sorted(path.name for path in files.iterdir()) == ["in.jsonl", "out.jsonl"]
    assert service.requests[1].url.params["model_id"] == "m1"


def test_run_again_it_sends_only_what_has_no_result(files: Path) -> None:
    service = FakeBatches()
    run(service, files)
    assert run(service, files).exit_code == 0
    assert len(service.lines) == 1
    with (files / "in.jsonl").open("a") as more:
        more.write('{"custom_id": "new", "prompt": "p9", "model_id": "m7"}\n')
    assert run(service, files).exit_code == 0
    assert [row["custom_id"] for row in service.lines["b2"]] == ["new"]
    assert output(files) == ALL | {"new": "to p9"}


def test_a_command_that_was_killed_comes_back_to_its_batch(files: Path) -> None:
    service = FakeBatches()

    class Killed(Exception):
        """In place of a power cut."""

    def kill() -> None:
        if service.done["b1"]:
            raise Killed

    service.on_poll = kill
    assert isinstance(run(service, files).exception, Killed)
    with (files / "out.jsonl").open("a") as half:
        half.write('{"custom_id": "id4", "te')
    service.on_poll = lambda: None
    assert run(service, files).exit_code == 0
    assert len(service.lines) == 1
    assert output(files) == ALL


def test_ctrl_c_leaves_the_batch_running_and_says_how_to_come_back(files: Path) -> None:
    service = FakeBatches()
    service.on_poll = lambda: os.kill(os.getpid(), signal.SIGINT)
    result = run(service, files)
    assert result.exit_code == 130
    assert re.search(
        r"The batch goes on\..*Come back with `mlxq batch .*in\.jsonl -o .*out\.jsonl`",
        result.stderr,
    )
    assert service.status == {"b1": "running"}
    assert len(output(files)) == 2
    service.on_poll = lambda: None
    assert run(service, files).exit_code == 0
    assert output(files) == ALL
    assert len(service.lines) == 1


def test_cancel_ends_the_batch_and_keeps_what_is_there(files: Path) -> None:
    service = FakeBatches()
    service.on_poll = lambda: os.kill(os.getpid(), signal.SIGINT)
    run(service, files)
    result = run(service, files, "--cancel")
    assert result.exit_code == 0
    assert "2 done, 0 failed, 3 left" in result.stdout
    assert service.status == {"b1": "cancelled"}
    assert "no batch runs for" in run(service, files, "--cancel").stderr


def test_failed_lines_are_reported_and_sent_again_on_demand(files: Path) -> None:
    write(files, {"custom_id": "good", "prompt": "p"}, {"custom_id": "bad", "prompt": "fail"})
    service = FakeBatches()
    result = run(service, files)
    assert result.exit_code == 1
    assert "--retry-failed" in result.stderr
    assert output(files) == {"good": "to p", "bad": "error"}
    assert run(service, files).exit_code == 1
    assert len(service.lines) == 1
    write(files, {"custom_id": "good", "prompt": "p"}, {"custom_id": "bad", "prompt": "mended"})
    assert run(service, files, "--retry-failed").exit_code == 0
    assert [row["custom_id"] for row in service.lines["b2"]] == ["bad"]
    assert output(files) == {"good": "to p", "bad": "to mended"}


def test_prompts_without_an_id_are_known_by_their_line(files: Path) -> None:
    (files / "in.jsonl").write_text('{"prompt": "a"}\n\n{"prompt": "b", "seed": 7}')
    service = FakeBatches()
    assert run(service, files).exit_code == 0
    assert output(files) == {"line-1": "to a", "line-3": "to b"}
    assert service.lines["b1"][1] == {"custom_id": "line-3", "prompt": "b", "seed": 7}


def test_a_batch_whose_time_was_over_is_sent_anew(files: Path) -> None:
    Ticket(files / "out.jsonl").write(HERE, "gone")
    service = FakeBatches()
    assert run(service, files).exit_code == 0
    assert output(files) == ALL


def test_an_interrupted_service_is_waited_for(files: Path) -> None:
    service = FakeBatches()
    failures = iter([httpx2.ConnectError("refused"), httpx2.ReadError("gone"), None, None, None])

    def fail() -> None:
        if (failure := next(failures)) is not None:
            raise failure

    service.on_poll = fail
    assert run(service, files).exit_code == 0
    assert output(files) == ALL


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"custom_id": "a", "prompt": "x"}\n{"custom_id"', "in.jsonl, line 2 is not JSON"),
        ('["prompt"]', "line 1 is not a prompt"),
        ('{"custom_id": "a"}', "line 1 is not a prompt"),
        ('{"custom_id": 7, "prompt": "x"}', "line 1: custom_id must be a text"),
        ('{"custom_id": "a", "prompt": "x"}\n' * 2, "line 2: custom_id 'a' is that of line 1"),
        ("\n", "holds no prompts"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_sent(files: Path, text: str, says: str) -> None:
    (files / "in.jsonl").write_text(text)
    service = FakeBatches()
    result = run(service, files)
    assert result.exit_code == 2
    assert says in result.stderr
    assert service.requests == []


def test_files_that_cannot_be_used_are_named(files: Path) -> None:
    service = FakeBatches()
    assert "cannot read" in mlxq(service, "batch", str(files / "nowhere.jsonl")).stderr
    same = mlxq(service, "batch", str(files / "in.jsonl"), "-o", str(files / "in.jsonl"))
    assert "would overwrite" in same.stderr
    assert (
        "cannot write" in mlxq(service, "batch", str(files / "in.jsonl"), "-o", str(files)).stderr
    )
    (files / "out.jsonl").write_text("notes\n")
    assert "is not a result of a batch" in run(service, files).stderr
    (files / "out.jsonl").unlink()
    Ticket(files / "out.jsonl").write("http://elsewhere", "b1")
    assert "http://elsewhere" in run(service, files).stderr
    assert service.requests == []


def test_two_commands_never_write_one_file(files: Path) -> None:
    first = Results(files / "out.jsonl")
    assert "another `mlxq batch`" in run(FakeBatches(), files).stderr
    first.close()


def test_json_tells_counts_and_batches_are_listed(files: Path) -> None:
    service = FakeBatches()
    answer = json.loads(run(service, files, "--json").stdout)
    assert (answer["total"], answer["done"], answer["batch_id"]) == (5, 5, "b1")
    assert re.search(r"b1 +completed +Tiny +5 +0 +5 +20 +-", mlxq(service, "batches").stdout)
    assert json.loads(mlxq(service, "batches", "--json").stdout)[0]["id"] == "b1"
    assert mlxq(service, "stop", "b1").stdout == "Stopped b1.\n"
