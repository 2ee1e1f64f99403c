"""Real weights, made by scripts/real_models and kept in the user's cache folder.

Gemma's tests take minutes and 238 MB: they are collected with ``REAL_GEMMA=1`` alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.model_conversion import cache
from scripts.model_conversion.catalogue import CONVERSIONS
from tests.mlx.conftest import Bench
from tests.support.http_client import Service
from tests.support.service_support import SERVE, Running
from wire.model_registry import ModelRecord
from worker.models.folders import describe

SMOLLM2, GEMMA3 = "smollm2-135m-4bit", "gemma3-270m-fp32"
collect_ignore = [] if os.environ.get("REAL_GEMMA") else ["test_gemma3.py"]


def folder_of(name: str) -> Path:
    """A model's folder; without it the tests fail and say what to do."""
    root = cache.default_root()
    assert cache.is_made(CONVERSIONS[name], root), (
        f"{name} is not in {root}: run `scripts/real_models {name}`, which downloads it once"
    )
    return root / name


def record_of(name: str) -> ModelRecord:
    described = describe(folder_of(name))
    assert described is not None
    return described


@pytest.fixture(scope="session")
def smollm2() -> Bench:
    """SmolLM2 in this process."""
    return Bench(record_of(SMOLLM2), chunk=128)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = folder_of(SMOLLM2)
    started = Running(SERVE, tmp_path_factory.mktemp("d"), "--models", str(folder), limit_s=900)
    yield started
    started.close()


@pytest.fixture(scope="session")
def http(running: Running) -> Service:
    """The whole service with SmolLM2."""
    return Service(running.line("Ready: ").removeprefix("Ready: "))
