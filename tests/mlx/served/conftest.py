"""The whole service on a random model and the shipped ones, once for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from scripts.training.random_text_model import make
from tests.support.http_client import Service
from tests.support.service_support import SERVE, Running


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random model."""
    folder = tmp_path_factory.mktemp("models")
    make(folder / "random")
    return folder


@pytest.fixture(scope="module")
def running(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    started = Running(SERVE, tmp_path_factory.mktemp("data"), "--models", str(models))
    yield started
    started.close()


@pytest.fixture(scope="module")
def http(running: Running) -> Service:
    return Service(running.line("Ready: ").removeprefix("Ready: "))


@pytest.fixture(scope="module")
def client(http: Service) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{http.url}/v1", api_key="none", max_retries=0, timeout=120) as made:
        yield made
