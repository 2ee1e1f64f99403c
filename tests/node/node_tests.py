"""Files of Node's own test runner, each as one test of pytest."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path


def run_node_tests(file: Path, environment: Mapping[str, str], limit_s: float) -> None:
    """Run a file of tests. Raises AssertionError with the end of what it printed."""
    command = ["node", "--test", "--test-reporter=spec", str(file)]
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=limit_s, check=False
    )
    assert run.returncode == 0, f"{run.stdout[-6000:]}\n{run.stderr[-2000:]}"
