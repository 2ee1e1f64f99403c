"""OpenAI's list of models, and which names lead to a model."""

from __future__ import annotations

import pytest

from tests.support.api_support import MODEL
from tests.support.openai_support import MODELS, TAKES_TOOLS, Api
from wire.model_registry import Registry


def test_models_are_listed_by_the_name_to_ask_for(api: Api) -> None:
    twin = MODEL.model_copy(
        update={"id": "model-2", "repository": "other/tiny", "name": "Tiny Chat"}
    )
    loading = MODEL.model_copy(
        update={"id": "model-3", "name": "later", "repository": None, "downloaded": False}
    )
    unnamed = MODEL.model_copy(update={"id": "model-4", "repository": None})
    registry = Registry(api.redis)
    for record in (twin, loading, unnamed):
        registry.put(record)
    try:
        answer = api.client.get(MODELS).json()
        assert answer["object"] == "list"
        # The last one's name is the first one's as well, so only its id leads to it.
        assert [row["id"] for row in answer["data"]] == [
            "someone/tiny-chat",
            "other/tiny",
            "model-4",
        ]
        assert api.client.get(f"{MODELS}/later").status_code == 404
        assert api.client.get(f"{MODELS}/").json() == answer
    finally:
        for record in (twin, loading, unnamed):
            registry.remove(record.id)


@pytest.mark.parametrize("name", ["model-1", "Tiny Chat", "someone/tiny-chat"])
def test_a_model_is_found_by_any_of_its_names_slashes_and_all(api: Api, name: str) -> None:
    row = api.client.get(f"{MODELS}/{name}").json()
    assert (row["id"], row["object"], row["owned_by"]) == (name, "model", "someone")
    assert (row["created"], row["max_model_len"]) == (0, MODEL.context_window)


def test_a_model_is_as_old_as_its_files(api: Api) -> None:
    Registry(api.redis).put(TAKES_TOOLS, created=1_700_000_000)
    assert [row["created"] for row in api.client.get(MODELS).json()["data"]] == [1_700_000_000]
    assert api.client.get(f"{MODELS}/model-1").json()["created"] == 1_700_000_000
    Registry(api.redis).remove(TAKES_TOOLS.id)
    Registry(api.redis).put(TAKES_TOOLS)
    assert [row["created"] for row in api.client.get(MODELS).json()["data"]] == [0]
