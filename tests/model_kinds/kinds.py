"""Every kind of model by name, and a folder of each."""

from __future__ import annotations

import copy
import json
import pydoc
from pathlib import Path
from typing import Any

from tests.model_kinds import tokenizer, weights
from tests.model_kinds.configs import (
    dense,
    document_kinds,
    experts,
    llava_kinds,
    other_vision_kinds,
    projector_kinds,
    recurrent,
    text_and_vision_kinds,
    text_template_kinds,
    tiled_kinds,
    vision_kinds,
    windows,
)
from tests.model_kinds.configs.recipe import Recipe, text_config
from tests.model_kinds.configs.vision import VisionRecipe, vision_config
from tests.model_kinds.tokenizer import Template

TEXT: dict[str, Recipe] = {**dense.KINDS, **experts.KINDS, **windows.KINDS, **recurrent.KINDS}

SEES = "+vision"
"""Ends the names of vision models: many model types are also loaded without their tower."""
VISION: dict[str, VisionRecipe] = {
    f"{kind}{SEES}": recipe
    for kind, recipe in {
        **vision_kinds.KINDS,
        **other_vision_kinds.KINDS,
        **text_template_kinds.KINDS,
        **llava_kinds.KINDS,
        **document_kinds.KINDS,
        **text_and_vision_kinds.KINDS,
        **projector_kinds.KINDS,
        **tiled_kinds.KINDS,
    }.items()
}

NOT_RUN = {
    f"llava{SEES}": "mlx_vlm's processor fails on pictures; text runs",
    "bitnet": "its kernels are Metal's alone",
    f"deepseekocr_2{SEES}": "its tower has one size, of 24 wide layers",
    f"florence2{SEES}": "refused: an encoder-decoder model",
    f"ernie4_5_moe_vl{SEES}": "its tokeniser is a SentencePiece file, which these tests don't write",
    "gear": "mlx_lm fails on it",
    f"minicpmv{SEES}": "neither library has it",
    f"moondream1{SEES}": "refused: mlx_vlm fetches its tokeniser from a hub, with code it would run",
    f"moondream2{SEES}": "refused: mlx_vlm fetches its tokeniser from a hub, with code it would run",
    "muse_spark": "its kernels are Metal's alone",
    "olmo": "needs the package ai2-olmo",
    "phi3small": "damages the heap of MLX's CPU backend",
    "prism_hadamard_qwen35": "its weights exist packed in 2 bits only",
    f"youtu_vl{SEES}": "its images need code of its repository, which isn't run; text runs",
}
"""Model types of mlx_lm that these tests can't run, and why."""

_POSITIONS = "takes turns: its library has one position for all rows of a batch"
TAKES_TURNS = {
    "afm7": _POSITIONS,
    "deepseek_v41": "takes turns: its cache can't be merged",
    "gemma2": "takes turns: its library's grouped heads have no room for a mask of each row",
    "gpt_bigcode": _POSITIONS,
    "llama4": "takes turns: chunks can't be merged",
    f"llama4{SEES}": "takes turns: chunks can't be merged",
    "minimax_m3_vl": _POSITIONS,
    f"cohere_compass{SEES}": "takes turns: its library looks for rows where their windows began",
    f"hunyuan_vl{SEES}": _POSITIONS,
    f"jina_vlm{SEES}": _POSITIONS,
    f"mllama{SEES}": _POSITIONS,
    f"paligemma{SEES}": "takes turns: its library says something else in company",
}
"""Kinds whose chats can't share a forward pass, and why."""
REUSES_NOTHING = {
    f"paligemma{SEES}": "reuses nothing: a prompt's tokens see each other in both directions",
}
_ONE = (
    "deepseek_vl_v2",
    "deepseekocr",
    "granite4_vision",
    "granite_vision",
    "jina_vlm",
    "llava_bunny",
    "llava_next",
    "molmo",
    "moondream3",
    "multi_modality",
    "paddleocr_vl",
    "paligemma",
    "step3p7",
)
ONE_PICTURE = {
    f"{kind}{SEES}": "sees one picture in a conversation: a second is refused" for kind in _ONE
}
"""Kinds that see one picture and no more, and why."""
_LATENT = "isn't quantised: its attention multiplies with the cached latents itself"
_ITSELF = "isn't quantised: its attention works on keys and values itself"
_STATES = "isn't quantised: it has states in place of keys and values"
NOT_QUANTISED = {
    "bailing_hybrid": _LATENT,
    "bailing_moe_v3": _LATENT,
    "deepseek_v3": _LATENT,
    "deepseek_v32": _LATENT,
    "deepseek_v41": "isn't quantised: its cache is of a kind of its own",
    "falcon_mamba": _STATES,
    "gemma2": _ITSELF,
    "glm4_moe_lite": _LATENT,
    "glm_moe_dsa": _LATENT,
    "gpt_oss": "isn't quantised: its library has no quantised attention with sinks",
    "iquestloopcoder": "isn't quantised: all its layers read the keys a second time, as plain ones",
    "joyai_llm_flash": _LATENT,
    "kimi_k2": _LATENT,
    "kimi_k25": _LATENT,
    "kimi_k3": _LATENT,
    "kimi_linear": _LATENT,
    "kimi_vl": _LATENT,
    "longcat_flash": _LATENT,
    "longcat_flash_ngram": _LATENT,
    "mamba": _STATES,
    "mamba2": _STATES,
    "mistral4": _LATENT,
    f"kimi_k25{SEES}": _LATENT,
    f"moondream3{SEES}": _ITSELF,
    "phi": _ITSELF,
    f"phi3_v{SEES}": _ITSELF,
    f"phi4_siglip{SEES}": _ITSELF,
    f"phi4mm{SEES}": _ITSELF,
    "phixtral": _ITSELF,
    "plamo": _ITSELF,
    "plamo2": _ITSELF,
    "recurrent_gemma": "isn't quantised: it has states and windows in place of plain keys and values",
    "rwkv7": _STATES,
    "stablelm": _ITSELF,
}
"""Kinds of which no layer's cache can be quantised, and why."""
_SHARED = "quantises all but the layer whose keys others read, as plain ones"
QUANTISED_IN_PART = {
    "afm7": _SHARED,
    "gemma4_text": _SHARED,
    "minimax_m3_vl": "quantises its dense layers: the others work on keys themselves",
}
"""Kinds of which some layers that hold every token stay as they are, and why."""


def make_folder(kind: str, path: Path, template: Template = "A") -> Path:
    """Write a tiny model of a kind into a new folder and return it."""
    path.mkdir(parents=True, exist_ok=True)
    (_make_vision if kind in VISION else _make_text)(kind, path, template)
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


def _make_vision(kind: str, path: Path, template: Template) -> None:
    import mlx.core as mx
    from mlx_vlm.utils import get_model_and_args, load_config, update_module_configs

    recipe = VISION[kind]
    for name, sizes in recipe.fixed.items():
        for size, value in sizes.items():
            setattr(pydoc.locate(name), size, value)
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


def _write_config(path: Path, config: dict[str, Any], template: Template) -> None:
    ends = tokenizer.end_tokens(template)
    written = {**config, "eos_token_id": ends, "torch_dtype": "float32"}
    (path / "config.json").write_text(json.dumps(written), encoding="utf-8")
    generation = {"eos_token_id": ends, "pad_token_id": tokenizer.PAD}
    (path / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
