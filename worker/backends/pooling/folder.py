"""What the files of an embedding model or a reranker say: what it is for, how token vectors become
a text's, prompts and limits.

The files are those of sentence-transformers; conversions to MLX often lack them, and then the
model's type and its folder's name have to tell. Reads files alone: no library is imported.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from wire.model_registry import Task

Json = dict[str, Any]
ENCODERS = {"bert", "xlm_roberta", "modernbert", "llama_bidirec"}
"""Model types that mlx_vlm has as encoders: they write no text."""
OTHER_ENCODERS = {"roberta", "distilbert", "mpnet", "nomic_bert", "deberta_v2", "electra", "albert"}
"""Those that it doesn't have: known, so that the load says so and no chat is sent there."""
DECODERS = {"qwen3", "gemma3_text", "lfm2", "ministral3"}
"""Types of chat models that mlx_vlm also has as embedding models."""
RERANKERS = {"qwen3"}
"""Types of chat models that are run as rerankers, by the probability of the word "yes"."""
_CLASSIFIER = "ForSequenceClassification"
_VECTORS = re.compile("Embed|Bidirectional")
_TASKS_BY_TAG: dict[str, tuple[Task, ...]] = {
    "sentence-similarity": ("embed", "rerank"),
    "feature-extraction": ("embed", "rerank"),
    "text-ranking": ("rerank",),
}
"""What a model is for by the ``pipeline_tag`` of its card."""
_MOST_CARD_LINES = 200_000
"""Cards with results of benchmarks have tens of thousands of lines before their text."""
_OFFSET = {"xlm_roberta", "roberta"}
"""Types whose positions begin behind the number of the padding token."""
_LARGEST_LENGTH = 1 << 20
"""A tokeniser's limit beyond this says that there is none."""
_MATRYOSHKA: dict[str, tuple[int, ...]] = {"qwen3": (), "gemma3_text": (512, 256, 128)}
"""What vectors can be cut to by the cards of Qwen3-Embedding (any number) and EmbeddingGemma, whose
files don't say so."""


@dataclass(frozen=True, slots=True)
class PoolingFolder:
    """``kinds`` are the modules of sentence-transformers, such as Pooling; without them what the
    model's type does is done. ``pooling`` is the config of that module. ``prompts`` are the
    beginnings of texts by name. ``most_tokens`` is the longest text. ``dimensions`` and
    ``shorter_dimensions`` are as in ModelRecord."""

    kinds: tuple[str, ...]
    pooling: Json | None
    most_tokens: int
    dimensions: int
    shorter_dimensions: tuple[int, ...] | None
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None

    @property
    def normalises(self) -> bool:
        return not self.kinds or "Normalize" in self.kinds


def model_type_of(config: Json) -> str:
    return str(config.get("model_type", "")).lower().replace("-", "_")


def is_classifier(config: Json) -> bool:
    """Whether a model gives a text classes, and so scores."""
    named = config.get("architectures")
    return isinstance(named, list) and any(str(one).endswith(_CLASSIFIER) for one in named)


def answers_yes(config: Json) -> bool:
    """Whether a reranker is a chat model that answers yes or no."""
    return model_type_of(config) in RERANKERS and not is_classifier(config)


def tasks_of(config: Json, folder: Path, name: str) -> tuple[Task, ...]:
    """What a model is for. ``name`` is its folder's, or its repository's."""
    kind, called = model_type_of(config), name.lower()
    if is_classifier(config) or _is_cross_encoder(folder):
        return ("rerank",)
    embeds = kind in ENCODERS | OTHER_ENCODERS or any(map(Path.is_file, _made_by(folder)))
    if kind in RERANKERS and "rerank" in called and not embeds:
        return ("rerank",)
    if kind in DECODERS:
        embeds |= "embed" in called or config.get("use_bidirectional_attention") is True
    if embeds or _has_no_head(config):
        return ("embed", "rerank")
    # Cards of vision models tell of their towers, too.
    tag = "" if "vision_config" in config else _pipeline_tag(folder)
    return _TASKS_BY_TAG.get(tag, ("chat",))


def _is_cross_encoder(folder: Path) -> bool:
    """Whether sentence-transformers calls a model one that scores pairs of texts."""
    told = _object(folder / "config_sentence_transformers.json")
    return told.get("model_type") == "CrossEncoder"


def _made_by(folder: Path) -> list[Path]:
    """Files that sentence-transformers writes for models of vectors; a conversion may have kept one
    of them."""
    names = ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json")
    return [folder / name for name in names]


def _has_no_head(config: Json) -> bool:
    """Whether a model was saved as one without a head that writes text, by the name of its class:
    Qwen3Model for the type qwen3, or one that names what it does, as LlamaBidirectionalModel."""
    named = config.get("architectures")
    if not isinstance(named, list) or len(named) != 1 or "vision_config" in config:
        return False
    plain = model_type_of(config).replace("_", "") + "model"
    return str(named[0]).lower() == plain or bool(_VECTORS.search(str(named[0])))


def _pipeline_tag(folder: Path) -> str:
    """What a model's card says that it is for, in the YAML before its text; empty if it doesn't.

    A line is looked for, in place of a YAML parser: cards with results of benchmarks are so long
    that it would take seconds.
    """
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as card:
            lines = islice(card, _MOST_CARD_LINES)
            if next(lines, "").rstrip() != "---":
                return ""
            front = itertools.takewhile(lambda line: line.rstrip() != "---", lines)
            found = [line for line in front if line.startswith("pipeline_tag:")]
    except OSError:
        return ""
    return found[0].partition(":")[2].strip().strip("\"'") if found else ""


def read_folder(config: Json, folder: Path) -> PoolingFolder:
    """What a folder says. Files that can't be read say nothing."""
    modules = _modules(folder)
    kinds = tuple(kind for kind, _ in modules)
    places = dict(modules)
    place = places.get("Pooling", "1_Pooling")
    pooling = _object(folder / place / "config.json") or None
    told = _object(folder / "config_sentence_transformers.json")
    prompts = told.get("prompts")
    return PoolingFolder(
        kinds,
        pooling,
        _most_tokens(config, folder, places.get("Transformer", "")),
        _dimensions(config, folder, [place for kind, place in modules if kind == "Dense"]),
        _shorter(config),
        {k: v for k, v in prompts.items() if isinstance(v, str)}
        if isinstance(prompts, dict)
        else {},
        told.get("default_prompt_name"),
    )


def _modules(folder: Path) -> list[tuple[str, str]]:
    """The kinds of sentence-transformers' modules, and the folders of their files."""
    rows = _read(folder / "modules.json")
    if not isinstance(rows, list):
        return []
    return [
        (str(row.get("type", "")).rpartition(".")[2], str(row.get("path", "")))
        for row in rows
        if isinstance(row, dict)
    ]


def _most_tokens(config: Json, folder: Path, transformer: str) -> int:
    """The longest text: as sentence-transformers cuts it, or as many positions as there are."""
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and model_type_of(config) in _OFFSET:
        positions -= int(config.get("pad_token_id") or 0) + 1
    settings = _object(folder / transformer / "sentence_bert_config.json")
    tokenizer = _object(folder / "tokenizer_config.json")
    limits = (positions, settings.get("max_seq_length"), tokenizer.get("model_max_length"))
    known = [n for n in limits if isinstance(n, (int, float)) and 0 < n < _LARGEST_LENGTH]
    return int(min(known, default=512))


def _dimensions(config: Json, folder: Path, dense: list[str]) -> int:
    for place in reversed(dense):
        if isinstance(size := _object(folder / place / "config.json").get("out_features"), int):
            return size
    size = config.get("hidden_size")
    return size if isinstance(size, int) else 0


def _shorter(config: Json) -> tuple[int, ...] | None:
    listed = config.get("matryoshka_dimensions")
    if isinstance(listed, list):
        return tuple(size for size in listed if isinstance(size, int))
    return () if config.get("is_matryoshka") is True else _MATRYOSHKA.get(model_type_of(config))


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _object(file: Path) -> Json:
    value = _read(file)
    return value if isinstance(value, dict) else {}
