"""The relay of published events: lost messages and subscriptions, slow readers, many readers."""

from __future__ import annotations

import time
from typing import Any

from api.deps import find_service
from api.jobs.reader import BUFFER, LOOK_AGAIN_S, PAGE
from api.jobs.relay import Relay
from tests.integration.streams.served_api import Running, text
from tests.support.api_support import LogWriter, wait_for
from wire import keys
from wire.log_entries import encode
from wire.messages import Delta


def silently(api: Running, writer: LogWriter, *texts: str) -> None:
    """Log deltas without publishing them: a channel that loses messages."""
    for word in texts:
        writer.sequence += 1
        entry = encode(writer._job, writer.sequence, Delta(word, (1,)), writer.position)
        writer.position += 1
        api.redis.xadd(
            keys.log(writer._job), {"e": entry}, id=f"{writer.sequence}-{writer.attempt}"
        )


def test_a_gap_in_the_channel_is_healed_from_the_log(api: Running) -> None:
    stream = api.chat()
    writer = api.writer(stream.job_id)
    writer.text("a")
    silently(api, writer, "b", "c")
    writer.text("d")
    writer.finish()
    frames = stream.rest()
    assert text(frames) == "abcd"
    assert [sequence for sequence, _ in frames] == [1, 2, 3, 4, 5]


def test_what_the_channel_lost_last_is_found_after_a_silence(api: Running) -> None:
    stream = api.chat()
    silently(api, api.writer(stream.job_id), "lost")
    began = time.monotonic()
    assert stream.next()[1]["text"] == "lost"
    assert time.monotonic() - began < LOOK_AGAIN_S + 2


def test_a_lost_subscription_loses_nothing(api: Running) -> None:
    stream = api.chat()
    writer = api.writer(stream.job_id)
    expected = ""
    for number in range(60):
        if number % 20 == 10:
            api.redis.client_kill_filter(_type="pubsub")
        writer.text(f"{number} ")
        expected += f"{number} "
    writer.finish()
    frames = stream.rest()
    assert text(frames) == expected
    assert [sequence for sequence, _ in frames] == list(range(1, 62))


def test_a_slow_reader_keeps_a_bounded_buffer_and_loses_nothing(api: Running) -> None:
    stream = api.chat()
    writer = api.writer(stream.job_id)
    count = BUFFER * 2 + PAGE
    for start in range(0, count, 100):
        writer.text(*(f"{number:>2000}" for number in range(start, start + 100)))
    [reader] = find_service(api.app, Relay)._readers[stream.job_id]
    wait_for(lambda: len(reader._arrived) <= BUFFER)
    writer.finish()
    frames = stream.rest()
    assert [sequence for sequence, _ in frames] == list(range(1, count + 2))


def test_many_streams_share_one_subscription(api: Running) -> None:
    streams = [api.chat() for _ in range(40)]
    writers = [api.writer(stream.job_id) for stream in streams]
    for word in ("a", "b"):
        for writer in writers:
            writer.text(word)
    for writer in writers:
        writer.finish()
    assert all(text(stream.rest()) == "ab" for stream in streams)
    channels: Any = api.redis.pubsub_numsub(keys.EVENTS_CHANNEL)
    assert channels[0][1] == 1
    assert len(api.redis.client_list()) <= 20


def test_a_client_that_leaves_leaves_nothing_behind(api: Running) -> None:
    stream = api.chat()
    job_id = stream.job_id
    assert job_id in find_service(api.app, Relay).jobs()
    stream.close()
    api.streams.clear()
    wait_for(lambda: job_id not in find_service(api.app, Relay).jobs(), 1)
