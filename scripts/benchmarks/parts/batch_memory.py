"""What an API process takes in memory while a large batch is uploaded and its results are read
back.

A process of its own: an embedded Redis, one API process, and in place of a worker this script,
which writes an answer of a given length to each line.
``python -m scripts.benchmarks.parts.batch_memory [MIB]`` prints the figures as JSON.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import psutil
from redis import Redis
from rq import Queue

from mlxq.service.embedded_redis import EmbeddedRedis
from scripts.benchmarks.systems import processes
from scripts.benchmarks.systems.plan import BenchError
from wire import keys
from wire.batches import BatchLog, BatchSlice, LineResult, slice_job_id
from wire.messages import Usage
from wire.model_registry import ModelRecord, Registry
from wire.redis_server import connect_once
from wire.token_log import TokenLog

LINES = 50_000
PATH = "/api/engine/batches"
_LOOK_S = 0.02
_PIECE = 256 << 10
_MODEL = ModelRecord(
    id="m",
    name="m",
    path="",
    size=1,
    architecture="none",
    context_window=1 << 20,
    is_vision=False,
    revision="r",
)


@dataclass(slots=True)
class Peak:
    """The most memory that a process had, above what it had before, bytes."""

    process: psutil.Process
    before: int = 0
    most: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watched(self) -> Iterator[Peak]:
        self.before = self.most = self.process.memory_info().rss

        def watch() -> None:
            while not self.over.wait(_LOOK_S):
                self.most = max(self.most, self.process.memory_info().rss)

        thread = threading.Thread(target=watch, name="memory")
        thread.start()
        try:
            yield self
        finally:
            self.over.set()
            thread.join()

    @property
    def more_mib(self) -> float:
        return (self.most - self.before) / (1 << 20)


def lines(size: int, count: int) -> Iterator[bytes]:
    """So many lines of so many bytes together, of words that compress as text does."""
    chance = random.Random(1)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randrange(2, 9))) for _ in range(4000)]
    text = " ".join(chance.choices(words, k=200_000))
    length = size // count - 60
    for number in range(count):
        start = chance.randrange(len(text) - length)
        row = {"custom_id": f"line-{number:06}", "prompt": text[start : start + length]}
        yield json.dumps(row).encode() + b"\n"


def upload(port: int, size: int, count: int) -> str:
    """Send the lines in pieces, as a client streams a file; the id of the batch."""
    connection = HTTPConnection("127.0.0.1", port, timeout=300)
    connection.putrequest("POST", f"{PATH}?model_id=m")
    connection.putheader("Content-Type", "application/jsonl")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    piece = bytearray()
    for row in lines(size, count):
        piece += row
        if len(piece) >= _PIECE:
            connection.send(b"%x\r\n%b\r\n" % (len(piece), bytes(piece)))
            piece.clear()
    connection.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(piece), bytes(piece)))
    answer = connection.getresponse()
    created = json.loads(answer.read())
    connection.close()
    if answer.status != 200:
        raise BenchError(f"the upload was refused: {created}")
    return str(created["id"])


def answer_all(redis: Redis, batch_id: str, length: int) -> None:
    """Write a result to each line, as workers do."""
    log, results = TokenLog(redis), BatchLog(redis)
    slices = int(redis.hget(keys.batch(batch_id), "slices") or 0)  # type: ignore[arg-type]
    for number in range(slices):
        job_id = slice_job_id(batch_id, number)
        redis.hset(keys.job(job_id), "kind", "slice")
        attempt, _ = log.begin(job_id)
        work = BatchSlice(job_id=job_id, batch_id=batch_id, owner="everyone", number=number)
        slice_ = results.take(work, attempt, 1)
        assert slice_ is not None, "the batch is there"
        text = "word " * (length // 5)
        rows = [
            LineResult(row.number, row.custom_id, "m", text, "stop", Usage(1, 1, 0))
            for row in slice_.lines
        ]
        results.write(slice_, rows, 1)


def read_back(port: int, batch_id: str) -> tuple[int, int]:
    """Read all results and keep none: how many lines, how many bytes."""
    connection = HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("GET", f"{PATH}/{batch_id}/results")
    answer = connection.getresponse()
    count = size = 0
    while piece := answer.read(_PIECE):
        count += piece.count(b"\n")
        size += len(piece)
    connection.close()
    return count, size


@contextmanager
def api(folder: Path) -> Iterator[tuple[int, int, Redis]]:
    """An API process on an embedded Redis: its port, its process id, and a client of that Redis."""
    server = EmbeddedRedis(folder)
    server.open()
    redis = connect_once(server.url, 5.0)
    try:
        Registry(redis).put(_MODEL)
        redis.set(keys.WORKER_SEEN, 1)
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            port = int(trial.getsockname()[1])
        settings = {"MLXQ_REDIS_URL": server.url, "MLXQ_PORT": str(port), "MLXQ_BATCH_MB": "4096"}
        environ = processes.environment() | settings
        with processes.running(processes.python("api"), environ, folder / "api.log") as child:
            child.line("listening")
            yield port, child.pid, redis
    finally:
        redis.close()
        server.close()


def measure(folder: Path, size: int, count: int = LINES) -> dict[str, float]:
    """Memory in MiB above that of the idle process, seconds, and what Redis takes for the
    prompts in MiB."""
    with api(folder) as (port, pid, redis):
        # Imports and first allocations don't depend on the size: small batches make them.
        for _ in range(2):
            read_back(port, upload(port, 1 << 20, 500))
        process = psutil.Process(pid)
        with Peak(process).watched() as up:
            began = time.perf_counter()
            batch_id = upload(port, size, count)
            seconds = time.perf_counter() - began
        held = int(redis.hget(keys.BATCH_BYTES, batch_id) or 0)  # type: ignore[arg-type]
        answer_all(redis, batch_id, size // count)
        with Peak(process).watched() as down:
            began = time.perf_counter()
            read, read_bytes = read_back(port, batch_id)
            reading = time.perf_counter() - began
        if read != count:
            raise BenchError(f"{read} of {count} results came back")
        Queue("batch", connection=redis).empty()
    return {
        "upload_mib": size / (1 << 20),
        "upload_more_mib": round(up.more_mib, 1),
        "upload_s": round(seconds, 1),
        "redis_mib": round(held / (1 << 20), 1),
        "read_mib": round(read_bytes / (1 << 20), 1),
        "read_more_mib": round(down.more_mib, 1),
        "read_s": round(reading, 1),
    }


def main() -> None:
    size = int(sys.argv[1]) << 20 if len(sys.argv) > 1 else 199 << 20
    with tempfile.TemporaryDirectory(prefix="mlxq-memory-") as folder:
        print(json.dumps(measure(Path(folder), size)))


if __name__ == "__main__":
    main()
