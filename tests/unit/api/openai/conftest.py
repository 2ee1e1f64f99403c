"""The OpenAI routes over a fake worker that gives every chat the same answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.openai_support import ANSWER, Api, serving


@pytest.fixture(scope="module")
def running() -> Iterator[Api]:
    with serving() as api:
        yield api


@pytest.fixture
def api(running: Api) -> Api:
    running.worker.settle()
    running.worker.seen.clear()
    running.worker.answer = lambda _: ANSWER
    return running
