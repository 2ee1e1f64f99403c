"""Streams of messages whose worker is killed: compared by the bytes of their bodies."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from tests.integration.anthropic.requests import CALL, CLOCK, asked
from tests.support.openai_service import Service
from worker.backends.echo_script import SAY

MESSAGES = "/v1/messages"
ZONE = "U" * 400
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
OF_THE_JOB = re.compile(rb'"msg_[0-9a-f]{32}"|"toolu_\w{9}"|"signature": "[0-9a-f]{64}"')
"""What differs between two jobs: the message's id, those of its calls, signatures of thinking."""


def body() -> dict[str, Any]:
    text = f"{SAY}<think>Hm.</think>So.{CALL.replace('UTC', ZONE)}"
    fields = asked(text, tools=[CLOCK], stream=True, max_tokens=2000)
    return fields | fields.pop("extra_body")


def read(service: Service, key: str) -> bytes:
    """The whole body of a stream; of a repeated request that of the same job."""
    connection = service.raw(body(), MESSAGES, Idempotency_Key=key)
    response = connection.getresponse()
    assert response.status == 200
    stream = response.read()
    connection.close()
    return stream


def killed(service: Service, key: str) -> bytes:
    """The body of a stream whose worker dies while the call is being written."""
    connection = service.raw(body(), MESSAGES, Idempotency_Key=key)
    response = connection.getresponse()
    lines = [response.readline()]
    # The call has begun: its hundreds of tokens take longer than all before them.
    while b"input_json_delta" not in lines[-1]:
        lines.append(response.readline())
        assert lines[-1], lines
    service.stack.kill("worker")
    service.stack.start_worker()
    asyncio.run(service.stack.worker_ready())
    stream = b"".join(lines) + response.read()
    connection.close()
    return stream


def without_pings(stream: bytes) -> bytes:
    """A ping says that the stream is alive: when depends on the moment."""
    return stream.replace(PING, b"")


def joined(stream: bytes) -> bytes:
    """A stream whose deltas that follow each other are one: where texts are cut depends on how far
    the worker is when its log is written."""
    told: list[dict[str, Any]] = []
    for frame in stream.decode().strip().split("\n\n"):
        event = json.loads(frame.split("\n")[1].removeprefix("data: "))
        before = told[-1] if told else {}
        if event["type"] == before.get("type") == "content_block_delta":
            (kind, new), (kind_before, old) = event["delta"].items(), before["delta"].items()
            if kind == kind_before and new[0] == old[0]:
                before["delta"] = {"type": kind[1], new[0]: old[1] + new[1]}
                continue
        told.append(event)
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in told)


def test_a_worker_killed_inside_a_call_changes_no_byte(service: Service) -> None:
    disturbed = without_pings(killed(service, "disturbed"))
    assert ZONE in joined(disturbed).decode()
    assert disturbed.endswith(b'event: message_stop\ndata: {"type": "message_stop"}\n\n')
    # The same job read once more, from its log alone: not a byte differs.
    assert without_pings(read(service, "disturbed")) == disturbed
    # Another job, whose worker lives: only what is the job's own, and where texts are cut.
    undisturbed = without_pings(read(service, "undisturbed"))
    assert len(OF_THE_JOB.findall(undisturbed)) == 3
    told = [OF_THE_JOB.sub(b'""', joined(one)) for one in (disturbed, undisturbed)]
    assert told[0] == told[1]
