"""``scripts/chaos``: random faults for some minutes, a table of results, and exit status 1 on any
violation."""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.chaos import cuts, kills, unstreamed
from tests.faults.chaos.background import BackgroundClients
from tests.faults.chaos.clients import Clients
from tests.faults.chaos.faults import Faults
from tests.faults.chaos.interference import Interference
from tests.faults.checker import Checker, leftovers
from tests.faults.stack import Stack, until

END_S = 330.0
SETTLE_S = 60.0
INTERFERENCE_PACE_S = 3.0
SHOWN = 20


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("scripts/chaos", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="how long faults are injected (default: 10)"
    )
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(1 << 32), help="seed of the random numbers"
    )
    parser.add_argument("--clients", type=int, default=20, help="chats at once (default: 20)")
    parser.add_argument(
        "--background", type=int, default=4, help="responses in the background at once (default: 4)"
    )
    kills.add_arguments(parser)
    parser.add_argument(
        "--unstreamed", type=int, help="instead: request this many answers without streaming"
    )
    parser.add_argument(
        "--cuts",
        type=int,
        help="instead: cut off the end of Redis' append-only file this many times",
    )
    parser.add_argument(
        "--pace", type=float, default=2.0, help="mean seconds between two faults (default: 2)"
    )
    return parser.parse_args()


async def run_chaos(
    stack: Stack, options: argparse.Namespace
) -> tuple[Faults, Interference, Clients, BackgroundClients]:
    """Run faults, interference and clients, wait for all chats to end, then check Redis."""
    faults = Faults(stack, random.Random(options.seed), options.pace)
    checker = Checker(stack)

    def lost_since(began: float) -> bool:
        return any(at >= began for at in faults.lost)

    def killed_since(began: float) -> bool:
        return any(at >= began for at in faults.killed)

    interference = Interference(stack, faults.port, random.Random(options.seed + 2), lost_since)
    known = (lost_since, killed_since, interference.cancelled)
    clients = Clients(faults.port, checker, random.Random(options.seed + 1), *known)
    background = BackgroundClients(faults.port, random.Random(options.seed + 3), *known)
    await faults.begin()
    async with asyncio.TaskGroup() as group:
        group.create_task(faults.supervise())
        reading = group.create_task(clients.run(options.clients))
        following = group.create_task(background.run(options.background))
        interfering = group.create_task(interference.run(INTERFERENCE_PACE_S))
        await faults.run(options.minutes * 60)
        for one in (clients, background, interference):
            one.stop()
        await asyncio.wait([reading, following, interfering], timeout=END_S)
        clients.tally.violations += background.tally.violations
        clients.tally.violations += interference.violations
        clients.tally.violations += await check_at_rest(stack, checker)
        faults.stop()
    return faults, interference, clients, background


async def check_at_rest(stack: Stack, checker: Checker) -> list[str]:
    """Check I4 and I6 once no job is left."""
    try:
        await until(lambda: not leftovers(stack.redis), SETTLE_S)
    except AssertionError:
        return [f"I6 left in Redis: {name}" for name in leftovers(stack.redis)]
    return [f"I4 {line}" for line in checker.changed()]


def table(
    options: argparse.Namespace,
    faults: Faults,
    interference: Interference,
    clients: Clients,
    background: BackgroundClients,
) -> str:
    """The results as a Markdown table."""
    tally = clients.tally
    silences = [*tally.silences, 0.0, 0.0]
    percent = statistics.quantiles(silences, n=100)
    rows: list[tuple[str, int | str]] = []
    rows += [(f"fault: {name}", count) for name, count in sorted(faults.counts.items())]
    rows += [(f"outside: {name}", count) for name, count in sorted(interference.counts.items())]
    rows += [("fault: connection cut", tally.cuts), ("chats", len(tally.silences))]
    rows += [(f"chats {kind}", count) for kind, count in sorted(tally.ended.items())]
    rows += [
        (f"in the background {kind}", count)
        for kind, count in sorted(background.tally.ended.items())
    ]
    rows += [("readings in the background", background.readings)]
    rows += [("longest silence in a stream, p50", f"{percent[49]:.2f} s")]
    rows += [
        ("longest silence in a stream, p99", f"{percent[98]:.2f} s"),
        ("violations", len(tally.violations)),
    ]
    head = (
        f"{options.minutes:g} minutes, {options.clients} clients, seed {options.seed}, "
        f"pace {options.pace:g} s"
    )
    return "\n".join(
        [head, "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    )


def main() -> int:
    options = arguments()
    print(f"seed {options.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        if options.unstreamed:
            return unstreamed.main(options, Path(folder))
        if options.kills:
            return kills.main(options, Path(folder))
        if options.cuts:
            return cuts.main(options, Path(folder))
        stack = Stack(Path(folder))
        try:
            ran = asyncio.run(run_chaos(stack, options))
        finally:
            stack.close()
        print(table(options, *ran))
        violations = ran[2].tally.violations
        for line in violations[:SHOWN]:
            print(f"VIOLATION {line}")
        if violations:
            keep_logs(Path(folder))
    print(f"took {time.monotonic() - began:.0f} s")
    return 1 if violations else 0


def keep_logs(folder: Path) -> None:
    """Copy the processes' logs to a folder that outlives the run."""
    kept = Path(tempfile.mkdtemp(prefix="chaos-logs-"))
    for log in folder.glob("*.log"):
        (kept / log.name).write_bytes(log.read_bytes())
    print(f"logs: {kept}")


if __name__ == "__main__":
    sys.exit(main())
