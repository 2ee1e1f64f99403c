"""A large batch passes through the API process without staying in its memory."""

from __future__ import annotations

from pathlib import Path

from scripts.benchmarks.parts.batch_memory import measure


def test_uploading_and_reading_a_batch_back_costs_the_api_little_memory(tmp_path: Path) -> None:
    found = measure(tmp_path, 40 << 20, 5_000)
    assert found["upload_more_mib"] < 20, found
    assert found["read_more_mib"] < 20, found
    assert found["read_mib"] > 40
    assert found["redis_mib"] < 30  # stored compressed
