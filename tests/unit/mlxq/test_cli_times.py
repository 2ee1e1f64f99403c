"""Times on the command line: this machine's, and a time of day is the next one."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import pytest

from mlxq.commands.inputs import moment
from tests.support.cli_support import mlxq
from tests.unit.mlxq.test_cli_batch import FakeBatches


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("14:30", "2026-11-30T14:30:00+01:00"),
        ("02:00", "2026-12-01T02:00:00+01:00"),
        ("2026-12-24T18:00", "2026-12-24T18:00:00+01:00"),
        ("2026-12-24T18:00:00Z", "2026-12-24T19:00:00+01:00"),
    ],
)
def test_a_time_is_this_machines_and_a_time_of_day_the_next_one(
    monkeypatch: pytest.MonkeyPatch, text: str, due: str
) -> None:
    with monkeypatch.context() as zone:
        zone.setenv("TZ", "Europe/Paris")
        time.tzset()
        now = datetime.fromisoformat("2026-11-30T12:00:00+01:00")
        assert moment(text, now).isoformat() == due
    time.tzset()


def test_what_is_no_time_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"custom_id": "a", "prompt": "b"}')
    result = mlxq(FakeBatches(), "batch", str(tmp_path / "p.jsonl"), "--not-before", "tonight")
    assert result.exit_code == 2
    assert "--not-before: a time is needed" in result.output


def test_the_service_gets_the_time_with_a_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlxq.commands.batch_run.POLL_S", 0)
    (tmp_path / "p.jsonl").write_text('{"custom_id": "a", "prompt": "b"}')
    service, time_asked = FakeBatches(), "2026-12-24T18:00:00+02:00"
    result = mlxq(service, "batch", str(tmp_path / "p.jsonl"), "--not-before", time_asked)
    assert result.exit_code == 0, result.output
    [sent] = [one for one in service.requests if "not_before" in one.url.params]
    asked = datetime.fromisoformat(sent.url.params["not_before"])
    assert asked == datetime.fromisoformat(time_asked)
    assert asked.tzinfo is not None
