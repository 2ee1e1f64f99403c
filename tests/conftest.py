"""Tests ask as a program on this machine does: by a loopback address, since other names are
refused without keys."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient


@pytest.fixture(autouse=True, scope="session")
def requests_in_process_name_this_machine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            TestClient,
            "__init__",
            functools.partialmethod(TestClient.__init__, base_url="http://127.0.0.1"),
        )
        yield
