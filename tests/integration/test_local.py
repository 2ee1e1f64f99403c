"""The supervisor with real processes: a real Redis, and small programs in place of worker and
API."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from mlxq.service.embedded_redis import EmbeddedRedis
from mlxq.service.launch import reserved_port, tune_for_linux
from mlxq.service.supervisor import pause_before_restart
from tests.support.service_support import LIMIT_S, Running
from wire.redis_server import connect_once

WORKER = """
import os, signal, sys
from wire.processes.parent_process import exit_with_parent
from wire.settings import load
exit_with_parent()
def stop(*_):
    sys.stdout.write("worker stops\\n")
    sys.exit()
signal.signal(signal.SIGTERM, stop)
# One write a line: print makes several, and the API's may come between them.
sys.stdout.write(f"worker {os.getpid()} {load().redis_url} {load().slots}\\n")
while True:
    signal.pause()
"""
API = """
import http.server, os, signal, sys
from wire.processes.parent_process import exit_with_parent
from wire.settings import load
exit_with_parent()
def stop(*_):
    sys.stdout.write("api stops\\n")
    sys.exit()
signal.signal(signal.SIGTERM, stop)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 404)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer((load().host, load().port), Handler)
sys.stdout.write(f"api {os.getpid()}\\n")
server.serve_forever()
"""
STUBBORN = WORKER.replace(
    "signal.SIGTERM, stop", "signal.SIGTERM, lambda *_: sys.stdout.write('worker goes on\\n')"
)
STAND_INS = "import sys; from mlxq.service.launch import main; py = [sys.executable, '-c']; main([*py, {!r}], [*py, {!r}])"


Serve = Callable[..., Running]


def begun(service: Running) -> list[str]:
    """Wait until the service is ready and its worker has begun, in whatever order; the words of the
    worker's line."""
    service.line("Ready:")
    told = [text for text in service.seen if text.startswith("worker ")]
    return (told[0] if told else service.line("worker ")).split()


@pytest.fixture
def serve() -> Iterator[Serve]:
    running = []

    def start(
        data: Path, *flags: str, worker: str = WORKER, api: str = API, **environ: str
    ) -> Running:
        running.append(
            Running([sys.executable, "-c", STAND_INS.format(worker, api)], data, *flags, **environ)
        )
        return running[-1]

    yield start
    for one in running:
        one.close()


def server_process(service: Running) -> psutil.Process:
    [found] = [
        p
        for p in service.descendants()
        if "-server" in p.name() and p.status() != psutil.STATUS_ZOMBIE
    ]
    return found


def test_a_start_prints_where_the_service_is_and_that_there_is_no_model(
    tmp_path: Path, serve: Serve
) -> None:
    service = serve(tmp_path)
    url = service.line("Ready:").split()[1]
    assert service.line("No model") == "No model was found."
    assert "mlxq pull smollm2" in service.line("To get a real one:")
    assert service.line("Dashboard:") == f"Dashboard: {url}/rq"


def test_the_parts_get_every_setting_and_the_embedded_redis(tmp_path: Path, serve: Serve) -> None:
    _, _, url, slots = serve(tmp_path, "--slots", "7").line("worker").split()
    assert slots == "7"
    with connect_once(url) as client:
        assert client.ping()
    assert url.startswith("unix://")


def test_ctrl_c_ends_api_then_worker_then_redis_and_leaves_nothing(
    tmp_path: Path, serve: Serve
) -> None:
    service = serve(tmp_path)
    begun(service)
    server = server_process(service)
    service.signal(signal.SIGINT)
    assert service.status() == 0
    ends = [text.strip() for text in service.seen if text.endswith("stops\n")]
    assert ends == ["api stops", "worker stops"]
    assert not server.is_running()
    assert service.left_over() == []
    assert not (tmp_path / "redis" / "socket").exists()


def test_a_second_ctrl_c_ends_a_worker_that_will_not_stop(tmp_path: Path, serve: Serve) -> None:
    service = serve(tmp_path, "--drain-s", "600", worker=STUBBORN)
    begun(service)
    service.signal(signal.SIGTERM)
    service.line("worker goes on")
    service.signal(signal.SIGINT)
    assert service.status() == 0
    assert service.left_over() == []


def test_a_worker_that_takes_too_long_to_stop_is_killed(tmp_path: Path, serve: Serve) -> None:
    service = serve(tmp_path, "--drain-s", "0", worker=STUBBORN)
    begun(service)
    service.signal(signal.SIGTERM)
    assert service.status() == 0
    assert "worker goes on\n" in service.seen
    assert service.left_over() == []


def test_whatever_dies_is_started_again(tmp_path: Path, serve: Serve) -> None:
    service = serve(tmp_path)
    begun(service)
    for part, name in (("worker", "worker"), ("api", "API")):
        before = service.pid(part)
        os.kill(before, signal.SIGKILL)
        assert service.line(f"The {name}").endswith("was ended by SIGKILL; starting it again now.")
        service.line(f"{part} ")
        assert service.pid(part) != before


def test_a_killed_redis_comes_back_with_what_it_had_accepted(tmp_path: Path, serve: Serve) -> None:
    service = serve(tmp_path)
    url = begun(service)[2]
    with connect_once(url) as client:
        client.set("kept", "yes")
    server_process(service).kill()
    service.line("The Redis server was ended by SIGKILL")
    with Redis.from_url(url, retry=Retry(ConstantBackoff(0.05), 200)) as client:
        assert client.get("kept") == b"yes"


def test_killing_the_supervisor_ends_worker_and_api_and_the_next_start_takes_over(
    tmp_path: Path, serve: Serve
) -> None:
    first = serve(tmp_path)
    url = begun(first)[2]
    server = server_process(first)
    with connect_once(url) as client:
        client.set("kept", "yes")
    parts = first.descendants() - {server}
    first.signal(signal.SIGKILL)
    gone, alive = psutil.wait_procs(parts, timeout=LIMIT_S)
    assert (len(gone), alive) == (2, [])
    second = serve(tmp_path)
    second.line("Ready:")
    assert server not in first.left_over()
    with connect_once(url) as client:
        assert client.get("kept") == b"yes"


def test_a_second_service_on_the_same_data_is_refused_and_the_first_goes_on(
    tmp_path: Path, serve: Serve
) -> None:
    first = serve(tmp_path)
    first.line("Ready:")
    second = serve(tmp_path)
    assert second.status() == 1
    assert second.seen[-1].startswith(f"serve: {tmp_path} is in use by process {first.process.pid}")
    assert first.process.poll() is None
    # A process that is restarted or reconnects finds the first service's Redis.
    with connect_once(EmbeddedRedis(tmp_path).url) as client:
        assert client.ping()


def test_a_data_folder_that_is_a_file_is_one_clear_line(tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "file").write_text("kept")
    service = serve(tmp_path / "file")
    assert service.status() == 1
    assert service.seen[-1].startswith("serve: the data folder cannot be used: ")
    assert not any("Traceback" in text for text in service.seen)
    assert (tmp_path / "file").read_text() == "kept"


def test_a_busy_port_is_one_clear_line_and_starts_nothing(tmp_path: Path, serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        service = serve(tmp_path, "--port", str(port))
        assert service.status() == 1
    assert service.seen == [
        f"serve: cannot listen on 127.0.0.1, port {port}: Address already in use; choose with --host and --port\n"
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a bound port be listened on")
def test_the_port_is_the_apis_until_it_listens_and_nobody_elses() -> None:
    with reserved_port("127.0.0.1", 0) as port:
        for _ in range(2):  # Again after a restart.
            with socket.create_server(("127.0.0.1", port)):
                pass
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))


def test_a_bad_setting_is_one_clear_line(tmp_path: Path, serve: Serve) -> None:
    service = serve(tmp_path, "--slots", "0")
    assert service.status() == 2
    assert service.seen == ["serve: MLXQ_SLOTS='0' must be between 1 and 1024\n"]


def test_a_worker_that_refuses_its_settings_ends_the_start_with_its_reason(
    tmp_path: Path, serve: Serve
) -> None:
    service = serve(tmp_path, worker="import sys; print('worker: no such backend'); sys.exit(2)")
    assert service.status() == 2
    assert "worker: no such backend\n" in service.seen
    assert service.left_over() == []


def test_a_worker_that_keeps_dying_before_the_service_is_ready_ends_the_start(
    tmp_path: Path, serve: Serve
) -> None:
    service = serve(
        tmp_path, worker="raise SystemExit('broken')", api=API.replace("200 if", "503 if")
    )
    assert service.status() == 1
    assert service.seen.count("broken\n") == 3
    assert any(text.endswith("giving up.\n") for text in service.seen)


def test_another_redis_replaces_the_embedded_one(tmp_path: Path, serve: Serve) -> None:
    other = EmbeddedRedis(tmp_path / "other")
    other.open()
    try:
        service = serve(tmp_path / "data", REDIS_URL=other.url)
        assert begun(service)[2] == other.url
        assert not (tmp_path / "data").exists()
        service.signal(signal.SIGINT)
        assert service.status() == 0
        assert other.process.poll() is None
    finally:
        other.close()


def test_another_redis_that_is_not_there_ends_the_start(tmp_path: Path, serve: Serve) -> None:
    service = serve(tmp_path, REDIS_URL="unix:///nowhere/socket")
    assert service.status() == 1
    assert service.seen[-1].startswith("serve: Redis at /nowhere/socket does not answer")


def test_restarts_come_at_once_then_ever_later_up_to_half_a_minute() -> None:
    assert [pause_before_restart(deaths) for deaths in range(1, 9)] == [0, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.skipif(
    sys.platform != "linux", reason="macOS has its own BLAS and no compiler is called"
)
def test_the_worker_does_without_a_compiler_that_is_missing_or_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tune_for_linux({})["MLX_DISABLE_COMPILE"] == "1"
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert tune_for_linux({})["MLX_DISABLE_COMPILE"] == "1"
    assert tune_for_linux({"MLX_DISABLE_COMPILE": "0"})["MLX_DISABLE_COMPILE"] == "0"
