"""Files that others read with code from a model's own repository. That is never run here, and what
it would do is known."""

from __future__ import annotations

import functools
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from mlx_lm.utils import load_tokenizer
from mlx_vlm.models.base import install_auto_processor_patch
from mlx_vlm.models.mistral3.processing_mistral3 import Mistral3Processor
from transformers import AutoConfig, PreTrainedConfig, dynamic_module_utils
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES


class Phi4MMConfig(PreTrainedConfig):  # type: ignore[misc]
    """Phi-4-multimodal's. transformers completes a rotation of the type longrope with the context
    window, and fails where the class has none of its own."""

    model_type = "phi4mm"
    max_position_embeddings: int = 131072


def never_run_code() -> None:
    """Have transformers refuse the code of any repository, whatever it is told: mlx_vlm's
    processors of GOT-OCR and Inkling ask it to run that of a model's folder."""
    dynamic_module_utils.get_cached_module_file = _refuse


def _refuse(*_: Any, **__: Any) -> str:
    raise ValueError("the model brings code of its own, and that is never run")


def register_configurations() -> None:
    """Let transformers' automatic classes find these, and mlx_vlm the image processor of
    Phi-4-reasoning-vision.

    It looks for SigLIP 2's where transformers has the one that needs torchvision, and calls itself
    until the stack ends if that isn't installed; there is one beside that needs Pillow alone.
    """
    AutoConfig.register(Phi4MMConfig.model_type, Phi4MMConfig, exist_ok=True)
    _give_processor_to_mistral_large()
    if find_spec("torchvision") is None:
        stand_in = ModuleType("transformers.models.siglip2.image_processing_siglip2")
        vars(stand_in)["__getattr__"] = _siglip2
        sys.modules.setdefault(stand_in.__name__, stand_in)


@functools.cache
def _give_processor_to_mistral_large() -> None:
    """Have mlx_vlm read Mistral Large 3's files with the processor of its vision tower, which is
    Mistral Small 3's: the library names none, and that of transformers needs torchvision."""
    install_auto_processor_patch("mistral_large3", Mistral3Processor)


def _siglip2(name: str) -> Any:
    """A class of SigLIP 2's image processor, in its form for Pillow."""
    module = import_module("transformers.models.siglip2.image_processing_pil_siglip2")
    return getattr(module, f"{name}Pil")


def text_tokenizer(folder: Path, processor: Any) -> Any:
    """mlx_lm's wrapper of a folder's tokeniser. One that names a class of its own, such as
    MiniCPM-o's, is of the class that the processor reads it with."""
    options = {"trust_remote_code": False}
    try:
        return load_tokenizer(folder, options)
    except ValueError:
        name = type(getattr(processor, "tokenizer", processor)).__name__.removesuffix("Fast")
        families = [
            family
            for family, known in TOKENIZER_MAPPING_NAMES.items()
            if known is not None and known.removesuffix("Fast") == name
        ]
        if not families:
            raise
        return load_tokenizer(folder, options | {"tokenizer_type": families[0]})
