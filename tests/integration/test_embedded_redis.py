"""The embedded Redis server: real binary, real files, real kills."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mlxq.service.embedded_redis import SOCKET_PATH, EmbeddedRedis, find_server
from wire.redis_server import RedisUnusable, check, connect_once

Start = Callable[[Path], EmbeddedRedis]


@pytest.fixture
def start() -> Iterator[Start]:
    servers = []

    def start_on(data: Path) -> EmbeddedRedis:
        server = EmbeddedRedis(data)
        server.open()
        servers.append(server)
        return server

    yield start_on
    for server in servers:
        server.close()


def remember(server: EmbeddedRedis, value: str) -> None:
    with connect_once(server.url) as client:
        client.set("kept", value)


def remembered(server: EmbeddedRedis) -> bytes | None:
    with connect_once(server.url) as client:
        return client.get("kept")


def test_a_server_listens_on_a_private_socket_alone_and_keeps_what_it_accepts(
    tmp_path: Path, start: Start
) -> None:
    server = start(tmp_path)
    with connect_once(server.url) as client:
        config = client.config_get("*")
    wanted = {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    assert {name: config[name] for name in wanted} == wanted
    assert server.socket.parent.stat().st_mode & 0o777 == 0o700
    assert psutil.Process(server.process.pid).net_connections("inet") == []
    assert os.getsid(server.process.pid) == server.process.pid
    check(server.url)


def test_a_second_start_on_the_same_folder_is_refused_and_names_the_first(
    tmp_path: Path, start: Start
) -> None:
    first = start(tmp_path)
    with pytest.raises(RedisUnusable, match=f"in use by process {os.getpid()}"):
        start(tmp_path)
    remember(first, "undisturbed")
    assert remembered(first) == b"undisturbed"


@pytest.mark.parametrize("name", ["data", "long" * 30])
def test_whoever_was_refused_or_never_opened_closes_nothing(
    tmp_path: Path, start: Start, name: str
) -> None:
    """The socket for a long path lies in a folder of its own, which only its owner removes."""
    first = start(tmp_path / name)
    refused = EmbeddedRedis(tmp_path / name)
    refused.close()
    with pytest.raises(RedisUnusable, match="in use"):
        refused.open()
    refused.close()
    remember(first, "by a new connection")
    assert remembered(first) == b"by a new connection"


def test_what_was_accepted_before_a_kill_is_there_after_the_restart(
    tmp_path: Path, start: Start
) -> None:
    server = start(tmp_path)
    remember(server, "before the kill")
    server.process.kill()
    server.process.wait()
    server.close()
    assert remembered(start(tmp_path)) == b"before the kill"


def test_a_clean_stop_leaves_no_process_and_no_socket_and_keeps_the_data(
    tmp_path: Path, start: Start
) -> None:
    server = start(tmp_path)
    remember(server, "before the stop")
    pid = server.process.pid
    server.close()
    assert not psutil.pid_exists(pid)
    assert not server.socket.exists()
    assert remembered(start(tmp_path)) == b"before the stop"


@pytest.mark.parametrize("name", ["long" * 30, "a b", "a=b", "%20?#ä\"'"])
def test_a_data_path_that_no_socket_can_have_gets_a_short_private_one(
    tmp_path: Path, start: Start, name: str
) -> None:
    server = start(tmp_path / name)
    assert SOCKET_PATH.fullmatch(str(server.socket))
    assert server.socket.parent.stat().st_mode & 0o777 == 0o700
    with connect_once(server.url) as client:
        assert str(server.socket) in client.client_info()["addr"]
    remember(server, "far away")
    server.close()
    assert not server.socket.parent.exists()
    assert remembered(start(tmp_path / name)) == b"far away"


def test_the_server_of_a_killed_owner_is_ended_by_the_next_start(
    tmp_path: Path, start: Start
) -> None:
    owner_code = (
        "import sys; from pathlib import Path; from mlxq.service.embedded_redis import EmbeddedRedis\n"
        "server = EmbeddedRedis(Path(sys.argv[1])); server.open(); print(server.process.pid, flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", owner_code, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        leftover = psutil.Process(int(owner.stdout.readline()))
        remember(EmbeddedRedis(tmp_path), "by the first owner")
        owner.kill()
        owner.wait()
    assert leftover.status() != psutil.STATUS_ZOMBIE
    server = start(tmp_path)
    # It may be a zombie: its parent is gone.
    assert not leftover.is_running() or leftover.status() == psutil.STATUS_ZOMBIE
    assert remembered(server) == b"by the first owner"


def test_a_process_that_only_took_over_the_number_of_a_server_is_left_alone(
    tmp_path: Path, start: Start
) -> None:
    start(tmp_path).close()
    (tmp_path / "redis" / "server.lock").write_text(f"{os.getpid()}\n")
    remember(start(tmp_path), "and this process still runs")


def test_a_server_that_cannot_start_says_why_and_gives_the_folder_back(
    tmp_path: Path, start: Start
) -> None:
    server = start(tmp_path)
    remember(server, "unreadable")
    server.close()
    manifest = next((tmp_path / "redis" / "appendonlydir").glob("*.manifest"))
    good = manifest.read_bytes()
    manifest.write_text("nonsense\n")
    with pytest.raises(RedisUnusable, match=r"did not start: \w"):
        start(tmp_path)
    manifest.write_bytes(good)
    assert remembered(start(tmp_path)) == b"unreadable"


def test_a_data_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RedisUnusable, match="the data folder cannot be used"):
        EmbeddedRedis(tmp_path / "file").open()
    EmbeddedRedis(tmp_path / "file").close()


def test_a_server_that_evicts_is_refused(tmp_path: Path, start: Start) -> None:
    server = start(tmp_path)
    with connect_once(server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(RedisUnusable, match=r"allkeys-lru.*noeviction"):
        check(server.url)


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        with pytest.raises(RedisUnusable, match=rf"127\.0\.0\.1:{port} does not answer") as refused:
            check(f"redis://user:s3cret@127.0.0.1:{port}/0")
    assert "s3cret" not in str(refused.value)
    with pytest.raises(RedisUnusable, match="/nowhere/socket does not answer"):
        check("unix:///nowhere/socket")
    with pytest.raises(RedisUnusable, match="must look like redis://"):
        check("localhost:6379")


def pretend(folder: Path, name: str, version: str) -> Path:
    binary = folder / name
    binary.write_text(f"#!/bin/sh\necho '{version} sha=00000000:0 malloc=libc bits=64'\n")
    binary.chmod(0o755)
    return binary


@pytest.fixture
def only_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without the bundled server, whose PATH is one empty folder."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_the_bundled_server_comes_first_then_valkey_then_redis(only_path: Path) -> None:
    redis = pretend(only_path, "redis-server", "Redis server v=6.2.0")
    assert find_server() == redis
    valkey = pretend(only_path, "valkey-server", "Valkey server v=8.1.0")
    assert find_server() == valkey


def test_no_server_and_an_old_server_are_one_clear_line(only_path: Path) -> None:
    with pytest.raises(RedisUnusable, match="no Redis server found"):
        find_server()
    pretend(only_path, "redis-server", "Redis server v=6.0.16")
    with pytest.raises(RedisUnusable, match=r"6\.2 or newer"):
        find_server()


def test_a_server_outlives_the_signals_of_the_terminal(tmp_path: Path, start: Start) -> None:
    server = start(tmp_path)
    assert os.getpgid(server.process.pid) != os.getpgrp()
    server.process.send_signal(signal.SIGHUP)
    remember(server, "still here")
