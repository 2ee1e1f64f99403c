"""Every kind of model by name, and a folder of each."""

from __future__ import annotations

import copy
import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.model_kinds import tokenizer, weights
from tests.model_kinds.configs import dense, experts, recurrent, text_of_vlm, windows
from tests.model_kinds.configs.recipe import Recipe, text_config
from tests.model_kinds.configs.vision import (
    also_text,
    documents,
    features,
    llava,
    new_towers,
    popular,
    projectors,
    text_templates,
    tiled,
)
from tests.model_kinds.configs.vision.recipe import VisionRecipe, vision_config
from tests.model_kinds.tokenizer import Template

ALL = os.environ.get("MODEL_KINDS") == "all"
"""Whether the tests run every kind, and not only one of each cache."""
TEXT: dict[str, Recipe] = {**dense.KINDS, **experts.KINDS, **windows.KINDS, **recurrent.KINDS}

SEES = "+vision"
"""Ends the names of vision models: many model types are also loaded without their tower."""
VISION: dict[str, VisionRecipe] = {
    f"{kind}{SEES}": recipe
    for kind, recipe in {
        **popular.KINDS,
        **features.KINDS,
        **text_templates.KINDS,
        **llava.KINDS,
        **documents.KINDS,
        **also_text.KINDS,
        **projectors.KINDS,
        **tiled.KINDS,
        **new_towers.KINDS,
    }.items()
}
OF_MLX_VLM = {**VISION, **text_of_vlm.KINDS}
"""The kinds that mlx_vlm runs, with and without pictures."""
KINDS = (*TEXT, *OF_MLX_VLM)


def make_folder(kind: str, path: Path, template: Template = "A") -> Path:
    """Write a tiny model of a kind into a new folder and return it."""
    path.mkdir(parents=True, exist_ok=True)
    (_make_of_mlx_vlm if kind in OF_MLX_VLM else _make_text)(kind, path, template)
    return path


def _make_text(kind: str, path: Path, template: Template) -> None:
    import mlx.core as mx
    from mlx_lm.utils import _get_classes

    config = text_config(kind, TEXT[kind])
    _write_config(path, config, template)
    tokenizer.save(path, template)
    model_class, arguments = _get_classes(config)
    weights.seed(kind)
    model = model_class(arguments.from_dict(copy.deepcopy(config)))
    made = weights.random_weights(model, tokenizer.written_tokens(template))
    mx.save_safetensors(str(path / "model.safetensors"), made, metadata={"format": "mlx"})


def _make_of_mlx_vlm(kind: str, path: Path, template: Template) -> None:
    import mlx.core as mx
    from mlx_vlm.utils import get_model_and_args, load_config, update_module_configs

    recipe = OF_MLX_VLM[kind]
    fix_sizes(kind)
    special = tokenizer.special_tokens(template, recipe.marks)
    ids = {mark: len(tokenizer.CHARACTERS) + i for i, mark in enumerate(special)}
    _write_config(path, vision_config(kind.removesuffix(SEES), recipe, ids), template)
    tokenizer.save(
        path,
        template,
        marks=recipe.marks,
        picture=recipe.picture,
        names=recipe.names,
        content=recipe.content,
        further=recipe.tokenizer,
        sentencepiece=recipe.sentencepiece,
    )
    for name in ("preprocessor", "processor"):
        if content := getattr(recipe, name):
            (path / f"{name}_config.json").write_text(json.dumps(content), encoding="utf-8")
    config = load_config(path)
    module, _ = get_model_and_args(config=config, model_path=path)
    for part in ("text_config", "vision_config", "audio_config"):
        config.setdefault(part, {})
    parts = ["text", "vision", "perceiver", "projector", "audio"]
    weights.seed(kind)
    model = module.Model(
        update_module_configs(module.ModelConfig.from_dict(config), module, config, parts)
    )
    written = tokenizer.written_tokens(template)
    made = weights.random_weights(model, written, tied=recipe.tied)
    mx.save_safetensors(str(path / "model.safetensors"), made, metadata={"format": "mlx"})


def fixing_modules(kind: str) -> set[str]:
    """The modules of mlx_vlm whose code fixes sizes of a kind."""
    return {_module_of(name) for name in OF_MLX_VLM[kind].fixed}


def fix_sizes(kind: str, module: str | None = None) -> None:
    """Make the sizes small that the library's code fixes, in all modules or in one."""
    for name, sizes in OF_MLX_VLM[kind].fixed.items():
        if module in (None, _module_of(name)):
            owner: Any = import_module(_module_of(name))
            for part in name.removeprefix(_module_of(name)).split(".")[1:]:
                owner = getattr(owner, part)
            for size, value in sizes.items():
                setattr(owner, size, value)


def _module_of(name: str) -> str:
    """mlx_vlm.models.KIND.FILE, in which a class or function is."""
    return ".".join(name.split(".")[:4])


def _write_config(path: Path, config: dict[str, Any], template: Template) -> None:
    ends = tokenizer.end_tokens(template)
    written = {**config, "eos_token_id": ends, "torch_dtype": "float32"}
    (path / "config.json").write_text(json.dumps(written), encoding="utf-8")
    generation = {"eos_token_id": ends, "pad_token_id": tokenizer.PAD}
    (path / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
