"""A service on the echo backend, and the official anthropic client for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from anthropic import Anthropic

from tests.support.openai_service import Service, serving


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("anthropic")) as running:
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[Anthropic]:
    base_url = service.url.removesuffix("/v1")
    with Anthropic(base_url=base_url, api_key="none", max_retries=0, timeout=60) as made:
        yield made
