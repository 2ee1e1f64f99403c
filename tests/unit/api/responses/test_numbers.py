"""Numbers of events depend on the log alone: not on its grouping, nor on signs of life."""

from __future__ import annotations

import random

from api.responses.answer.events import RANGE, Events
from api.responses.answer.expansion import Expansion, View
from api.responses.answer.response_object import ResponseObject
from api.responses.fields import FIELDS
from api.responses.tools import ToolName
from tests.support.chats import sequence
from tests.unit.api.responses.logged_answers import END, JOB, called, events_of, goes_on
from wire.messages import Delta, Event
from worker.jobs.held_logs import merged


def an_answer() -> list[Delta]:
    return [
        Delta("", (1,), "Hm"),
        Delta("", (2, 3), "."),
        Delta("O", (4,)),
        Delta("ne", (5,)),
        called('{"a": '),
        goes_on("1"),
        goes_on("}"),
        called('{"input": "x', "apply_patch", "c2"),
        goes_on("yz"),
        goes_on('"}'),
        Delta("tail", ()),
    ]


def test_events_are_the_same_however_the_log_groups_an_answer() -> None:
    deltas, chat = an_answer(), sequence(job_id=JOB)
    expected = events_of(*deltas, END)
    chance = random.Random(11)
    for _ in range(200):
        logged: list[Event] = []
        rest = list(deltas)
        while rest:
            size = chance.randint(1, len(rest))
            step = [(chat, one) for one in rest[:size]]
            logged += [event for _, event in merged(step)]
            rest = rest[size:]
        assert events_of(*logged, END) == expected


def test_signs_of_life_have_the_next_numbers_and_change_no_others() -> None:
    quiet = events_of(*an_answer(), END)
    events = Events(
        ResponseObject(JOB, 1, "m", {}),
        Expansion(JOB, View({"apply_patch": ToolName("custom", "apply_patch")})),
        FIELDS,
    )
    told = events.beginning()
    for event in (*an_answer(), END):
        for _ in range(3):
            told.append(events.sign_of_life())
        told += events.of(event)
    numbers = [event["sequence_number"] for event in told]
    assert numbers == sorted(set(numbers))
    known = {event["sequence_number"] for event in quiet}
    assert [event for event in told if event["sequence_number"] in known] == quiet


def test_signs_of_life_never_reach_the_numbers_of_the_answer() -> None:
    events = Events(ResponseObject(JOB, 1, "m", {}), Expansion(JOB, View({})), FIELDS)
    events.beginning()
    for _ in range(2 * RANGE):
        last = events.sign_of_life()
    assert last["sequence_number"] == RANGE - 1
    assert events.of(Delta("Hi", (1,)))[0]["sequence_number"] == RANGE
