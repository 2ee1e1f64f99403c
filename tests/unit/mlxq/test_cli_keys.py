"""``mlxq keys`` and ``mlxq usage``: what they send, and what they print."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.cli_support import FakeService, mlxq, refusal

KEY: dict[str, Any] = {
    "id": "4f0c2a9be1d7",
    "name": "bob",
    "roles": ["chat", "models"],
    "daily_tokens": 200000,
    "created_at": 1796000000.0,
}
OF_SETTINGS = KEY | {"id": None, "name": "ann", "daily_tokens": None, "created_at": None}
USED = {"requests": 2, "prompt_tokens": 1500, "completion_tokens": 25, "cached_tokens": 1000}
BY_MODEL = [{"model": "Tiny", "used": USED}]
DAY = {"day": "2026-11-30", "used": USED, "models": BY_MODEL}
USAGE: dict[str, Any] = {
    "owner": "bob",
    "daily_tokens": 2000,
    "total": USED,
    "models": BY_MODEL,
    "days": [DAY | {"used": USED | {"requests": 0}}, DAY],
}
OF_KEY = {"owner": "bob", "daily_tokens": None, "total": USED, "today": USED, "models": BY_MODEL}


def test_keys_are_listed_without_a_secret() -> None:
    service = FakeService(**{"GET /api/engine/keys": iter([[OF_SETTINGS, KEY], []])})
    lines = mlxq(service, "keys").output.splitlines()
    assert lines[1].split()[:2] == ["(settings)", "ann"]
    assert lines[2].split()[:5] == [KEY["id"], "bob", "chat,", "models", "200,000"]
    assert "no keys" in mlxq(service, "keys", "list").output


def test_a_new_key_alone_goes_to_standard_output() -> None:
    service = FakeService(**{"POST /api/engine/keys": KEY | {"key": "sk-mlxq-secret"}})
    run = mlxq(service, "keys", "add", "bob", "--role", "chat", "--role", "models", "--daily-tokens", "5")  # fmt: skip
    assert run.stdout == "sk-mlxq-secret\n"
    assert "shown only now" in run.stderr
    mlxq(service, "keys", "add", "bob")
    assert service.sent("/api/engine/keys") == [
        {"name": "bob", "roles": ["chat", "models"], "daily_tokens": 5},
        {"name": "bob", "roles": ["chat"], "daily_tokens": None},
    ]


def test_a_key_is_revoked_by_its_id_and_a_refusal_is_one_line() -> None:
    last = refusal(409, "conflict", "No other key has the role admin.")
    path = "DELETE /api/engine/keys/4f0c2a9be1d7"
    service = FakeService(**{path: iter([{"revoked": True}, last])})
    assert mlxq(service, "keys", "revoke", KEY["id"]).output == "Revoked 4f0c2a9be1d7.\n"
    run = mlxq(service, "keys", "revoke", KEY["id"])
    assert (run.exit_code, run.output) == (1, "mlxq: No other key has the role admin\n")


@pytest.mark.parametrize(("tokens", "sent"), [("1000", 1000), ("none", None), ("-1", ...), ("ten", ...)])  # fmt: skip
def test_a_quota_is_a_number_or_none(tokens: str, sent: Any) -> None:
    service = FakeService(**{"POST /api/engine/keys/quota": {}})
    run = mlxq(service, "keys", "quota", "bob", tokens)
    assert run.exit_code == (2 if sent is ... else 0)
    bodies = [] if sent is ... else [{"name": "bob", "daily_tokens": sent}]
    assert service.sent("/api/engine/keys/quota") == bodies


def test_usage_is_by_day_and_model_or_by_key() -> None:
    service = FakeService(
        **{"GET /api/engine/usage": USAGE, "GET /api/engine/usage/keys": [OF_KEY]}
    )
    lines = [line.split() for line in mlxq(service, "usage").output.splitlines()]
    assert lines[1:4] == [
        ["2026-11-30", "2", "1,500", "1,000", "25"],
        ["Tiny", "2", "1,500", "1,000", "25"],
        ["ever", "2", "1,500", "1,000", "25"],
    ]
    assert " ".join(lines[4]) == "475 of 2,000 tokens are left today (UTC)."
    lines = [line.split() for line in mlxq(service, "usage", "--all").output.splitlines()]
    assert lines[1] == ["bob", "2", "1,500", "1,000", "25", "1,525", "-"]
    assert json.loads(mlxq(service, "usage", "--all", "--json").output) == [OF_KEY]


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ((), (None, None)),
        (("--highest-tier", "flex", "--most-running", "3"), ("flex", 3)),
        (("--highest-tier", "none"), (None, None)),
    ],
)
def test_limits_in_the_queue_are_set_together(
    options: tuple[str, ...], sent: tuple[Any, Any]
) -> None:
    service = FakeService(**{"POST /api/engine/keys/limits": {}})
    assert mlxq(service, "keys", "limits", "bob", *options).exit_code == 0
    tier, number = sent
    assert service.sent("/api/engine/keys/limits") == [
        {"name": "bob", "highest_tier": tier, "most_running": number}
    ]
    run = mlxq(service, "keys", "limits", "bob", "--highest-tier", "soon")
    assert run.exit_code == 2
    assert "--highest-tier" in run.output
