"""The vendors' clients for Node, on the whole service with its shipped models. The tests are
`*.test.mjs`; `tests/node/prepare` installs the clients."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from tests.node.node_tests import run_node_tests
from tests.support.service_support import SERVE, Running

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.test.mjs"))
LIMIT_S = 300


def picture() -> str:
    """A red circle on white, as PNG in base64."""
    image = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(image).ellipse((16, 16, 48, 48), fill="red")
    content = io.BytesIO()
    image.save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    if shutil.which("node") is None or not (HERE / "node_modules").is_dir():
        pytest.fail(
            "node or tests/node/node_modules is missing: run tests/node/prepare", pytrace=False
        )
    service = Running(SERVE, tmp_path_factory.mktemp("node"))
    url = service.line("Ready: ").removeprefix("Ready: ")
    yield {**os.environ, "SERVICE_URL": url, "PICTURE": picture()}
    service.close()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.split(".")[0])
def test_the_client(file: Path, environment: dict[str, str]) -> None:
    run_node_tests(file, environment, LIMIT_S)
