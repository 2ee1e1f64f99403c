"""The shipped chat model with two adapters, trained once a session by mlx_lm's tuner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.mlx.adapters.training import train
from tests.mlx.conftest import Bench
from wire.model_registry import ModelRecord
from worker.models.adapters.found import describe as describe_adapter
from worker.models.folders import DEMO_MODELS, describe
from worker.sequence import Sequence

CHAT = DEMO_MODELS / "chat"


@pytest.fixture(scope="session")
def base() -> ModelRecord:
    described = describe(CHAT, name="demo-chat")
    assert described is not None
    return described


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of different ranks, scales and layers."""
    below = tmp_path_factory.mktemp("adapters")
    keys = ["self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"]
    other = {"rank": 3, "scale": 10.0, "dropout": 0.0, "keys": keys}
    return {
        "pirate": train(CHAT, below / "pirate", "Arr, me hearty!"),
        "poet": train(
            CHAT,
            below / "poet",
            "The moon is silver.",
            lora_parameters=other,
            num_layers=2,
            learning_rate=1e-2,
        ),
    }


@pytest.fixture(scope="session")
def adapters(base: ModelRecord, folders: dict[str, Path]) -> dict[str, ModelRecord]:
    return {name: describe_adapter(folder, [base]) for name, folder in folders.items()}


class AdapterBench(Bench):
    """A bench whose chats may have an adapter."""

    def attach(self, *records: ModelRecord) -> None:
        assert self.backend.adapters is not None
        for record in records:
            self.backend.adapters.read(record)
            list(self.backend.adapters.attach(record))

    def chat_with(self, adapter: ModelRecord | None, text: str, **sampling: Any) -> Sequence:
        chat = self.chat(text, **sampling)
        if adapter is None:
            return chat
        job = chat.job.model_copy(update={"model_id": adapter.id})
        return Sequence(job, emitted=chat.emitted)

    def answer_with(self, adapter: ModelRecord | None, text: str, **sampling: Any) -> list[int]:
        """One chat alone, from start to end."""
        chat = self.chat_with(adapter, text, **sampling)
        self.start(chat)
        self.run()
        return chat.generated
