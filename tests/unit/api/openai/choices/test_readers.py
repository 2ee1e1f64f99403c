"""What is waited for before the headers of a stream with several answers are sent."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from starlette.requests import Request

from api.errors import ApiError
from api.jobs.reader import Reader
from api.openai.choices.answer import ChoicesAnswer
from api.openai.choices.readers import ChoiceReaders, begin
from api.openai.responses import ChatAnswer
from wire.log_entries import decode, encode
from wire.messages import Delta, Event, Failed, Progress, Warning

LIMIT_S = 60.0
"""Longer than any test may take: what is tested is that nothing waits for it."""


class Source:
    """A relay without logs."""

    closing = False

    async def stored(self, job_id: str, after: int, most: int = 0) -> list[Any]:  # noqa: ARG002
        return []

    def detach(self, reader: Reader) -> None:
        pass


class Client:
    """A request whose client stays."""

    async def receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError("nothing comes")


class Group:
    """Three answers, and what became of them."""

    def __init__(self) -> None:
        source = Source()
        self.readers = [
            Reader(source, f"job{i}", 0, replay=False, by_tokens=True) for i in range(3)
        ]
        self.calls: list[str] = []
        self.group = ChoiceReaders(
            self.readers, lambda: self.calls.append("stop"), lambda: self.calls.append("leave")
        )

    def say(self, index: int, number: int, event: Event) -> None:
        self.readers[index].put(decode(encode(f"job{index}", number, event).encode()))

    async def all_wait(self) -> None:
        while any(one._waiter is None or one._waiter.done() for one in self.readers):
            await asyncio.sleep(0)

    async def begun(self) -> list[list[str]]:
        """The kinds of events that were read of each."""
        answer = ChoicesAnswer([ChatAnswer("job0", 0, "m", "f") for _ in self.readers], 3)
        async with asyncio.timeout(LIMIT_S):
            found = await begin(self.group, answer, cast(Request, Client()), LIMIT_S)
        assert found is not None
        return [[type(event).__name__ for event in one.events] for one in found]


async def test_once_one_answers_those_that_wait_for_a_slot_are_not_waited_for() -> None:
    group = Group()
    task = asyncio.create_task(group.begun())
    await group.all_wait()
    group.say(0, 1, Warning("Slow."))
    await group.all_wait()
    assert not task.done()
    group.say(0, 2, Delta("Hi", (1,)))
    assert await task == [["Warning", "Delta"], [], []]
    assert group.calls == []


async def test_when_all_prompts_are_accepted_nothing_more_is_waited_for() -> None:
    group = Group()
    task = asyncio.create_task(group.begun())
    for index in range(3):
        await group.all_wait()
        group.say(index, 0, Progress("prefill", 1, 9))
    assert await task == [["Progress"]] * 3


async def test_a_refusal_of_one_is_the_answer_and_stops_the_others() -> None:
    group = Group()
    task = asyncio.create_task(group.begun())
    await group.all_wait()
    group.say(1, 1, Failed("prompt_too_long", "Too long."))
    with pytest.raises(ApiError) as refused:
        await task
    assert (refused.value.code, refused.value.param) == ("prompt_too_long", "messages")
    assert group.calls == ["stop"]


async def test_a_refusal_beside_a_beginning_is_left_to_the_stream() -> None:
    group = Group()
    task = asyncio.create_task(group.begun())
    await group.all_wait()
    group.say(0, 1, Delta("Hi", (1,)))
    group.say(1, 1, Failed("prompt_too_long", "Too long."))
    assert await task == [["Delta"], ["Failed"], []]
    assert group.calls == []
