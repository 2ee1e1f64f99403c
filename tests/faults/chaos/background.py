"""Clients that create responses in the background, read them at random cursors, and cancel some.

Each event that is told must be the same, to the byte, whenever and wherever it is read, and what is
told behind a cursor exactly the rest. Knows no fault.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.chaos.clients import CUT_SHARE, GAVE_UP, LONGEST_S, Requesters
from tests.faults.client import BREATH_S, MODEL, Answer, Connection, ask
from worker.backends import echo

RESPONSES = "/v1/responses"
CANCELLED_SHARE = 0.15
PROMPT = "background"
_LAST = ("response.completed", "response.incomplete", "response.failed")


class _Refused(ConnectionError):
    """The service asks to try again."""


class _Gone(Exception):
    """The service doesn't know this response."""


@dataclass
class Background:
    """One response, and the data lines of all its events that were told, by number."""

    prompt: str
    seed: int
    tokens: int
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    id: str = ""
    told: dict[int, bytes] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)
    reads: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def body(self) -> dict[str, Any]:
        asked = {"model": MODEL, "input": self.prompt, "seed": self.seed, "background": True}
        return asked | {"max_output_tokens": self.tokens}

    @property
    def job_id(self) -> str:
        return self.id.removeprefix("resp_")

    @property
    def text(self) -> str:
        events = (json.loads(line) for _, line in sorted(self.told.items()))
        return "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")


class BackgroundClients(Requesters):
    """Clients that create responses and follow them. ``readings`` counts how often one was read."""

    readings = 0

    async def _request(self, number: int, seed: int, tokens: int) -> None:
        one = Background(f"{PROMPT} {number}", seed, tokens)
        began = time.monotonic()
        cancels = self._rng.random() < CANCELLED_SHARE
        try:
            async with asyncio.timeout(LONGEST_S):
                await self._retried(self._create, one)
                cancel_at = self._rng.randrange(0, 4) if cancels else None
                while not one.end:
                    if one.reads == cancel_at:
                        await self._retried(self._cancel, one)
                    await self._retried(self._read, one)
                await self._retried(self._read_again, one)
        except TimeoutError:
            one.wrong.append(f"no end in {LONGEST_S:g} s, last {list(one.told.values())[-1:]}")
        except _Gone:
            if self._killed_since(began):
                self.tally.count("forgotten by a killed Redis")
                return
            one.wrong.append("is unknown")
        except AssertionError as answered:
            one.wrong.append(f"was answered {answered}")
        if self._lost_since(began):
            self.tally.count("lost with Redis' data")
            return
        self._check(one, cancels or one.job_id in self._cancelled, self._killed_since(began))

    async def _retried(self, step: Callable[[Background], Any], one: Background) -> None:
        """Take a step until it is answered."""
        while True:
            try:
                return await step(one)  # type: ignore[no-any-return]
            except (OSError, TimeoutError) as cut:
                self.tally.cuts += 1
                await asyncio.sleep(5 * BREATH_S if isinstance(cut, _Refused) else BREATH_S)

    async def _create(self, one: Background) -> None:
        answer = await self._ask("POST", RESPONSES, one.body, Idempotency_Key=one.key)
        one.id = answer["id"]

    async def _cancel(self, one: Background) -> None:
        await self._ask("POST", f"{RESPONSES}/{one.id}/cancel")

    async def _ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = await ask(self._where(), method, path, body, **headers)
        _raise_refusal(answer)
        return answer.json

    async def _read(self, one: Background) -> None:
        """Read from a random number on until the connection ends, which may be cut anywhere."""
        after = None
        if one.told:  # never behind an event that was not told yet
            last = max(one.told)
            after = self._rng.choice([None, self._rng.randrange(0, last + 1), last])
        # Rather early than late: this response is to be read many times.
        limit = self._rng.randrange(300, 9000) if self._rng.random() > CUT_SHARE else None
        one.reads += 1
        self.readings += 1
        await self._stream(one, after, limit)

    async def _read_again(self, one: Background) -> None:
        """What has ended is told once more as it was."""
        await self._stream(one, None, None)
        now = await self._ask("GET", f"{RESPONSES}/{one.id}")
        if now["output"] != one.end["response"]["output"]:
            one.wrong.append(f"has another output than was told: {now}")

    async def _stream(self, one: Background, after: int | None, limit: int | None) -> None:
        path = f"{RESPONSES}/{one.id}?stream=true"
        path += "" if after is None else f"&starting_after={after}"
        connection = await Connection.open(self._where(), limit)
        try:
            connection.send("GET", path)
            answer = await connection.head()
            if answer.status != 200:
                _raise_refusal(await connection.whole(answer))
            await _take_all(one, -1 if after is None else after, connection)
        finally:
            connection.close()

    def _check(self, one: Background, may_be_cancelled: bool, redis_killed: bool) -> None:
        end = one.end.get("response", {})
        code = (end.get("error") or {}).get("code")
        whole = echo.answer(one.prompt, one.seed, one.tokens)
        if code == GAVE_UP or (code == "job_lost" and redis_killed):
            self.tally.count(f"failed: {code}")
        elif end.get("status") == "cancelled" and may_be_cancelled:
            self.tally.count("cancelled")
        else:
            self.tally.count("whole")
            if one.end and (end["status"] != "incomplete" or one.text != whole):
                one.wrong.append(f"ended as {end['status']}, {code}, with {len(one.text)} of it")
        if not whole.startswith(one.text):
            one.wrong.append(f"told another text: {len(one.text)} of {len(whole)} characters")
        self.tally.violations += [f"{one.prompt!r} {one.id}: {wrong}" for wrong in one.wrong]


def _raise_refusal(answer: Answer) -> None:
    if answer.status == 404:
        raise _Gone
    if answer.status in (429, 503):
        raise _Refused
    assert answer.status == 200, (answer.status, answer.body)


async def _take_all(one: Background, after: int, connection: Connection) -> None:
    """Take the events of one reading in, and note what is wrong with them."""
    known = sorted(number for number in one.told if number > after)
    kept = b""
    while piece := await connection.chunk():
        kept += piece
        *events, kept = kept.split(b"\n\n")
        for event in events:
            _take(one, event, known)


def _take(one: Background, event: bytes, known: list[int]) -> None:
    """Take one event in. ``known`` are the numbers that this reading has still to tell again."""
    lines = [line for line in event.split(b"\n") if line.startswith(b"data: ")]
    if not lines:
        return
    data = lines[0].removeprefix(b"data: ")
    told = json.loads(data)
    number = told["sequence_number"]
    if told["type"] == "response.in_progress" and number != 1:
        return  # a sign of life
    if known and number != known[0]:
        one.wrong.append(f"event {number} was told in place of {known[0]}")
    elif not known and number <= max(one.told, default=-1):
        one.wrong.append(f"event {number} was told behind {max(one.told)}")
    elif known and one.told[number] != data:
        one.wrong.append(f"event {number} was told in two ways: {one.told[number]!r}, {data!r}")
    del known[:1]
    one.told.setdefault(number, data)
    if told["type"] in _LAST:
        one.end = told
