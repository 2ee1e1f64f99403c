"""``scripts/chaos``: the service under faults for some minutes, a table of what happened, and 1
on any violation."""

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
from tests.faults.chaos.clients import Clients
from tests.faults.chaos.faults import Faults
from tests.faults.chaos.outside import Outside
from tests.faults.checker import Checker, leftovers
from tests.faults.stack import Stack, until

END_S = 330.0
SETTLE_S = 60.0
PACE_OUTSIDE_S = 3.0
SHOWN = 20


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("scripts/chaos", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="how long faults are injected (default: 10)"
    )
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(1 << 32), help="where chance comes from"
    )
    parser.add_argument("--clients", type=int, default=20, help="chats at once (default: 20)")
    parser.add_argument(
        "--kills", type=int, help="instead: kill a real model's worker so often, compare the texts"
    )
    parser.add_argument(
        "--unstreamed", type=int, help="instead: ask for so many answers without a stream"
    )
    parser.add_argument(
        "--cuts", type=int, help="instead: have Redis lose the tail of its log so often"
    )
    parser.add_argument(
        "--model",
        choices=(kills.DEMO, kills.RANDOM),
        default=kills.DEMO,
        help="for --kills (default: %(default)s)",
    )
    parser.add_argument(
        "--pace", type=float, default=2.0, help="mean seconds between two faults (default: 2)"
    )
    return parser.parse_args()


async def scene(stack: Stack, given: argparse.Namespace) -> tuple[Faults, Outside, Clients]:
    """Faults, interference and clients together, then the end of all chats, and a last look at
    what is left."""
    faults = Faults(stack, random.Random(given.seed), given.pace)
    checker = Checker(stack.redis)

    def lost_since(began: float) -> bool:
        return any(at >= began for at in faults.lost)

    outside = Outside(stack, faults.port, random.Random(given.seed + 2), lost_since)
    clients = Clients(
        faults.port,
        checker,
        random.Random(given.seed + 1),
        lost_since,
        lambda began: any(at >= began for at in faults.killed),
        outside.cancelled,
    )
    await faults.begin()
    async with asyncio.TaskGroup() as group:
        group.create_task(faults.keep())
        reading = group.create_task(clients.run(given.clients))
        interfering = group.create_task(outside.run(PACE_OUTSIDE_S))
        await faults.run(given.minutes * 60)
        clients.stop()
        outside.stop()
        await asyncio.wait([reading, interfering], timeout=END_S)
        clients.tally.violations += outside.violations
        clients.tally.violations += await last_look(stack, checker, emptied=bool(faults.lost))
        faults.stop()
    return faults, outside, clients


async def last_look(stack: Stack, checker: Checker, *, emptied: bool) -> list[str]:
    """I4 and I6, once everything has come to rest."""
    try:
        await until(lambda: not leftovers(stack.redis), SETTLE_S)
    except AssertionError:
        return [f"I6 left in Redis: {name}" for name in leftovers(stack.redis)]
    return [] if emptied else [f"I4 {line}" for line in checker.changed()]


def table(given: argparse.Namespace, faults: Faults, outside: Outside, clients: Clients) -> str:
    """What happened, as Markdown."""
    tally = clients.tally
    silences = [*tally.silences, 0.0, 0.0]
    percent = statistics.quantiles(silences, n=100)
    rows = [(f"fault: {name}", count) for name, count in sorted(faults.counts.items())]
    rows += [(f"outside: {name}", count) for name, count in sorted(outside.counts.items())]
    rows += [("fault: connection cut", tally.cuts), ("chats", len(tally.silences))]
    rows += [(f"chats {kind}", count) for kind, count in sorted(tally.ended.items())]
    rows += [("longest silence in a stream, p50", f"{percent[49]:.2f} s")]
    rows += [
        ("longest silence in a stream, p99", f"{percent[98]:.2f} s"),
        ("violations", len(tally.violations)),
    ]
    head = f"{given.minutes:g} minutes, {given.clients} clients, seed {given.seed}, pace {given.pace:g} s"
    return "\n".join(
        [head, "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    )


def main() -> int:
    given = arguments()
    print(f"seed {given.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        if given.unstreamed:
            return unstreamed.main(given, Path(folder))
        if given.kills:
            return kills.main(given, Path(folder))
        if given.cuts:
            return cuts.main(given, Path(folder))
        stack = Stack(Path(folder))
        try:
            faults, outside, clients = asyncio.run(scene(stack, given))
        finally:
            stack.close()
        print(table(given, faults, outside, clients))
        for line in clients.tally.violations[:SHOWN]:
            print(f"VIOLATION {line}")
        if clients.tally.violations:
            keep_logs(Path(folder))
    print(f"took {time.monotonic() - began:.0f} s")
    return 1 if clients.tally.violations else 0


def keep_logs(folder: Path) -> None:
    """Leave the processes' logs where they can be read."""
    kept = Path(tempfile.mkdtemp(prefix="chaos-logs-"))
    for log in folder.glob("*.log"):
        (kept / log.name).write_bytes(log.read_bytes())
    print(f"logs: {kept}")


if __name__ == "__main__":
    sys.exit(main())
