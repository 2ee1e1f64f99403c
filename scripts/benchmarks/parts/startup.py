"""From the start of ``scripts/serve``, everything installed, to the first token of the line that
it prints."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from scripts.benchmarks.systems import processes
from scripts.benchmarks.systems.client import burst, http_post
from scripts.benchmarks.systems.plan import Figures, Plan, Results


def command() -> list[str]:
    """``scripts/serve``, or what it runs in the end when another environment than its own is in
    use."""
    if Path(sys.prefix) == processes.ROOT / ".venv":
        return [str(processes.ROOT / "scripts" / "serve")]
    return processes.python("mlxq.service.launch")


def measure(plan: Plan, folder: Path) -> Results:
    """Start, paste the line, wait for the first token, stop; each time with an empty data
    folder."""
    figures = Figures([], [])
    for _ in range(max(1, plan.rounds // 2)):
        with tempfile.TemporaryDirectory(dir=folder) as data:
            flags = ["--port", "0", "--data", data]
            log = folder / "start.log"
            with processes.running([*command(), *flags], processes.environment(), log) as child:
                words = shlex.split(child.line("curl "))
                url = urlsplit(words[2])
                request = http_post(
                    url.path, json.loads(words[-1]) | {"stream_options": {"include_usage": True}}
                )
                [answer] = asyncio.run(burst(int(url.port or 0), [request]))
                figures.ttft.append(answer.times[0] - child.started)
    return {"start": figures}
