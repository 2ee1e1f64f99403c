"""The application: its description, and what importing it loads."""

from __future__ import annotations

import re
import subprocess
import sys

from starlette.testclient import TestClient


def test_the_description_of_the_api_is_served_and_no_page_loads_scripts_from_elsewhere(
    client: TestClient,
) -> None:
    assert client.get("/openapi.json").status_code == 200
    assert re.findall("https?://|swagger|redoc", client.get("/docs").text) == []
    assert client.get("/redoc").status_code == 404


def test_importing_the_api_imports_neither_mlx_nor_the_worker() -> None:
    code = "import api.app, sys; print([n for n in sys.modules if n.split('.')[0] in ('mlx', 'mlx_lm', 'worker')])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
