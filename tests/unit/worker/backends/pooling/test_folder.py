"""What the files of embedding models and rerankers say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from worker.backends.pooling.folder import read_folder, tasks_of

EMBEDS, RANKS, CHATS = ("embed", "rerank"), ("rerank",), ("chat",)
BERT = {"model_type": "bert", "hidden_size": 384, "max_position_embeddings": 512}


def write(folder: Path, **files: Any) -> None:
    for name, content in files.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(exist_ok=True)
        file.with_suffix(".json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("config", "name", "expected"),
    [
        ({"model_type": "bert"}, "all-MiniLM-L6-v2", EMBEDS),
        ({"model_type": "xlm-roberta"}, "bge-m3", EMBEDS),
        ({"model_type": "mpnet"}, "all-mpnet-base-v2", EMBEDS),
        ({"model_type": "qwen3"}, "Qwen3-Embedding-0.6B-4bit", EMBEDS),
        ({"model_type": "qwen3"}, "Qwen3-0.6B-4bit", CHATS),
        ({"model_type": "qwen3"}, "Qwen3-Reranker-0.6B", RANKS),
        ({"model_type": "llama"}, "llama-embed", CHATS),
        ({"model_type": "gemma3_text", "use_bidirectional_attention": True}, "x", EMBEDS),
        ({"model_type": "gemma3_text"}, "gemma-3-270m", CHATS),
        ({"model_type": "qwen3", "architectures": ["Qwen3Model"]}, "x", EMBEDS),
        ({"model_type": "gemma3_text", "architectures": ["Gemma3TextModel"]}, "x", EMBEDS),
        ({"model_type": "qwen3", "architectures": ["Qwen3ForSequenceEmbedding"]}, "x", EMBEDS),
        ({"model_type": "llama", "architectures": ["LlamaBidirectionalModel"]}, "x", EMBEDS),
        ({"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}, "x", CHATS),
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "x", CHATS),
        (
            {
                "model_type": "internvl_chat",
                "architectures": ["InternVLChatModel"],
                "vision_config": {},
            },
            "x",
            CHATS,
        ),
        (
            {"model_type": "xlm-roberta", "architectures": ["XLMRobertaForSequenceClassification"]},
            "bge-reranker-v2-m3",
            RANKS,
        ),
    ],
)
def test_what_a_model_is_for(
    tmp_path: Path, config: dict[str, Any], name: str, expected: tuple[str, ...]
) -> None:
    assert tasks_of(config, tmp_path, name) == expected


@pytest.mark.parametrize("file", ["modules", "1_Pooling__config", "sentence_bert_config"])
def test_sentence_transformers_files_make_an_embedding_model_of_any_type(
    tmp_path: Path, file: str
) -> None:
    write(tmp_path, **{file: []})
    assert tasks_of({"model_type": "qwen3"}, tmp_path, "anything") == EMBEDS


def test_a_cross_encoder_is_a_reranker_whatever_its_name(tmp_path: Path) -> None:
    write(tmp_path, modules=[], config_sentence_transformers={"model_type": "CrossEncoder"})
    assert tasks_of({"model_type": "qwen3"}, tmp_path, "anything") == RANKS


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: mit\npipeline_tag: sentence-similarity\n---\n", EMBEDS),
        ("---\npipeline_tag: 'feature-extraction'\n---\n", EMBEDS),
        ("---\r\npipeline_tag: text-ranking\r\n---\r\n", RANKS),
        ("---\npipeline_tag: text-generation\n---\n", CHATS),
        ("---\nlicense: mit\n---\npipeline_tag: sentence-similarity\n", CHATS),
        ("---\nbase:\n  pipeline_tag: sentence-similarity\n---\n", CHATS),
        ("pipeline_tag: sentence-similarity\n", CHATS),
        ("", CHATS),
    ],
)
def test_a_card_says_what_a_model_is_for(
    tmp_path: Path, card: str, expected: tuple[str, ...]
) -> None:
    (tmp_path / "README.md").write_bytes(card.encode())
    assert tasks_of({"model_type": "qwen3"}, tmp_path, "anything") == expected
    vision = {"model_type": "qwen3", "vision_config": {}}
    assert tasks_of(vision, tmp_path, "anything") == CHATS


def test_the_modules_files_are_read_where_they_are(tmp_path: Path) -> None:
    types = {"0_Transformer": "Transformer", "p": "Pooling", "d": "Dense", "n": "Normalize"}
    write(
        tmp_path,
        modules=[{"path": path, "type": f"st.models.{kind}"} for path, kind in types.items()],
        p__config={"pooling_mode_cls_token": True},
        d__config={"out_features": 96},
        config_sentence_transformers={"prompts": {"query": "q: "}, "default_prompt_name": "query"},
    )
    write(tmp_path, **{"0_Transformer__sentence_bert_config": {"max_seq_length": 128}})
    told = read_folder(BERT, tmp_path)
    assert told.kinds == ("Transformer", "Pooling", "Dense", "Normalize")
    assert told.normalises
    assert told.pooling == {"pooling_mode_cls_token": True}
    assert (told.dimensions, told.most_tokens) == (96, 128)
    assert (told.prompts, told.default_prompt) == ({"query": "q: "}, "query")


def test_a_folder_without_modules_has_the_limits_of_its_config(tmp_path: Path) -> None:
    told = read_folder(BERT, tmp_path)
    assert (told.pooling, told.dimensions, told.most_tokens) == (None, 384, 512)
    assert told.normalises
    assert told.shorter_dimensions is None
    roberta = {"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    assert read_folder(roberta, tmp_path).most_tokens == 512


@pytest.mark.parametrize(
    ("config", "shorter"),
    [
        ({"model_type": "bert", "matryoshka_dimensions": [256, 64]}, (256, 64)),
        ({"model_type": "bert", "is_matryoshka": True}, ()),
        ({"model_type": "qwen3"}, ()),
        ({"model_type": "gemma3_text"}, (512, 256, 128)),
        ({"model_type": "bert"}, None),
    ],
)
def test_which_shorter_vectors_there_are(
    tmp_path: Path, config: dict[str, Any], shorter: tuple[int, ...] | None
) -> None:
    assert read_folder(config, tmp_path).shorter_dimensions == shorter
