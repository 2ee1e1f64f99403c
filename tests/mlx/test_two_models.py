"""A batch whose lines name two models: each gives the text that it gives alone, whichever comes
first."""

from __future__ import annotations

import time

import pytest

from tests.support.lanes import Immediate, InlineLoads
from wire.batches import BatchLine, BatchSlice
from wire.messages import Message, Sampling
from wire.model_registry import ModelRecord
from wire.settings import Settings
from worker import backends
from worker.engine.batch_scheduler import BatchScheduler
from worker.engine.batch_sequence import BatchSequence
from worker.engine.context import ChatLoad
from worker.models.folders import ModelFolders

LIMIT_S = 120
ASKED = [
    ("demo-vision", "Hello!"),
    ("demo-chat", "7+5"),
    ("demo-vision", "Who are you?"),
    ("demo-chat", "Hello!"),
]


class Service:
    """Both shipped models in memory, and the scheduler of batches over them."""

    def __init__(self) -> None:
        settings = Settings()
        self.cache = backends.new_prompt_cache(settings)
        self.catalogue = ModelFolders(())
        self.catalogue.scan()
        self.models = InlineLoads(
            self.catalogue.find,
            lambda record: backends.open_backend(record, settings, self.cache),
            budget=1 << 40,
            available=lambda: 1 << 40,
        )

    def record(self, name: str) -> ModelRecord:
        found = self.catalogue.find(name)
        assert found is not None
        return found

    def prompt(self, number: int, model: str, text: str) -> BatchSequence:
        record = self.record(model)
        line = BatchLine(
            number=number,
            custom_id=str(number),
            model_id=record.id,
            model_revision=record.revision,
            messages=(Message(role="user", content=text),),
            sampling=Sampling(seed=1, temperature=0, max_tokens=20),
        )
        return BatchSequence(
            line, BatchSlice(job_id="s", batch_id="b", owner="everyone", number=0), 1
        )

    def run(self, *prompts: BatchSequence) -> dict[tuple[str, str], tuple[str, list[int]]]:
        """Run prompts; the text and the prompt tokens by model and question."""
        ended: list[BatchSequence] = []
        background = BatchScheduler(
            self.models, slots=8, share=0, context=Immediate(), on_end=ended.append
        )
        background.submit(list(prompts))
        deadline = time.monotonic() + LIMIT_S
        while not background.idle:
            background.run_turn(ChatLoad())
            self.models.start_all()
            assert time.monotonic() < deadline
        background.close()
        results = {}
        for one in ended:
            result = one.result()
            assert result.error is None, result.error
            key = (self.catalogue.find(one.job.model_id).name, one.job.messages[0].text())  # type: ignore[union-attr]
            results[key] = (result.text, one.prompt_ids)
        return results


@pytest.fixture(scope="module")
def service() -> Service:
    return Service()


@pytest.mark.parametrize("order", [1, -1])
def test_lines_of_two_models_say_what_they_say_one_by_one(service: Service, order: int) -> None:
    alone: dict[tuple[str, str], tuple[str, list[int]]] = {}
    for number, (model, text) in enumerate(ASKED, 1):
        alone |= service.run(service.prompt(number, model, text))
    together = service.run(
        *(service.prompt(n, model, text) for n, (model, text) in enumerate(ASKED[::order], 1))
    )
    assert together == alone
    assert together["demo-chat", "7+5"][0] == "7 + 5 = 12."
