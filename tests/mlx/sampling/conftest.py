"""The demo chat model."""

from __future__ import annotations

import pytest

from tests.mlx.conftest import Bench
from worker.models.folders import DEMO_MODELS, describe


@pytest.fixture(scope="module")
def demo() -> Bench:
    record = describe(DEMO_MODELS / "chat", name="demo-chat")
    assert record is not None
    return Bench(record)
