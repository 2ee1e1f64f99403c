"""The two servers: this service and mlx_lm.server, each for the length of a block, with its
requests."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from scripts.benchmarks.systems import models, processes, variants
from scripts.benchmarks.systems.client import http_post
from scripts.benchmarks.systems.machine import blas_of
from scripts.benchmarks.systems.plan import TOKENS, BenchError, Plan, Sampling
from scripts.benchmarks.systems.processes import START_LIMIT_S, Child
from scripts.benchmarks.systems.prompts import Messages


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. ``blas`` is the BLAS library that its generating process has loaded."""

    name: str
    port: int
    blas: str
    pid: int

    @property
    def is_ours(self) -> bool:
        return self.name == "ours"

    def chat(
        self,
        messages: Messages,
        sampling: Sampling,
        seed: int,
        tokens: int = TOKENS,
        model: str = models.TEXT_NAME,
    ) -> bytes:
        """The request for one streamed chat."""
        body: dict[str, Any] = {
            "messages": messages,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": tokens,
            "stream_options": {"include_usage": True},
        }
        if sampling.seeded:
            body["seed"] = seed
        if self.is_ours:
            return http_post(
                "/api/engine/chat", {**body, "model_id": model, "repetition_penalty": 1.0}
            )
        return http_post("/v1/chat/completions", {**body, "stream": True})


@contextlib.contextmanager
def ours(
    plan: Plan, folder: Path, variant: str | None = None, *, flags: Sequence[str] = ()
) -> Iterator[Server]:
    """This service as its users start it, with more flags, or a variant; without OpenBLAS the one
    that does not preload it."""
    folder.mkdir(parents=True, exist_ok=True)
    variant = variant or (None if plan.openblas else "stock-service")
    command = [variants.MODULE, variant] if variant else ["mlxq.service.launch"]
    all_flags = [
        "--port",
        "0",
        "--data",
        str(folder / "data"),
        "--models",
        str(plan.models),
        "--log-level",
        "warning",
        *flags,
    ]
    with processes.running(
        processes.python(*command, *all_flags), processes.environment(), folder / "ours.log"
    ) as child:
        url = child.line("Ready: ").split()[1]
        worker = worker_of(child)
        yield Server("ours", int(url.rsplit(":", 1)[1]), blas_of(worker), worker)


def worker_of(child: Child) -> int:
    """The process id of the service's worker."""
    for process in psutil.Process(child.pid).children(recursive=True):
        if process.cmdline()[-1] in ("worker", variants.PLAIN_WORKER):
            return process.pid
    raise BenchError("the service has no worker")


@contextlib.contextmanager
def peer(plan: Plan, folder: Path) -> Iterator[Server]:
    """mlx_lm.server with the text model."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = int(trial.getsockname()[1])
    command = processes.python(
        "mlx_lm.server", "--model", plan.model, "--port", str(port), "--log-level", "ERROR"
    )
    with processes.running(command, processes.environment(plan), folder / "peer.log") as child:
        deadline = time.monotonic() + START_LIMIT_S
        while not _healthy(port):
            child.check()
            if time.monotonic() > deadline:
                raise BenchError(f"mlx_lm.server did not start:\n{child.output[-3000:]}")
            time.sleep(0.1)
        yield Server("peer", port, blas_of(child.pid), child.pid)


def _healthy(port: int) -> bool:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
