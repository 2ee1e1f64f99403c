"""Chats that are ready wait a short time for those that are expected to follow."""

from __future__ import annotations

from functools import partial

import pytest

from worker.engine.admission_window import ENOUGH, LONGEST_S, AdmissionWindow


class Door:
    """An admission window with a clock that a test sets, and the names of admitted chats."""

    def __init__(self) -> None:
        self.now = 100.0
        self.inside: list[str] = []
        self.gathering = AdmissionWindow(lambda: self.now)

    def comes(self, name: str, follow: int) -> None:
        self.gathering.expected = follow
        self.gathering.add(partial(self.inside.append, name))
        self.gathering.flush()


@pytest.fixture
def door() -> Door:
    return Door()


def test_one_that_nobody_follows_is_let_in_at_once(door: Door) -> None:
    door.comes("alone", 0)
    assert door.inside == ["alone"]
    assert door.gathering.remaining_s is None


def test_those_that_come_together_are_let_in_together_and_in_order(door: Door) -> None:
    for name, follow in (("a", 2), ("b", 1)):
        door.comes(name, follow)
    assert door.inside == []
    door.comes("c", 0)
    assert door.inside == ["a", "b", "c"]


def test_nobody_waits_longer_than_the_first_may(door: Door) -> None:
    door.comes("a", 2)
    door.now += 0.75 * LONGEST_S
    door.comes("b", 1)
    assert door.inside == []
    assert door.gathering.remaining_s == pytest.approx(0.25 * LONGEST_S)
    door.now += 0.25 * LONGEST_S
    door.gathering.flush()
    assert door.inside == ["a", "b"]


def test_enough_do_not_wait_for_more(door: Door) -> None:
    for number in range(ENOUGH):
        assert door.inside == []
        door.comes(str(number), 100 - number)
    assert door.inside == [str(number) for number in range(ENOUGH)]
