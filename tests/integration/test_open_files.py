"""A machine that allows few open files, as containers do: the service works on it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.support.service_support import Running

LIMITED = """
import ctypes, os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
if sys.platform == "linux":  # Who may raise the limit again, as root may, wouldn't notice it.
    ctypes.CDLL(None).prctl(24, 24)  # PR_CAPBSET_DROP, CAP_SYS_RESOURCE
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    running = Running([sys.executable, "-c", LIMITED, "-m", "mlxq.service.launch"], tmp_path)
    yield running
    running.close()


def test_the_shipped_model_answers_where_a_process_may_open_1024_files(service: Running) -> None:
    url = service.line("Ready:").split()[1]
    asked = {
        "model_id": "demo-chat",
        "messages": [{"role": "user", "content": "7+5"}],
        "temperature": 0,
    }
    request = Request(
        f"{url}/api/engine/chat", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urlopen(request, timeout=120) as answer:
        frames = [json.loads(line[5:]) for line in answer if line.startswith(b"data:")]
    assert "".join(frame["text"] for frame in frames) == "7 + 5 = 12."
    assert "error" not in frames[-1]
    assert not any("Traceback" in text for text in service.seen)
