"""Models that another thread has opened compute on this one, and a process ends well whose threads
have computed."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest

from tests.mlx.conftest import Bench
from tests.mlx.vision.vision_bench import VisionBench
from tests.support.paths import ROOT
from wire.model_registry import ModelRecord
from wire.settings import Settings
from worker import backends
from worker.backends import loading
from worker.models.folders import DEMO_MODELS, describe

TIMES = 6
PROGRAM = """
import atexit, sys, threading
import mlx.core as mx
from worker.__main__ import leave

kept = []

def compile_one():
    kept.append(mx.compile(lambda x: mx.exp(x) + 1))
    mx.eval(kept[-1](mx.array(1.0)))

for _ in range(8):
    thread = threading.Thread(target=compile_one)
    thread.start()
thread.join()
atexit.register(print, "what was registered is done")
leave()
"""
"""Without ``leave`` about half of the processes abort."""


def opened_elsewhere(record: ModelRecord, kind: type[Bench] = Bench, **options: Any) -> Bench:
    benches: list[Bench] = []
    thread = threading.Thread(target=lambda: benches.append(kind(record, **options)))
    thread.start()
    thread.join()
    return benches[0]


@pytest.mark.parametrize("kv", [None, 8])
def test_a_text_model_says_the_same(record: ModelRecord, kv: int | None) -> None:
    here = Bench(record, kv).answer("hello there", seed=3)
    assert opened_elsewhere(record, kv=kv).answer("hello there", seed=3) == here


def test_a_load_tells_how_much_of_the_weights_is_read(
    record: ModelRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "PIECE_BYTES", 1)
    shares: list[float] = []
    vision = describe(DEMO_MODELS / "vision")
    for one in (record, vision):
        assert one is not None
        shares.clear()
        backends.open_backend(one, Settings(), backends.new_prompt_cache(Settings()), shares.append)
        assert shares == sorted(shares)
        assert (len(shares) > 10, 0 < shares[0] < 0.5, shares[-1]) == (True, True, 1.0)


def test_a_vision_model_says_the_same() -> None:
    record = describe(DEMO_MODELS / "vision")
    assert record is not None
    said = []
    for bench in (VisionBench(record), opened_elsewhere(record, VisionBench)):
        assert isinstance(bench, VisionBench)
        said.append(bench.answer([bench.shown("What is this?", 1)], seed=3))
    assert said[0] == said[1]


def test_a_process_ends_well_right_after_its_threads() -> None:
    for _ in range(TIMES):
        command = [sys.executable, "-c", PROGRAM]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        said = (ended.returncode, ended.stdout, ended.stderr)
        assert said == (0, "what was registered is done\n", "")
