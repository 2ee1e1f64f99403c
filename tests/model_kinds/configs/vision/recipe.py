"""Vision models: a language model, a small tower, and a processor."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass, field
from typing import Any

from tests.model_kinds.configs.recipe import SHARED
from tests.model_kinds.tokenizer import PAD, VOCABULARY, Content

START, IMAGE, END = "<|vision_start|>", "<|image|>", "<|vision_end|>"
TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
    "num_channels": 3,
}
"""What a tower of 16 patches has, as most kinds name it."""
CODE = {"auto_map": {"AutoConfig": "configuration_model.ModelConfig"}}
"""What real repositories name beside: code of their own, which is not run."""
NORM = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 255}


class Fixed:
    """An attribute of a class that keeps its value, whatever the class gives it."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        return self._value

    def __set__(self, owner: Any, value: Any) -> None:
        pass

    def __delete__(self, owner: Any) -> None:
        pass


@dataclass(frozen=True)
class VisionRecipe:
    """One vision kind.

    ``picture`` is what a chat template writes for a picture, ``token`` the mark that stands for each
    of its features (empty where the configuration names none), ``marks`` all special tokens that the kind needs, ``names`` those that its
    processor asks the tokeniser for. ``preprocessor`` and ``processor`` are its files,
    ``tokenizer`` is in tokenizer_config.json beside what all have.
    """

    text: dict[str, Any] = field(default_factory=dict)
    tower: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)
    picture: str = START + IMAGE + END
    token: str = IMAGE
    marks: tuple[str, ...] = (START, IMAGE, END, "<|video|>")
    names: dict[str, str] = field(default_factory=dict)
    preprocessor: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, Any] = field(default_factory=dict)
    sentencepiece: bool = False
    """Whether its tokeniser is a SentencePiece model."""
    flat: bool = False
    """Whether the language model's part is at the top of the configuration."""
    model_type: str = ""
    ids: dict[str, str] = field(default_factory=dict)
    """Further marks by the names that the configuration has for their ids."""
    section: str = ""
    """The section of the configuration that holds both parts; empty for the top."""
    beside: dict[str, Any] = field(default_factory=dict)
    """What is beside that section."""
    content: Content = "any"
    """What the chat template takes as a message, as the kind's own does. One that takes strings has
    ``picture`` in them, with ``{n}`` for the picture's number."""
    fixed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Sizes that the library's code fixes, by the name of the class that has them."""
    tied: bool = False
    """Whether the model's own head is never used."""


def vision_config(kind: str, recipe: VisionRecipe, ids: dict[str, int]) -> dict[str, Any]:
    """The config.json of a vision model; ``ids`` are those of its marks."""
    from mlx_vlm.utils import MODEL_REMAPPING

    model_type = recipe.model_type or kind
    name = model_type.lower()
    module = importlib.import_module(f"mlx_vlm.models.{MODEL_REMAPPING.get(name, name)}")
    # Those without pictures may have one configuration alone.
    part = getattr(module, "TextConfig", module.ModelConfig)
    known = {**inspect.signature(part).parameters}
    if recipe.flat:
        known |= inspect.signature(module.ModelConfig).parameters
    shared = {name: value for name, value in SHARED.items() if name in known}
    text = {"model_type": model_type, **shared, **recipe.text}
    config = {
        "vocab_size": VOCABULARY,
        "pad_token_id": PAD,
        **_token_ids(recipe, ids),
        **recipe.own,
        "model_type": model_type,
    }
    if recipe.tower:
        config["vision_config"] = {"model_type": model_type, **recipe.tower}
    config = {**text, **config} if recipe.flat else {**config, "text_config": text}
    if not recipe.section:
        return config
    return {"model_type": model_type, **recipe.beside, recipe.section: config}


def _token_ids(recipe: VisionRecipe, ids: dict[str, int]) -> dict[str, int]:
    names = ("image_token_id", "image_token_index") if recipe.token else ()
    marks = {**dict.fromkeys(names, recipe.token), **recipe.ids}
    return {name: ids[mark] for name, mark in marks.items()}


def idefics3(tower: str, name: str) -> VisionRecipe:
    """Idefics3, and SmolVLM, which is one of its kind: its tower's type, and the name of its
    processors."""
    return VisionRecipe(
        tower={**TOWER, "model_type": tower},
        own={"scale_factor": 2},
        picture="<image>",
        token="<image>",
        marks=("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"),
        preprocessor={
            **NORM,
            "image_processor_type": f"{name}ImageProcessor",
            "processor_class": f"{name}Processor",
            "size": {"longest_edge": 56},
            "max_image_size": {"longest_edge": 56},
            "do_image_splitting": False,
        },
        processor={"image_seq_len": 4, "processor_class": f"{name}Processor"},
        content="parts",
    )
