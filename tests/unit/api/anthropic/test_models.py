"""Models for Anthropic's clients, and other names for them."""

from __future__ import annotations

from typing import Any

import pytest

from api.app import create_app
from tests.support.api_support import MODEL
from tests.unit.api.anthropic.messages_api import AnthropicApi, body, serving
from wire.model_registry import Registry
from wire.settings import BadSetting, Settings

MODELS = "/v1/models"
VERSION = {"anthropic-version": "2023-06-01"}
NAME = "someone/tiny-chat"


def get(api: AnthropicApi, path: str = MODELS) -> Any:
    return api.client.get(path, headers=VERSION).json()


def test_models_are_listed_in_pages(api: AnthropicApi) -> None:
    registry = Registry(api.redis)
    others = [
        MODEL.model_copy(update={"id": f"m{i}", "name": f"z{i}", "repository": None})
        for i in range(3)
    ]
    for other in others:
        registry.put(other)
    try:
        whole = get(api)
        ids = [row["id"] for row in whole["data"]]
        assert (ids, whole["has_more"]) == ([NAME, "z0", "z1", "z2"], False)
        assert (whole["first_id"], whole["last_id"]) == (NAME, "z2")
        page = get(api, f"{MODELS}?limit=2&after_id={NAME}")
        assert ([row["id"] for row in page["data"]], page["has_more"]) == (["z0", "z1"], True)
        page = get(api, f"{MODELS}?limit=2&before_id=z2")
        assert ([row["id"] for row in page["data"]], page["has_more"]) == (["z0", "z1"], True)
        assert get(api, f"{MODELS}?after_id=nowhere")["data"] == []
    finally:
        for other in others:
            registry.remove(other.id)


def test_a_model_is_told_in_the_shape_of_the_client_that_asks(api: AnthropicApi) -> None:
    row = get(api, f"{MODELS}/model-1")
    assert (row["type"], row["id"], row["display_name"]) == ("model", "model-1", "Tiny Chat")
    assert row["created_at"] == "1970-01-01T00:00:00Z"
    assert row["max_input_tokens"] == MODEL.context_window
    assert api.client.get(f"{MODELS}/model-1").json()["object"] == "model"
    missing = get(api, f"{MODELS}/nothing")
    assert missing["error"]["type"] == "not_found_error"


def test_other_names_mean_a_model_and_answers_have_its_own() -> None:
    settings = Settings(model_aliases=("claude-*=model-1", "gpt-*=default", "Tiny Chat=nowhere"))
    with serving(settings) as api:
        for asked in ("claude-opus-9", "gpt-7", None):
            answer = api.message(model=asked)
            assert answer["model"] == NAME
            sent = {"model": asked, "messages": body()["messages"]}
            answer = api.client.post("/v1/chat/completions", json=sent).json()
            assert answer["model"] == NAME
        # A model's own name comes first.
        assert api.message(model="Tiny Chat")["model"] == "Tiny Chat"
        assert api.client.get(f"{MODELS}/claude-x").json()["id"] == NAME
        assert get(api, f"{MODELS}/gpt-x")["id"] == NAME
        assert len(get(api)["data"]) == 1
        api.worker.seen.clear()
        api.refused(404, "not_found_error", model="mistral-x")
        native = {"model_id": "claude-x", "messages": body()["messages"]}
        assert api.client.post("/api/engine/chat", json=native).status_code == 404


def test_the_default_model_may_be_named() -> None:
    with serving(Settings(model_aliases=("default=nowhere",))) as api:
        api.refused(404, "not_found_error", model="default")
        api.refused(404, "not_found_error", model=None)


@pytest.mark.parametrize("alias", ["claude", "=demo", "a=", "a=b=c d", "a=demo-*"])
def test_what_is_no_alias_stops_the_start(alias: str) -> None:
    with pytest.raises(BadSetting, match="MLXQ_MODEL_ALIASES: "):
        create_app(Settings(model_aliases=(alias,)))
