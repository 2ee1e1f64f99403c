"""Which library loads a folder, and folders that hold no model for chats."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx_vlm
import pytest
from mlx.utils import tree_flatten
from mlx_vlm.models.florence2.language import LanguageModel as CrossAttending
from mlx_vlm.models.qwen2_vl.language import LanguageModel
from mlx_vlm.utils import get_model_and_args

from scripts.training.random_text_model import CHAT_TEMPLATE, train_tokenizer
from tests.mlx.conftest import Bench
from tests.mlx.vision.vision_bench import GREEDY
from tests.model_kinds.kinds import SEES, VISION
from wire.messages import ImagePart, Message, TextPart
from wire.settings import Settings
from worker.backends import new_prompt_cache, open_backend
from worker.backends.loading import refuse_other_kinds, refuse_other_tasks
from worker.backends.prompting.vision import _end_tokens
from worker.errors import WorkerError
from worker.models.folders import describe

COHERE = {
    "model_type": "cohere2_moe",
    "hidden_size": 64,
    "head_dim": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "sliding_window": 4096,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_num_shared_experts": 0,
    "max_position_embeddings": 8192,
}


def folder_of(path: Path, config: dict[str, Any]) -> Path:
    """A folder with random weights of an architecture of mlx_vlm, and without a processor."""
    path.mkdir()
    tokenizer = train_tokenizer(512, (), CHAT_TEMPLATE)
    tokenizer.save_pretrained(path)
    config = {**config, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    module, _ = get_model_and_args(config)
    model = module.Model(module.ModelConfig.from_dict(config))
    mx.random.seed(0)
    weights = {
        name: mx.random.normal(like.shape) * (0.3 if like.ndim > 1 else 0.1) + (like.ndim == 1)
        for name, like in tree_flatten(model.parameters())
    }
    mx.save_safetensors(str(path / "model.safetensors"), weights)
    return path


def test_a_text_model_that_mlx_vlm_alone_has_says_what_it_says_there(tmp_path: Path) -> None:
    record = describe(folder_of(tmp_path / "m", COHERE))
    assert record is not None
    assert not record.is_vision
    settings = Settings(slots=4, prefill_step=32)
    bench = Bench.__new__(Bench)
    bench.record = record
    bench.backend = open_backend(record, settings, new_prompt_cache(settings))
    list(bench.backend.start())
    model, processor = mlx_vlm.load(record.path)
    rows = [{"role": "user", "content": "what is it?"}]
    prompt = processor.apply_chat_template(rows, add_generation_prompt=True, tokenize=False)
    *_, last = mlx_vlm.stream_generate(model, processor, prompt, max_tokens=32, temperature=0.0)
    assert bench.answer("what is it?", **GREEDY) == list(last.token_ids)
    # It has no tower: a picture is left out, and the reader is told.
    picture = ImagePart(sha256="1" * 64, width=8, height=8)
    parts = (picture, TextPart(text="what is it?"))
    chat = bench.chat([Message(role="user", content=parts)], **GREEDY)
    assert bench.backend.prepare(chat) == [
        "This model does not support images. Text-only response."
    ]
    bench.backend.add(chat)
    bench.run()
    assert chat.generated == list(last.token_ids)


def test_an_architecture_whose_package_is_missing_does_not_load(tmp_path: Path) -> None:
    """mlx_lm's olmo calls sys.exit without ai2-olmo."""
    folder = folder_of(tmp_path / "m", COHERE)
    (folder / "config.json").write_text(json.dumps({"model_type": "olmo"}), encoding="utf-8")
    record = describe(folder)
    assert record is not None
    settings = Settings()
    with pytest.raises(WorkerError) as caught:
        open_backend(record, settings, new_prompt_cache(settings))
    assert caught.value.code == "load_failed"
    assert "a package of its own is missing" in caught.value.message


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (SimpleNamespace(), "has no language model"),
        (SimpleNamespace(language_model=CrossAttending.__new__(CrossAttending)), "cross attention"),
    ],
)
def test_models_that_answer_no_chats_are_refused_in_a_sentence(model: Any, why: str) -> None:
    with pytest.raises(WorkerError) as caught:
        refuse_other_tasks(model, "some_type")
    assert caught.value.code == "load_failed"
    assert why in caught.value.message
    assert "some_type" in caught.value.message
    refuse_other_tasks(
        SimpleNamespace(language_model=LanguageModel.__new__(LanguageModel)), "qwen2_vl"
    )


def record_of(tmp_path: Path, model_type: str) -> Any:
    config = {"model_type": model_type, "vision_config": {}, "text_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return describe(tmp_path)


@pytest.mark.parametrize(
    ("model_type", "why"),
    [
        ("sam3", "is not a chat model"),
        ("rf-detr", "is not a chat model"),
        ("flux2", "is not a chat model"),
        ("qwen3_embedding", "is not a chat model"),
        ("qwen3_vl_embedding", "makes embeddings and no text"),
        ("florence2", "is an encoder-decoder model"),
        ("decider2", "answers typed questions with probabilities"),
        ("falcon_perception", "finds objects in images"),
        ("molmo_point", "points into images"),
    ],
)
def test_types_for_other_tasks_are_refused_before_their_weights_are_read(
    tmp_path: Path, model_type: str, why: str
) -> None:
    settings = Settings()
    with pytest.raises(WorkerError) as caught:
        open_backend(record_of(tmp_path, model_type), settings, new_prompt_cache(settings))
    assert caught.value.code == "load_failed"
    assert caught.value.message.startswith("This model can't be run here")
    assert f"{model_type} {why}" in caught.value.message


def test_chat_models_are_no_other_kind(tmp_path: Path) -> None:
    for recipe_type in {recipe.model_type or kind for kind, recipe in VISION.items()}:
        refuse_other_kinds(record_of(tmp_path, recipe_type.removesuffix(SEES)))


def test_an_answer_ends_at_the_processors_own_marks_too() -> None:
    config = SimpleNamespace(eos_token_id=[2, 3])
    tokenizer = SimpleNamespace(eos_token_id=2)
    assert _end_tokens(config, SimpleNamespace(additional_eos_token_ids=(7,)), tokenizer) == [
        2,
        3,
        7,
    ]
    assert _end_tokens(config, SimpleNamespace(), tokenizer) == [2, 3]
