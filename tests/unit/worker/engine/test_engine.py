"""The engine on the echo backend, in this process: every chat gets its text and ends once."""

from __future__ import annotations

import threading

import pytest

from tests.support.chats import WAIT_S, Loads, Reader, chat_job, sequence
from wire.messages import Delta, Finished, OutputFormat, Progress, Warning, is_terminal
from worker.backends.base import Step
from worker.backends.echo import EchoBackend, answer
from worker.engine.engine import Engine
from worker.engine.prompt_thread import LONG_PROMPT_TOKENS, takes_long
from worker.sequence import Sequence


def test_a_chat_says_the_known_text_and_ends_once(engine: Engine, reader: Reader) -> None:
    engine.submit(sequence("hello", seed=3, max_tokens=5))
    events = reader.wait("job")
    assert reader.text("job") == answer("hello", 3, 5)
    assert [e for e in events if is_terminal(e)] == [events[-1]]
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.finish_reason == "length"
    assert end.usage.completion_tokens == 5
    assert end.usage.prompt_tokens == len(b"user:hello\n")


def test_thirty_two_chats_at_once_each_say_their_own_text(engine: Engine, reader: Reader) -> None:
    for i in range(32):
        engine.submit(sequence(f"chat {i}", job_id=str(i), seed=i, max_tokens=10 + i))
    for i in range(32):
        assert reader.text(str(i)) == answer(f"chat {i}", i, 10 + i)


def test_a_chat_whose_followers_never_come_goes_on_without_them(
    engine: Engine, reader: Reader
) -> None:
    engine.submit(sequence("alone", max_tokens=5), expected=3)
    assert reader.text("job") == answer("alone", 1, 5)


def test_a_chat_that_waits_for_others_can_be_stopped(
    engine: Engine, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine.admission_window.LONGEST_S", 2 * WAIT_S)
    engine.submit(sequence("first", job_id="first"), expected=1)
    engine.call(lambda: None).result(WAIT_S)
    engine.call(lambda: None).result(WAIT_S)  # By now it has been prepared, and waits.
    assert not any(isinstance(event, Delta) for event in reader.events.get("first", []))
    engine.cancel("first")
    *_, end = reader.wait("first")
    assert isinstance(end, Finished)
    assert end.finish_reason == "cancelled"
    engine.submit(sequence("second", job_id="second", max_tokens=5))
    assert reader.text("second") == answer("second", 1, 5)


def test_a_chat_goes_on_behind_what_an_earlier_worker_emitted(
    engine: Engine, reader: Reader
) -> None:
    engine.submit(sequence("hello", seed=3, max_tokens=20))
    whole = [t for e in reader.wait("job") if isinstance(e, Delta) for t in e.token_ids]
    engine.submit(
        Sequence(chat_job("hello", job_id="again", seed=3, max_tokens=20), emitted=tuple(whole[:7]))
    )
    rest = [t for e in reader.wait("again") if isinstance(e, Delta) for t in e.token_ids]
    assert rest == whole[7:]
    end = reader.wait("again")[-1]
    assert isinstance(end, Finished)
    assert end.usage.completion_tokens == 20


def test_a_chat_whose_tokens_were_all_emitted_only_ends(engine: Engine, reader: Reader) -> None:
    engine.submit(Sequence(chat_job(max_tokens=2), emitted=(1, 2)))
    events = [e for e in reader.wait("job") if not isinstance(e, Progress)]
    assert len(events) == 1
    assert isinstance(events[0], Finished)
    assert events[0].finish_reason == "length"


def test_a_stopped_chat_keeps_its_text_and_its_neighbours_go_on(
    engine: Engine, reader: Reader, loads: Loads
) -> None:
    loads.delay_s = 0.002
    engine.submit(sequence("a", job_id="a", max_tokens=4000))
    engine.submit(sequence("b", job_id="b", max_tokens=40))
    reader.wait("a", least=5)
    engine.cancel("a")
    end = reader.wait("a")[-1]
    assert isinstance(end, Finished)
    assert end.finish_reason == "cancelled"
    assert answer("a", 1, 4000).startswith(reader.text("a"))
    assert reader.text("b") == answer("b", 1, 40)
    engine.cancel("a")
    engine.call(lambda: None).result(WAIT_S)
    assert reader.wait("a")[-1] is end


def test_a_chat_stopped_before_it_is_admitted_ends_without_text(
    engine: Engine, reader: Reader
) -> None:
    hold = threading.Event()
    engine.call(hold.wait)
    engine.submit(sequence("a", max_tokens=100))
    engine.cancel("job")
    hold.set()
    events = reader.wait("job")
    assert isinstance(events[-1], Finished)
    assert not [e for e in events if isinstance(e, Delta)]


def test_a_released_chat_gets_no_end(engine: Engine, reader: Reader, loads: Loads) -> None:
    loads.delay_s = 0.002
    engine.submit(sequence("a", max_tokens=4000))
    reader.wait("job", least=5)
    engine.release("job")
    engine.call(lambda: None).result(WAIT_S)
    engine.call(lambda: None).result(WAIT_S)
    assert not any(is_terminal(e) for e in reader.events["job"])
    assert engine.snapshot() == []


def test_loading_prefill_and_high_memory_are_events(engine: Engine, reader: Reader) -> None:
    engine.submit(sequence("x" * 40))
    events = reader.wait("job")
    assert Progress("loading") in events
    assert Progress("prefill", 16, 46) in events
    assert Warning("High memory usage (91%). Generation may be slow.") in events


def test_a_long_prompt_is_prepared_beside_the_loop(
    engine: Engine, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine.prompt_thread.LONG_PROMPT_CHARACTERS", 10)
    threads: list[str] = []
    prepare = EchoBackend.prepare

    def noted(self: EchoBackend, chat: Sequence) -> list[str]:
        threads.append(threading.current_thread().name)
        return prepare(self, chat)

    monkeypatch.setattr(EchoBackend, "prepare", noted)
    engine.submit(sequence("a long prompt"))
    assert reader.text("job") == answer("a long prompt", 1, 8)
    assert threads[0].startswith("tokenise")


def test_a_stop_text_ends_the_chat_and_is_not_shown(engine: Engine, reader: Reader) -> None:
    words = answer("hello", 1, 20).split()
    engine.submit(sequence("hello", max_tokens=20, stop=(words[5] + " ",)))
    assert reader.text("job").split() == words[:5]
    end = reader.wait("job")[-1]
    assert isinstance(end, Finished)
    assert end.finish_reason == "stop"


def test_suspects_are_inside_one_at_a_time_and_hold_nobody_else_back(
    engine: Engine, reader: Reader, loads: Loads
) -> None:
    loads.delay_s = 0.002
    inside: list[str] = []
    engine._chats._on_suspect = lambda chat: inside.append(chat.job_id)
    for number, length in enumerate((100_000, 5, 5)):
        suspect = sequence("x", job_id=f"suspect {number}", max_tokens=length)
        suspect.suspect = True
        engine.submit(suspect)
    engine.submit(sequence("y", job_id="other", max_tokens=5))
    reader.wait("other")
    assert inside == ["suspect 0"]
    engine.cancel("suspect 1")
    engine.cancel("suspect 0")
    for number in range(3):
        reader.wait(f"suspect {number}")
    assert inside == ["suspect 0", "suspect 2"]


def test_a_chat_that_comes_while_the_others_only_wait_is_taken_in_at_once(
    engine: Engine, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    resting = threading.Event()
    step = EchoBackend.step

    def rests_first(backend: EchoBackend, others_waiting: bool = False) -> Step:
        if len(backend.sequences()) > 1:
            return step(backend, others_waiting)
        resting.set()
        return Step(rest_s=10 * WAIT_S)

    monkeypatch.setattr(EchoBackend, "step", rests_first)
    engine.submit(sequence("a", job_id="a", max_tokens=4))
    assert resting.wait(WAIT_S)
    engine.submit(sequence("b", job_id="b", max_tokens=9))
    assert reader.text("a") == answer("a", 1, 4)


def test_an_engine_that_had_nothing_to_do_has_not_hung(
    engine: Engine, reader: Reader, loads: Loads
) -> None:
    engine.submit(sequence("x", job_id="first"))
    reader.wait("first")
    loads.opened[0]._delay_s = 0.2
    engine.call(lambda: setattr(engine._context.watchdog, "last_step", 0.0)).result()
    engine.submit(sequence("y", job_id="second", max_tokens=1))
    reader.wait("second", least=1)
    assert engine._context.watchdog.last_step > 0


def test_what_takes_long_is_prepared_beside_the_engine() -> None:
    many = tuple(range(LONG_PROMPT_TOKENS + 1))
    assert takes_long(Sequence(chat_job(), emitted=many))
    job = chat_job()
    ids = job.model_copy(update={"form": OutputFormat(raw=True, prompt_ids=many)})
    assert takes_long(Sequence(ids))
    assert takes_long(sequence("a" * 8_001))
    assert not takes_long(Sequence(chat_job(), emitted=many[:5]))
