"""``scripts/fuzz``: generated requests for a service on the echo backend, and exit status 1 on any
failure.

Covers all routes; tests.security.fuzz.cases has the checks.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.security.fuzz.cases import Fuzz, Seen
from tests.support.service_support import SERVE, Running

NOWHERE = "http://127.0.0.1:9"
"""Downloads are requested as well; nothing may leave this machine."""
SETTINGS = {
    "MLXQ_BACKEND": "echo",
    "MLXQ_LOG_LEVEL": "warning",
    "HF_ENDPOINT": NOWHERE,
    "HF_HUB_OFFLINE": "1",
}
LOG_LINES = 200
"""The last lines of the service's log, shown after a failure."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("scripts/fuzz", description=__doc__)
    parser.add_argument(
        "--cases", type=int, default=10_000, help="number of requests (default: 10000)"
    )
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(1 << 32), help="seed of the random numbers"
    )
    return parser.parse_args()


def report(seen: Seen, seed: int, seconds: float) -> str:
    """The failures, then totals by route and status."""
    lines = [
        f"{kind}, status {status}, {route}\n{text}\n"
        for (route, kind, status), text in seen.failures.items()
    ]
    routes = {route for route, _ in seen.answers}
    refused = sorted(routes - {route for route, status in seen.answers if status < 300})
    statuses = ", ".join(f"{status}: {count}" for status, count in seen.statuses().items())
    lines += [
        f"{seen.cases} cases on {len(routes)} routes in {seconds:.0f} s, seed {seed}",
        f"answers by status: {statuses}",
        f"routes that refused every case: {', '.join(refused) or 'none'}",
        f"failures: {seen.failed}, of {len(seen.failures)} kinds",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run it; the exit status is 1 if any check failed."""
    options = arguments()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        service = Running(SERVE, Path(folder), **SETTINGS)
        try:
            url = service.line("Ready: ").removeprefix("Ready: ")
            with Fuzz(url, options.seed) as fuzz:
                seen = fuzz.seen
                with contextlib.suppress(KeyboardInterrupt):
                    fuzz.run(options.cases)
        finally:
            service.close()
    if seen.failed:
        print("".join(service.printed[-LOG_LINES:]))
    print(report(seen, options.seed, time.monotonic() - began))
    return 1 if seen.failed else 0


if __name__ == "__main__":
    sys.exit(main())
