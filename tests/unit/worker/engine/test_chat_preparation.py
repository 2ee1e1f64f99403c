"""A chat whose place among workers can't be asked for still comes in."""

from __future__ import annotations

from typing import Any, cast

from tests.support.chats import chat_job
from worker.backends.base import Backend
from worker.engine.admission_window import AdmissionWindow
from worker.engine.context import EngineContext
from worker.engine.prompt_thread import ChatPreparation, Ready
from worker.errors import WorkerError
from worker.sequence import Sequence


class WithoutKey:
    """A backend whose adapter has been unloaded while a prompt was tokenised."""

    def prepare(self, _: Sequence) -> list[str]:
        return []

    def cache_key(self, _: Sequence) -> list[int]:
        raise WorkerError("load_failed", "The adapter is not loaded any more.")


def test_a_chat_without_a_key_comes_in_and_is_routed_nowhere() -> None:
    window, entered, routed = AdmissionWindow(), list[Ready](), list[Any]()
    preparation = ChatPreparation(EngineContext(), window)
    sequence = Sequence(chat_job())
    sequence.route = lambda *asked: routed.append(asked)
    preparation.begin(sequence, cast(Backend, WithoutKey()), entered.append)
    window.flush()
    preparation.close()
    assert [ready.result() for ready in entered] == [[]]
    assert routed == []
