"""For which of several workers a chat is."""

from __future__ import annotations

from worker.jobs.routing.policy import LEAST_GAIN, Candidate, holder, with_model

LENGTH = 1000


def worker(
    name: str, held: int, running: int = 0, slots: int = 8, *, has_model: bool = True
) -> Candidate:
    return Candidate(name, held, running, slots, has_model)


def found(here: Candidate, *others: Candidate) -> str | None:
    other = holder(LENGTH, here, others)
    return None if other is None else other.name


def test_the_worker_that_holds_most_of_the_prompt() -> None:
    here = worker("here", 0, running=1)
    assert found(here, worker("a", 600), worker("b", 900), worker("c", 0)) == "b"
    assert found(here, worker("a", 900, running=1), worker("b", 900)) == "b"


def test_a_chat_stays_where_nearly_as_much_of_it_is_held() -> None:
    quarter = LENGTH // 4
    assert found(worker("here", 300), worker("a", 300 + quarter - 1)) is None
    assert found(worker("here", 300), worker("a", 300 + quarter)) == "a"


def test_a_few_tokens_are_read_again() -> None:
    here = worker("here", 0)
    assert holder(100, here, [worker("a", LEAST_GAIN - 1)]) is None
    assert holder(100, here, [worker("a", LEAST_GAIN)]) is not None


def test_a_full_worker_gets_no_more() -> None:
    here = worker("here", 0, running=7)
    assert found(here, worker("a", 900, running=8)) is None
    assert found(here, worker("a", 900, running=8), worker("b", 600, running=7)) == "b"
    assert found(worker("here", 650, running=7), worker("a", 900, running=8)) is None


def test_a_much_busier_worker_gets_no_more_the_less_of_the_prompt_it_adds() -> None:
    """Chats with one system prompt would all go to the worker that had the first of them."""
    here = worker("here", 0, running=1)
    assert found(here, worker("a", LENGTH, running=5)) == "a"
    assert found(here, worker("a", LENGTH, running=6)) is None
    assert found(here, worker("a", LENGTH // 2, running=3)) == "a"
    assert found(here, worker("a", LENGTH // 2, running=4)) is None
    assert found(here, worker("a", LENGTH // 4, running=2)) == "a"
    assert found(worker("here", LENGTH // 2, running=1), worker("a", LENGTH, running=4)) is None
    assert found(worker("here", 0), worker("a", 900, running=1, slots=2)) == "a"


def test_the_least_busy_worker_with_the_model_loaded() -> None:
    here = worker("here", 0, running=1, has_model=False)
    others = [worker("a", 0, 2), worker("b", 0, 1), worker("c", 0, 0, has_model=False)]
    other = with_model(here, others)
    assert other is not None
    assert other.name == "b"
    assert with_model(here, [worker("a", 0, running=4), worker("c", 0, has_model=False)]) is None
