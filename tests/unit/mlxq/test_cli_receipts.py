"""``mlxq receipt`` and ``mlxq replay``: what they print, and how they end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.cli_support import FakeService, mlxq, refusal

RECEIPT: dict[str, Any] = {
    "job_id": "a" * 32, "finish_reason": "stop", "code": None, "model": "Tiny", "model_revision": "r1",
    "request_sha256": "beef", "seed": 9, "sampling": {"seed": 9, "top_p": 0.9},
    "workers": ["here-1.7-8", "here-1.9-10"], "libraries": {"mlx": "0.32.4"},
    "usage": {"prompt_tokens": 5, "cached_tokens": 4, "completion_tokens": 3, "reasoning_tokens": 0},
    "timings": {"queue_ms": 1500, "load_ms": 0, "prefill_ms": 0, "ttft_ms": 1600,
                "tokens_per_second": 50.0, "draft_tokens": 6, "accepted_tokens": 5},
    "peak_memory_bytes": 1 << 20, "replayable": True, "replay_of": None, "replay": None,
}  # fmt: skip
SAME = {
    "result": "identical", "compared_tokens": 41, "token": None, "original_token": None,
    "replay_token": None, "job_id": "b" * 32, "replay_of": "a" * 32,
}  # fmt: skip
PATH = f"/api/engine/jobs/{'a' * 32}"


def test_a_receipt_is_a_line_for_each_thing() -> None:
    service = FakeService(**{f"GET {PATH}/receipt": RECEIPT})
    output = mlxq(service, "receipt", "a" * 32).output
    shown = [" ".join(line.split()) for line in output.splitlines()]
    assert "workers here-1.7-8, then here-1.9-10" in shown
    assert "queue 1.5 s" in shown
    assert "sampling top_p 0.9" in shown
    assert "peak memory 1.0 MiB" in shown
    assert json.loads(mlxq(service, "receipt", "a" * 32, "--json").output) == RECEIPT


@pytest.mark.parametrize(
    ("view", "told", "status"),
    [(SAME, "identical: 41 tokens", 0),
     (SAME | {"result": "differs", "token": 42, "original_token": 318, "replay_token": 262}, "differs at token 42: 318 was 262 this time", 1),
     (SAME | {"result": "differs", "token": 42, "original_token": 318}, "differs at token 42: 318 was its end this time", 1)],
)  # fmt: skip
def test_a_replay_ends_well_if_it_is_identical(view: Any, told: str, status: int) -> None:
    service = FakeService(**{f"POST {PATH}/replay": view})
    run = mlxq(service, "replay", "a" * 32)
    assert (run.exit_code, run.output) == (status, f"{told} ({'b' * 32})\n")
    as_json = mlxq(service, "replay", "a" * 32, "--json")
    assert (as_json.exit_code, json.loads(as_json.output)) == (status, view)


def test_a_refusal_is_one_line() -> None:
    sentence = "The model's files have changed since this chat was answered."
    service = FakeService(**{f"POST {PATH}/replay": refusal(409, "model_changed", sentence)})
    run = mlxq(service, "replay", "a" * 32)
    assert (run.exit_code, run.output) == (1, f"mlxq: {sentence.rstrip('.')}\n")
