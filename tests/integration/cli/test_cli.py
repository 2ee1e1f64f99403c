"""The command line against a running service on the echo backend: as a process, in a pipe, on a
terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.shell import (
    MLXQ,
    Shell,
    Terminal,
    conversation,
    read_until,
    wait_until,
    without_notes,
)
from tests.support.service_support import LIMIT_S, ROOT
from tests.unit.worker.models.hub_server import Repositories, hub_server
from worker.backends.echo import ECHO_MODEL, answer, word
from worker.backends.echo_script import SAY
from worker.backends.pooling.echo import ECHO_EMBEDDINGS

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def repositories() -> Repositories:
    files = {"config.json": b'{"model_type": "llama"}', "model.safetensors": b"1" * 4096}
    return Repositories({"ann/tiny": files, "ann/gguf": {"model.gguf": b"1"}}, held={WEIGHTS})


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, repositories: Repositories) -> Iterator[Shell]:
    with hub_server(repositories) as hub:
        made = Shell(tmp_path_factory.mktemp("cli"), hub)
        yield made
        made.running.close()


def test_a_chat_answers_from_an_argument_and_from_a_pipe(shell: Shell) -> None:
    result = shell.run("chat", "hello", "--seed", "1", "--max-tokens", "6")
    assert (result.returncode, result.stdout, result.stderr) == (
        0,
        answer("hello", 1, 6) + "\n",
        "",
    )
    result = shell.run("chat", "--seed", "1", "--max-tokens", "6", "--json", stdin="hello")
    assert json.loads(result.stdout)["text"] == answer("hello", 1, 6)


def test_ctrl_c_stops_the_chat_at_the_service(shell: Shell) -> None:
    chat = shell.start("chat", "long", "--seed", "1", "--max-tokens", "4000")
    seen = read_until(chat.stdout, " ")
    [job] = shell.running_jobs(1)
    chat.send_signal(signal.SIGINT)
    rest, _ = chat.communicate(timeout=LIMIT_S)
    assert chat.returncode == 130
    assert answer("long", 1, 4000).startswith((seen + rest).strip())
    view = shell.run("stop", job)  # Stopping what has ended changes nothing.
    assert view.returncode == 0
    assert shell.running_jobs(0) == []


def test_a_chat_goes_on_when_the_api_is_killed_in_its_middle(shell: Shell) -> None:
    chat = shell.start("chat", "survivor", "--seed", "2", "--max-tokens", "150")
    seen = read_until(chat.stdout, " ")
    [api] = [p for p in shell.running.descendants() if p.is_running() and p.cmdline()[-1] == "api"]
    api.kill()
    rest, stderr = chat.communicate(timeout=LIMIT_S)
    assert (chat.returncode, stderr) == (0, "")
    assert seen + rest == answer("survivor", 2, 150) + "\n"


def test_a_reader_that_leaves_stops_the_chat(shell: Shell) -> None:
    chat = shell.start("chat", "long", "--max-tokens", "4000")
    read_until(chat.stdout, " ")
    chat.stdout.close()
    assert chat.wait(LIMIT_S) == 1
    assert chat.stderr.read() == ""
    chat.stderr.close()
    assert shell.running_jobs(0) == []


def words(prompt: str, count: int) -> str:
    """The echo backend's answer, with seed 3, to a whole conversation."""
    return "".join(f"w{word(list(prompt.encode()), 3, place)} " for place in range(count))


def test_a_conversation_asks_with_all_that_was_said(shell: Shell) -> None:
    terminal = conversation(shell, "--max-tokens", "3")
    try:
        assert terminal.ask("one") == words("user:one\n", 3)
        assert "there is no model 'nope'" in terminal.ask("/model nope")
        assert terminal.ask("/model demo-chat") == "Talking to demo-chat now."
        assert "/system TEXT" in terminal.ask("/help")
        assert terminal.ask("/sytem") == (
            "There is no command /sytem (did you mean '/system'?); /help lists them."
        )
        assert terminal.ask("/system brief") == "The system prompt is set."
        assert terminal.ask("/system") == "There is no system prompt now."
        assert terminal.ask("two") == words(
            f"user:one\nassistant:{words('user:one' + chr(10), 3)}\nuser:two\n", 3
        )
        assert terminal.ask("/new") == "This is a new conversation."
        assert terminal.ask("one") == words("user:one\n", 3)
        terminal.raw.write(b"/bye\n")
        assert terminal.process.wait(LIMIT_S) == 0
    finally:
        terminal.close()


def test_thinking_is_dimmed_and_markdown_rendered_on_a_terminal(shell: Shell) -> None:
    terminal = conversation(shell, "--max-tokens", "60", term="xterm")
    try:
        terminal.say(f"{SAY}<think>Cold.</think>It is **warm**.")
        seen = terminal.until("\x1b[1mwarm\x1b[0m.")
        assert "Cold." in re.sub(r"\x1b\[2m|\x1b7.*?\x1b8\x1b\[J", "", seen)
        assert "<think>" not in seen
        assert seen.index("\x1b[2m") < seen.index("\x1b[0m\r\n\r\n") < seen.index("It is")
        terminal.until("> ")
        terminal.say("/think")
        terminal.until("Thinking is hidden now.\r\n> ")
        terminal.say("/effort")
        terminal.until("demo-chat has no say in how much it thinks.\r\n> ")
        terminal.say(f"{SAY}<think>Cold.</think>warm")
        assert "Cold" not in terminal.until("warm\r\n")
    finally:
        terminal.close()


def test_a_download_has_a_bar_and_says_how_it_ended(
    shell: Shell, repositories: Repositories
) -> None:
    terminal = Terminal(shell, "pull", "ann/tiny", term="xterm")
    try:
        assert "%" in terminal.until("Downloading tiny") + terminal.until("%")
        repositories.go.set()
        terminal.until("tiny is here: `mlxq run tiny` talks to it.\r\n")
        assert terminal.process.wait(LIMIT_S) == 0
    finally:
        terminal.close()
    assert shell.run("pull", "ann/tiny").stdout == "tiny is here already.\n"
    failed = shell.run("pull", "ann/gguf")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "MLX can't load it" in failed.stderr
    assert shell.run("rm", "tiny", "--yes").returncode == 0


def test_ctrl_c_in_a_conversation_stops_the_answer_and_keeps_what_came(shell: Shell) -> None:
    terminal = conversation(shell, "--max-tokens", "4000")
    try:
        terminal.say("one")
        seen = terminal.until(" ")
        terminal.process.send_signal(signal.SIGINT)
        seen += terminal.until("\r\n> ").removesuffix("\r\n> ")
        shown = without_notes(seen)
        assert words("user:one\n", 4000).startswith(shown)
        assert shell.running_jobs(0) == []
        terminal.say("two")
        assert terminal.until(" ") == words(f"user:one\nassistant:{shown}\nuser:two\n", 1)
    finally:
        terminal.close()


def test_a_batch_survives_its_command_and_its_api_and_each_prompt_gets_one_result(
    shell: Shell, tmp_path: Path
) -> None:
    prompts, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows: list[dict[str, Any]] = [
        {"custom_id": f"c{n}", "prompt": f"p{n}", "seed": n, "max_tokens": 30} for n in range(300)
    ]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first = shell.start("batch", str(prompts), "-o", str(output))
    ticket = tmp_path / "out.jsonl.batch"
    wait_until(lambda: output.exists() and output.stat().st_size and ticket.exists())
    first.kill()
    first.communicate()
    second = shell.start("batch", str(prompts), "-o", str(output))
    [api] = [p for p in shell.running.descendants() if p.is_running() and p.cmdline()[-1] == "api"]
    api.kill()
    out, stderr = second.communicate(timeout=LIMIT_S)
    assert (second.returncode, stderr) == (0, ""), out
    found = [json.loads(row) for row in output.read_text().splitlines()]
    assert sorted(row["custom_id"] for row in found) == sorted(row["custom_id"] for row in rows)
    assert {row["custom_id"]: row["text"] for row in found} == {
        f"c{n}": answer(f"p{n}", n, 30) for n in range(300)
    }
    assert not ticket.exists()
    assert len(json.loads(shell.run("batches", "--json").stdout)) == 1


def test_ctrl_c_leaves_a_batch_running_and_cancel_ends_it(shell: Shell, tmp_path: Path) -> None:
    prompts = tmp_path / "in.jsonl"
    prompts.write_text(
        "".join(json.dumps({"prompt": f"p{n}", "max_tokens": 500}) + "\n" for n in range(200))
    )
    command = shell.start("batch", str(prompts))
    wait_until((tmp_path / "in.out.jsonl.batch").exists)
    command.send_signal(signal.SIGINT)
    _, stderr = command.communicate(timeout=LIMIT_S)
    assert command.returncode == 130
    assert "The batch goes on" in stderr
    assert json.loads(shell.run("ps", "--json").stdout)["batches"][0]["counts"]["total"] == 200
    assert shell.run("batch", str(prompts), "--cancel").returncode == 0
    assert json.loads(shell.run("batches", "--json").stdout)[0]["status"] == "cancelled"


def test_the_operator_sees_models_state_and_health(shell: Shell) -> None:
    names = [row["name"] for row in json.loads(shell.run("models", "--json").stdout)]
    assert names == [ECHO_MODEL.name, ECHO_EMBEDDINGS.name]
    assert shell.run("load", "demo-chat").stdout == "Loaded demo-chat.\n"
    assert "demo-chat" in shell.run("list").stdout
    assert "did you mean 'demo-chat'" in shell.run("run", "demo-chta", "hi").stderr
    assert json.loads(shell.run("models", "scan", "--json").stdout)["status"] == "scanned"
    assert json.loads(shell.run("status", "--json").stdout)["ready"] is True
    states = {
        row["check"]: row["state"] for row in json.loads(shell.run("doctor", "--json").stdout)
    }
    assert states["service"] == states["ready"] == states["MLX"] == states["Redis"] == "ok"


def test_what_the_service_refuses_is_one_line(shell: Shell) -> None:
    result = shell.run("chat", "hello", "--temperature", "9")
    assert (result.returncode, result.stdout) == (1, "")
    assert "temperature" in result.stderr
    assert result.stderr.count("\n") == 1


def test_serve_takes_the_settings_flags_and_its_mistakes_are_one_line() -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MLXQ_")}
    asked = subprocess.run(
        [*MLXQ, "serve", "--port", "-1"], cwd=ROOT, env=clean, capture_output=True, text=True
    )
    assert asked.returncode == 2
    assert asked.stderr == "mlxq serve: MLXQ_PORT='-1' must be between 0 and 65535\n"
    asked = subprocess.run(
        [*MLXQ, "serve", "--help"], cwd=ROOT, env=clean, capture_output=True, text=True
    )
    assert "--prefill-step" in asked.stdout
