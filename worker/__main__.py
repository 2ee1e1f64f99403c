"""``python -m worker``: reads the settings, locks the data folder, works."""

from __future__ import annotations

import atexit
import fcntl
import gc
import hashlib
import logging
import os
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn, TextIO

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from wire import log_format
from wire.processes.parent_process import exit_with_parent
from wire.redis_server import unfit
from wire.settings import BadSetting, Settings, check_model_folders, from_command_line
from worker.assemble import assemble
from worker.backends import load_libraries
from worker.backends.cpu.malloc import keep_freed_memory
from worker.backends.mlx_import import LibraryError
from worker.disk_cache.folder import FolderRefused
from worker.jobs.rq_worker.chat_worker import ChatWorker

log = logging.getLogger("worker")
CANNOT_WORK = 2
"""Exit status: starting again is no use until the installation or the settings change."""


def lock_folder(data: Path) -> TextIO:
    """Take the lock that makes this the one worker on a data folder; it goes with the process.

    Exits with one line if another process has it, or the folder can't be used.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "worker.lock").open("a+", encoding="ascii")
    except OSError as error:
        sys.exit(f"worker: the data folder cannot be used: {error}")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        sys.exit(
            f"worker: another worker runs on {data}: one process a machine generates for all chats"
        )
    return lock


def identity(data: Path) -> str:
    """The part of a worker's name before the dot: the same for all processes on a data folder."""
    folder = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:8]
    host = "".join(c if c.isalnum() or c == "-" else "-" for c in socket.gethostname())
    return f"{host}-{folder}"


def connect(settings: Settings) -> Redis:
    """A client without retries of its own: callers handle an outage themselves.

    Exits with one line if no Redis can be reached, or one that may drop accepted jobs.
    """
    if not settings.redis_url:
        sys.exit("worker: no Redis: set REDIS_URL, or start everything with scripts/serve")
    try:
        redis = Redis.from_url(
            settings.redis_url, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0)
        )
        problem = unfit(redis.info())
    except (RedisError, ValueError) as error:
        sys.exit(
            f"worker: Redis can't be reached at the configured address ({type(error).__name__})"
        )
    if problem:
        sys.exit(f"worker: {problem}")
    return redis


def look_for_model_folders(settings: Settings) -> None:
    """Exits with one line if a model folder isn't there."""
    try:
        check_model_folders(settings)
    except BadSetting as bad:
        sys.exit(f"worker: {bad}")


def build(settings: Settings) -> ChatWorker:
    """This process's worker, connected to Redis."""
    redis = connect(settings)
    rq_redis = Redis.from_url(settings.redis_url, socket_connect_timeout=2)
    name = f"{identity(settings.data)}.{os.getpid()}-{int(time.time())}"
    return assemble(settings, redis, rq_redis, name)


def main() -> None:
    supervised = exit_with_parent()
    keep_freed_memory()
    settings = from_command_line(
        "python -m worker", "The worker: generates chats from the queue in one batch."
    )
    log_format.set_up(settings.log_level, settings.log_format)
    # A supervisor has checked; a disk removed since then must not make other models unavailable.
    if not supervised:
        look_for_model_folders(settings)
    lock = lock_folder(settings.data)
    try:
        # Before this worker is published: one that can't open any model must not look ready.
        load_libraries(settings)
    except LibraryError as problem:
        lock.close()
        print(f"worker: {problem}", file=sys.stderr)
        sys.exit(CANNOT_WORK)
    try:
        worker = build(settings)
    except FolderRefused as refused:
        lock.close()
        print(f"worker: MLXQ_DISK_CACHE: {refused}", file=sys.stderr)
        sys.exit(CANNOT_WORK)
    except RedisError as error:
        sys.exit(f"worker: Redis went away or has no room ({type(error).__name__})")
    # Everything allocated so far is permanent: collecting through it would hold up every stream.
    gc.freeze()
    log.info(
        "ready", extra={"worker": worker.name, "slots": settings.slots, "backend": settings.backend}
    )
    worker.work(logging_level=logging.getLogger("rq").getEffectiveLevel())
    log.info("stopped", extra={"worker": worker.name})
    lock.close()


def leave() -> NoReturn:
    """End the process well: what is registered for its end is done, but the interpreter isn't torn
    down.

    MLX keeps what a thread has compiled, and takes the GIL to free it as the thread ends, which may
    be after ``join``. If the interpreter has been torn down by then, the process aborts.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
    leave()
