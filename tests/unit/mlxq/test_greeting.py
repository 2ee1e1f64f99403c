"""What is printed once the service is ready."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from mlxq.service import greeting
from mlxq.service.greeting import MOST_NAMES
from wire.model_registry import ModelRecord
from wire.settings import Settings

URL = "http://127.0.0.1:8000"


def model(name: str, path: Path | str = "/data", **more: Any) -> ModelRecord:
    return ModelRecord(
        id=name,
        name=name,
        path=str(path),
        size=1,
        architecture="llama",
        context_window=1,
        is_vision=False,
        revision="r",
        **more,
    )


DEMO = model("demo-chat", demo=True)


def greet(
    monkeypatch: pytest.MonkeyPatch,
    *found: ModelRecord,
    keys: bool = False,
    models: tuple[Path, ...] = (),
) -> str:
    monkeypatch.setattr(greeting, "registered", lambda _: list(found))
    return greeting.greeting(URL, Settings(models=models), keys, "scripts/mlxq")


def test_it_says_where_to_chat_which_models_there_are_and_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = greet(monkeypatch, DEMO).strip().splitlines()
    assert lines[:2] == [f"Ready: {URL}", "Open this address in a browser to chat."]
    assert "Demo models, which know very little: demo-chat" in lines
    assert any("scripts/mlxq pull smollm2 " in line for line in lines)
    words = shlex.split(next(line for line in lines if line.startswith("curl")))
    assert words[:3] == ["curl", "-N", f"{URL}/api/engine/chat"]
    assert json.loads(words[words.index("-d") + 1])["model_id"] == "demo-chat"


def test_models_of_ones_own_come_first_and_need_no_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    coming = model("coming", downloaded=False)
    own = [model(f"own's {number}") for number in range(MOST_NAMES + 2)]
    text = greet(monkeypatch, DEMO, coming, *own, keys=True)
    assert (
        f"Models: own's 0, own's 1, {', '.join(f'own{chr(39)}s {n}' for n in range(2, 8))}" in text
    )
    assert "and 2 more" in text
    assert "pull" not in text
    assert "coming" not in text
    words = shlex.split(next(line for line in text.splitlines() if line.startswith("curl")))
    assert "Authorization: Bearer $MLXQ_KEY" in words
    assert json.loads(words[words.index("-d") + 1])["model_id"] == "own's 0"


def test_a_model_that_makes_vectors_is_told_but_not_for_chats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = greet(monkeypatch, model("a-vectors", tasks=("embed",)), DEMO)
    assert "Models: a-vectors" in text
    assert "scripts/mlxq pull smollm2 " in text
    words = shlex.split(next(line for line in text.splitlines() if line.startswith("curl")))
    assert json.loads(words[words.index("-d") + 1])["model_id"] == "demo-chat"


def test_an_empty_model_folder_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    full, empty = tmp_path / "full", tmp_path / "empty"
    text = greet(monkeypatch, model("one", full / "one"), models=(full, empty))
    assert f"There is no model in {empty}." in text
    assert str(full) not in text


def test_without_redis_and_without_models_it_still_greets() -> None:
    text = greeting.greeting(URL, Settings(redis_url="redis://127.0.0.1:1"), False, "mlxq")
    assert "No model was found." in text
    assert "curl" not in text
