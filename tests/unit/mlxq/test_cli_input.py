"""Odd input to the command line ends in one line: invalid text, invalid numbers, closed streams."""

from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner, Result

from mlxq.cli import app
from tests.support.cli_support import MODEL, FakeService, end, events, frame, mlxq
from tests.support.paths import ROOT
from tests.unit.mlxq.test_cli_batch import FakeBatches

CHAT = "/api/engine/chat"
ODD = ("a\udcff", "", "\x00", "nan", "9" * 400, "http://[", "🙂" * 50)
COMMANDS = (
    ("chat", "hi"),
    ("batch", "nowhere.jsonl"),
    ("batches",),
    ("ps",),
    ("stop", "j1"),
    ("status",),
    ("models",),
    ("models", "load", "m1"),
    ("models", "unload"),
    ("models", "register", "n", "p"),
    ("models", "download", "a/b"),
    ("models", "delete", "m1"),
)
OPTIONS = {
    "chat": ("--model", "--system", "--image", "--temperature", "--max-tokens", "--seed"),
    "batch": ("-o", "-m"),
}


def answering() -> FakeService:
    service = FakeService()
    service.answers[f"POST {CHAT}"] = lambda _: events(frame(1, text="Hi"), end(2))
    return service


def piped(data: bytes, *arguments: str) -> Result:
    return CliRunner(env={"MLXQ_URL": None, "MLXQ_API_KEY": None}).invoke(
        app, list(arguments), input=data, obj=answering(), prog_name="mlxq"
    )


def is_orderly(result: Result) -> bool:
    """Whether a command ended with a status and, if it failed, at most a few lines; never with
    an exception."""
    ended = result.exception is None or isinstance(result.exception, SystemExit)
    return ended and "Traceback" not in result.output and result.exit_code in (0, 1, 2, 3, 130)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_odd_arguments_and_options_never_end_in_a_traceback(command: tuple[str, ...]) -> None:
    for odd in ODD:
        for place in range(1, len(command)):
            arguments = [*command[:place], odd, *command[place + 1 :]]
            assert is_orderly(result := mlxq(answering(), *arguments)), (
                arguments,
                result.exception,
            )
    for option, odd in itertools.product((*OPTIONS.get(command[0], ()), "--url"), ODD):
        assert is_orderly(result := mlxq(answering(), *command, option, odd)), (
            option,
            odd,
            result.exception,
        )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"caf\xe9", "standard input is not UTF-8 text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "standard input is not UTF-8 text"),
        (b"text\x00text", "standard input is not text: it holds NUL bytes"),
        (b"x" * ((4 << 20) + 1), "standard input is too long: a chat takes up to 4 MiB of text"),
        (b" \n", "the prompt is empty"),
    ],
)
def test_piped_input_that_is_no_prompt_is_one_line(data: bytes, says: str) -> None:
    result = piped(data, "chat")
    assert result.exit_code == 2
    assert result.output.startswith(f"mlxq: {says}")
    assert result.output.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a\udcff"], "the prompt is not UTF-8 text"),
        (["hi", "--system", "a\udcff"], "--system is not UTF-8 text"),
        (["hi", "--model", "a\udcff"], "--model is not UTF-8 text"),
        (["hi", "--temperature", "nan"], "a finite number is needed"),
        (["hi", "--top-p", "inf"], "a finite number is needed"),
    ],
)
def test_arguments_that_no_request_can_hold_are_named(arguments: list[str], says: str) -> None:
    service = answering()
    result = mlxq(service, "chat", *arguments)
    assert result.exit_code == 2
    assert says in result.output
    assert not service.sent(CHAT)


@pytest.mark.parametrize(
    ("arguments", "stdin", "sent"),
    [
        (["Summarise:"], "one\ntwo\n", "Summarise:\n\none\ntwo"),
        (["-"], "one\n", "one"),
        ([], "\ufeffone\n", "one"),
        (["Summarise:"], "", "Summarise:"),
    ],
)
def test_text_piped_in_follows_the_prompt_behind_a_blank_line(
    arguments: list[str], stdin: str, sent: str
) -> None:
    service = answering()
    assert mlxq(service, "chat", *arguments, stdin=stdin).exit_code == 0
    assert service.sent(CHAT)[0]["messages"] == [{"role": "user", "content": sent}]


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full"])
@pytest.mark.parametrize(
    "command", ["chat hi --url 127.0.0.1:1", "--help", "", "models --json --url 127.0.0.1:1"]
)
def test_closed_and_full_streams_end_a_command_in_order(command: str, streams: str) -> None:
    ascii_locale = {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -P -m mlxq.cli {command} {streams}', sys.executable],
        env=ascii_locale | {"PYTHONPATH": str(ROOT), "MLXQ_URL": "http://127.0.0.1:1"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, 1, 2, 3)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_in_an_ascii_locale_programs_still_read_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    from mlxq.commands.inputs import prepare_streams

    prepare_streams()
    print("é🙂", end="", flush=True)
    assert stream.buffer.getvalue() == "é🙂".encode()


def test_without_a_command_it_says_what_to_do_and_whether_a_service_answers() -> None:
    service = FakeService(**{"GET /health": {"status": "ok"}})
    result = mlxq(service)
    assert result.exit_code == 0
    assert 'mlxq chat "Why is the sky blue?"' in result.output
    assert "A service answers at http://127.0.0.1:8000." in result.output

    class Nobody(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            raise httpx2.ConnectError("refused", request=request)

    result = mlxq(Nobody())
    assert result.exit_code == 0
    assert (
        "No service answers at http://127.0.0.1:8000: start one with `mlxq serve`" in result.output
    )


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("mlxq.commands.batch_run.POLL_S", 0)
    return tmp_path


def run(files: Path, service: FakeService, *more: str) -> Result:
    return mlxq(service, "batch", str(files / "in.jsonl"), "-o", str(files / "out.jsonl"), *more)


def results(files: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (files / "out.jsonl").read_text().splitlines()]


def test_lines_that_the_service_cannot_read_fail_once_under_their_ids(files: Path) -> None:
    rows = [
        '{"custom_id": "a", "prompt": "1"}',
        '{"custom_id": "b", "prompt": "\\ud800"}',
        '{"custom_id": "c", "prompt": "2", "temperature": NaN}',
        '{"prompt": "3", "temperature": Infinity}',
    ]
    (files / "in.jsonl").write_bytes(b"\xef\xbb\xbf" + "\n".join(rows).encode())
    service = FakeBatches()
    result = run(files, service)
    assert result.exit_code == 1
    assert "4 prompts: 1 done, 3 failed, 0 left." in result.output
    assert [row["custom_id"] for rows in service.lines.values() for row in rows] == ["a"]
    assert sorted(str(row["custom_id"]) for row in results(files)) == ["a", "b", "c", "line-4"]
    assert all(
        row["error"]["code"] == "bad_request" for row in results(files) if row["custom_id"] != "a"
    )

    again = run(files, service)
    assert again.exit_code == 1
    assert len(results(files)) == 4
    assert len(service.lines) == 1, "lines should not be sent again"


def test_a_result_without_an_id_is_its_lines(files: Path) -> None:
    (files / "in.jsonl").write_text(
        '{"custom_id": "a", "prompt": "1"}\n{"custom_id": "b", "prompt": "2"}\n'
    )
    # As an earlier command left it.
    (files / "out.jsonl").write_text(
        '{"custom_id": null, "error": {"code": "bad_request", "message": "no JSON"}}\n'
    )

    class OtherService(FakeBatches):
        def _result(self, number: int, row: dict[str, object]) -> dict[str, object]:
            if row["custom_id"] == "a":
                return {
                    "custom_id": None,
                    "line": number,
                    "error": {"code": "bad_request", "message": "no JSON"},
                }
            return super()._result(number, row)

    service = OtherService()
    result = run(files, service)
    assert "2 prompts: 1 done, 1 failed, 0 left." in result.output
    assert [row["custom_id"] for row in results(files)] == [None, "a", "b"]
    assert run(files, service).exit_code == 1
    assert len(service.lines) == 1


def test_an_output_that_is_no_file_is_refused(files: Path) -> None:
    (files / "in.jsonl").write_text('{"custom_id": "a", "prompt": "1"}\n')
    os.mkfifo(files / "pipe")
    for place in (str(files / "pipe"), str(files), str(files / "no" / "where")):
        result = mlxq(FakeBatches(), "batch", str(files / "in.jsonl"), "-o", place)
        assert result.exit_code == 2, place
        assert result.output.startswith(f"mlxq: cannot write {place}: "), result.output
        assert "None" not in result.output


def test_a_disk_that_is_full_is_one_line(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (files / "in.jsonl").write_text('{"custom_id": "a", "prompt": "1"}\n')

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mlxq.commands.batch_files.os.fsync", full)
    result = run(files, FakeBatches())
    assert (result.exit_code, result.output) == (1, "mlxq: No space left on device\n")


def test_the_models_of_the_service_are_used_as_before() -> None:
    service = answering()
    mlxq(service, "chat", "hi")
    assert service.sent(CHAT)[0]["model_id"] == MODEL["id"]
