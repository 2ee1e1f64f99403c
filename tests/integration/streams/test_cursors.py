"""Where a stream goes on: cursors from the header and the query, and jobs without a log."""

from __future__ import annotations

import httpx2
import pytest

from tests.integration.streams.served_api import CHAT, Running, text
from tests.support.api_support import LIMIT_S
from wire import keys


def test_a_cursor_replays_what_follows_it_and_then_follows_the_job(api: Running) -> None:
    first = api.chat()
    writer = api.writer(first.job_id)
    writer.text("a", "b", "c")
    later = api.events(first.job_id, **{"Last-Event-ID": "1"})
    assert later.next() == (2, {"text": "b", "done": False})
    writer.text("d")
    writer.finish()
    assert [sequence for sequence, _ in later.rest()] == [3, 4, 5]
    assert text(first.rest()) == "abcd"


def test_the_header_wins_over_the_query(api: Running) -> None:
    stream = api.chat()
    writer = api.writer(stream.job_id)
    writer.text("a", "b", "c")
    writer.finish()
    answer = api.get(f"{CHAT}/{stream.job_id}/events?after=1", **{"Last-Event-ID": "3"})
    assert answer.text == ': ended\n\nid: 4\ndata: {"text": "", "done": true}\n\n'


def test_two_readers_get_the_same(api: Running) -> None:
    stream = api.chat()
    other = api.events(stream.job_id)
    writer = api.writer(stream.job_id)
    writer.text(*"many words")
    writer.finish()
    assert stream.rest() == other.rest()


def test_a_cursor_at_the_end_is_204(api: Running) -> None:
    stream = api.chat()
    api.writer(stream.job_id).finish()
    assert api.get(f"{CHAT}/{stream.job_id}/events?after=1").status_code == 204


@pytest.mark.parametrize("cursor", ["-1", "x", "", "1-1", "0x1", "1e3", "9" * 400, "٣", "1 ", "*"])
def test_a_cursor_that_is_none_is_400(api: Running, cursor: str) -> None:
    stream = api.chat()
    api.writer(stream.job_id).text("secret")
    answer = httpx2.get(
        f"{api.url}{CHAT}/{stream.job_id}/events", params={"after": cursor}, timeout=LIMIT_S
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_a_cursor_beyond_the_end_is_400(api: Running) -> None:
    stream = api.chat()
    api.writer(stream.job_id).finish()
    answer = api.get(f"{CHAT}/{stream.job_id}/events?after=2")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_a_cursor_ahead_of_a_log_that_lost_its_end_waits_for_the_text_to_come_again(
    api: Running,
) -> None:
    stream = api.chat()
    writer = api.writer(stream.job_id)
    writer.text("a")
    ahead = api.events(stream.job_id, **{"Last-Event-ID": "3"})
    writer.text("b", "c", "d")
    writer.finish()
    assert ahead.rest() == [(4, {"text": "d", "done": False}), (5, {"text": "", "done": True})]


@pytest.mark.parametrize("job_id", ["0" * 32, "*", "..", "a", "%00", "0" * 4000])
def test_an_unknown_job_is_404(api: Running, job_id: str) -> None:
    assert api.get(f"{CHAT}/{job_id}/events").status_code == 404


def test_expired_text_is_410(api: Running) -> None:
    stream = api.chat()
    api.writer(stream.job_id).finish()
    stream.rest()
    api.redis.delete(keys.log(stream.job_id))
    answer = api.get(f"{CHAT}/{stream.job_id}/events")
    assert (answer.status_code, answer.json()["code"]) == (410, "expired")
