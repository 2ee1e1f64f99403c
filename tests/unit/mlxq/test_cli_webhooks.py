"""``mlxq webhooks``: what it sends, and what it prints."""

from __future__ import annotations

from typing import Any

from api.webhooks.events import EVENT_TYPES
from mlxq.commands.admin.webhooks import EVENTS, ROUTE
from tests.support.cli_support import FakeService, mlxq

ENDPOINT: dict[str, Any] = {
    "id": "we_1",
    "name": "CI",
    "url": "https://ci.example/hook",
    "event_types": ["batch.completed", "batch.failed"],
    "all_keys": False,
}


def test_the_events_are_those_of_the_service() -> None:
    assert EVENTS == EVENT_TYPES


def test_webhooks_are_listed_with_what_they_are_told() -> None:
    every = ENDPOINT | {"event_types": list(reversed(EVENTS)), "all_keys": True}
    pages = iter([{"data": [ENDPOINT, every]}, {"data": []}])
    service = FakeService(**{f"GET {ROUTE}": pages})
    lines = mlxq(service, "webhooks").output.splitlines()
    assert lines[1].split() == [
        *("we_1", "CI", ENDPOINT["url"]),
        "batch.completed,",
        "batch.failed",
    ]
    assert lines[2].split()[3:] == ["all", "of", "all", "keys"]
    assert mlxq(service, "webhooks", "list").output == "There are no webhooks.\n"


def test_a_new_secret_alone_goes_to_standard_output() -> None:
    service = FakeService(**{f"POST {ROUTE}": ENDPOINT | {"signing_secret": "whsec_x"}})
    run = mlxq(service, "webhooks", "add", ENDPOINT["url"], "--name", "CI", "--event", "batch.failed", "--all-keys")  # fmt: skip
    assert (run.stdout, "shown only now" in run.stderr) == ("whsec_x\n", True)
    mlxq(service, "webhooks", "add", ENDPOINT["url"])
    first, second = service.sent(ROUTE)
    named = {"name": "CI", "url": ENDPOINT["url"], "event_types": ["batch.failed"]}
    assert first == named | {"all_keys": True}
    assert (second["event_types"], second["all_keys"]) == (list(EVENTS), False)


def test_a_webhook_is_tested_and_removed_by_its_id() -> None:
    service = FakeService(
        **{f"POST {ROUTE}/we_1/test": {"status_code": 204}, f"DELETE {ROUTE}/we_1": {}}
    )
    run = mlxq(service, "webhooks", "test", "we_1", "--event", "batch.expired")
    assert run.output == "It answered with status 204.\n"
    assert service.sent(f"{ROUTE}/we_1/test") == [{"event_type": "batch.expired"}]
    assert mlxq(service, "webhooks", "remove", "we_1").output == "Removed we_1.\n"
