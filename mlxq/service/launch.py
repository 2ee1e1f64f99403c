"""The whole service on one machine: Redis, worker and API under one supervisor.

Knows worker and API only as commands with an environment and an exit status.
"""

from __future__ import annotations

import functools
import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from api.auth.api_keys import admitted
from mlxq.service.blas import with_openblas
from mlxq.service.embedded_redis import EmbeddedRedis
from mlxq.service.greeting import greeting
from mlxq.service.supervisor import CannotStart, Child, Process, Signals, Supervisor, say
from wire import log_format, settings
from wire.access.api_keys import any_stored
from wire.processes import parent_process
from wire.processes.code_path import code_path
from wire.redis_server import RedisUnusable, check
from wire.settings import BadSetting, Settings

API_STOP_LIMIT_S = 12.0


def free_port(host: str, port: int) -> int:
    """The port to listen on, after a trial. Raises CannotStart when it can't be bound."""
    with _bound(host, port) as trial:
        return int(trial.getsockname()[1])


@contextmanager
def reserved_port(host: str, port: int) -> Iterator[int]:
    """The port to listen on, and nobody else's for the duration of the block: the API binds it some
    seconds later, and again after each restart. Raises CannotStart when it can't be bound."""
    with _bound(host, port) as held:
        chosen = int(held.getsockname()[1])
        # Linux gives a bound port to nobody, and lets who names it listen while no other does;
        # macOS would refuse that.
        if sys.platform != "linux":
            held.close()
        yield chosen


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise CannotStart(
            f"cannot listen on {host}, port {port}: {reason}; choose with --host and --port"
        ) from None
    return bound


def reachable(host: str) -> str:
    """The host to name in a URL: a client can't connect to 'every address'."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def answers_ready(host: str, port: int) -> bool:
    """Whether the API says that chats can be served."""
    with closing(http.client.HTTPConnection(reachable(host), port, timeout=2)) as connection:
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def compiler_works() -> bool:
    """Whether g++ can build a library.

    MLX does without a missing compiler, and fails a chat on a broken one.
    """
    command = ["g++", "-std=c++17", "-fPIC", "-shared", "-x", "c++", "-", "-o", os.devnull]
    try:
        trial = subprocess.run(
            command, input=b"#include <cmath>\n", capture_output=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return trial.returncode == 0


def log_files(data: Path) -> Path:
    """The folder of the log files of a service on this data folder."""
    return data / "logs"


def child_environment(chosen: Settings, name: str) -> dict[str, str]:
    """The environment of worker and API: inherited, with every setting, a clean path and a log
    file of this name."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("MLXQ_") and k != "REDIS_URL"}
    path = code_path(ours.get("PYTHONPATH", ""))
    log = str((log_files(chosen.data) / f"{name}.log").resolve())
    more = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", log_format.FILE_VARIABLE: log}
    return {**ours, **settings.to_environment(chosen), **more}


def tune_for_linux(environment: dict[str, str]) -> dict[str, str]:
    """An environment for MLX on the CPU: OpenBLAS, and no broken compiler."""
    if sys.platform != "linux":
        return environment
    tuned = with_openblas(environment)
    if "MLX_DISABLE_COMPILE" not in environment and not compiler_works():
        tuned["MLX_DISABLE_COMPILE"] = "1"
    return tuned


def spawn(command: Sequence[str], environment: dict[str, str], pipe: int) -> Process:
    """Start a child in a session of its own: Ctrl-C reaches it through the supervisor alone.

    ``pipe`` ends it when the supervisor has ended.
    """
    environment = {**environment, parent_process.VARIABLE: str(pipe)}
    return subprocess.Popen(
        command, env=environment, pass_fds=(pipe,), stdin=subprocess.DEVNULL, start_new_session=True
    )


def part(name: str) -> list[str]:
    """The command of the worker or the API; with -P the current folder can't replace it."""
    return [sys.executable, "-P", "-m", name]


def _parts(
    chosen: Settings, worker: Sequence[str], api: Sequence[str], pipe: int
) -> tuple[Child, Child]:
    """The worker and the API."""
    # Keys are the API's alone.
    workers = child_environment(replace(chosen, api_keys=(), api_keys_file=""), "worker")
    run_worker = functools.partial(spawn, worker, tune_for_linux(workers), pipe)
    run_api = functools.partial(spawn, api, child_environment(chosen, "api"), pipe)
    return (
        Child("worker", run_worker, stop_limit_s=chosen.drain_s + 5),
        Child("API", run_api, stop_limit_s=API_STOP_LIMIT_S),
    )


def _check_keys(chosen: Settings) -> bool:
    """Whether requests will need an API key. Raises BadSetting if they will and nobody has one."""
    stored = bool(chosen.redis_url and any_stored(chosen.redis_url))
    return bool(admitted(chosen, stored=stored)) or stored


def _url(chosen: Settings) -> str:
    return f"http://{reachable(chosen.host)}:{chosen.port}"


def serve(
    chosen: Settings, worker: Sequence[str], api: Sequence[str], command: str = "mlxq"
) -> int:
    """Run the service until it is stopped; returns the exit status.

    ``command`` is what the command line is called here.

    Raises CannotStart, RedisUnusable and BadSetting.
    """
    embedded = None if chosen.redis_url else EmbeddedRedis(chosen.data)
    if embedded is None or not embedded.folder.exists():  # else it may have keys
        _check_keys(chosen)
    settings.check_model_folders(chosen)
    with reserved_port(chosen.host, chosen.port) as port, Signals() as signals:
        chosen = replace(chosen, port=port)
        say(f"Data folder: {chosen.data.resolve()}")
        pipe, our_end = os.pipe()
        try:
            children = []
            if embedded is None:
                check(chosen.redis_url)
            else:
                say(f"Starting Redis on {embedded.folder}")
                embedded.open(proceed=lambda: not signals.stops)
                chosen = replace(chosen, redis_url=embedded.url)
                children.append(
                    Child("Redis server", embedded.launch, stop_limit_s=10, hurried_limit_s=2)
                )
                children[0].adopt(embedded.process)
            keys = _check_keys(chosen)
            say("Starting the worker and the API")
            children += _parts(chosen, worker, api, pipe)
            ready = functools.partial(answers_ready, chosen.host, chosen.port)
            greet = functools.partial(greeting, _url(chosen), chosen, keys, command)
            return Supervisor(children, signals, ready, greet).run()
        finally:
            if embedded is not None:
                embedded.close()
            os.close(our_end)
            os.close(pipe)


def main(
    worker: Sequence[str] = (),
    api: Sequence[str] = (),
    argv: Sequence[str] | None = None,
    program: str = "serve",
) -> None:
    """The command: settings from flags and environment, one line and a status on a failed start.

    Tests put other commands in place of the worker and the API.
    """
    chosen = settings.from_command_line(
        program, "Run the chat service on this machine: Redis, worker and API.", argv
    )
    try:
        # scripts/serve is for a checkout, where the command line is a script as well.
        command = "scripts/mlxq" if program == "serve" else "mlxq"
        sys.exit(serve(chosen, worker or part("worker"), api or part("api"), command))
    except (CannotStart, RedisUnusable) as problem:
        sys.exit(f"{program}: {problem}")
    except BadSetting as bad:
        print(f"{program}: {bad}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
