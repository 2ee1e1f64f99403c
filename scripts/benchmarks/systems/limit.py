"""The in-process limit as a child that stays up and measures one round whenever it is asked, in
lines of JSON.

Requests come over a socket that is its standard input; when the parent ends, the socket and the
child end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.benchmarks.systems import processes
from scripts.benchmarks.systems.plan import BenchError, Case, Figures, Plan, Results
from scripts.benchmarks.systems.processes import Child

LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Limit:
    """The running child. ``blas`` is the BLAS library that it has loaded."""

    child: Child
    questions: socket.socket
    blas: str

    async def round(self, case: Case, turn: int) -> Results:
        """One round of one case. Raises BenchError with what the child printed when it does not
        answer."""
        loop, answer = asyncio.get_running_loop(), b""
        try:
            async with asyncio.timeout(LIMIT_S):
                question = json.dumps({"case": asdict(case), "turn": turn}).encode()
                await loop.sock_sendall(self.questions, question + b"\n")
                while not answer.endswith(b"\n"):
                    piece = await loop.sock_recv(self.questions, 1 << 16)
                    if not piece:
                        raise ConnectionResetError
                    answer += piece
        except TimeoutError:
            raise BenchError(
                f"no answer in {LIMIT_S:.0f} s; it printed:\n{self.child.output[-3000:]}"
            ) from None
        except ConnectionError:
            self.child.wait()
            raise BenchError(
                f"mlx_lm in one process ended; it printed:\n{self.child.output[-3000:]}"
            ) from None
        return {name: Figures(**figures) for name, figures in json.loads(answer).items()}


@contextlib.contextmanager
def limit(plan: Plan, folder: Path, command: Sequence[str] = ()) -> Iterator[Limit]:
    """The child for the length of the block, its model loaded. ``command`` may be another
    program."""
    command = command or processes.python("scripts.benchmarks.systems.in_process", plan.to_json())
    ours, theirs = socket.socketpair()
    with ours, contextlib.ExitStack() as stack:
        ours.setblocking(False)
        with theirs:
            environ, log = processes.environment(plan), folder / "limit.log"
            child = stack.enter_context(
                processes.running(command, environ, log, stdin=theirs.fileno())
            )
        yield Limit(child, ours, child.line("Ready: ").removeprefix("Ready: "))
