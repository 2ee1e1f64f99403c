"""One service on the echo backend for each file, and clients for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.openai_service import Service, serving


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("responses")) as running:
        yield running
