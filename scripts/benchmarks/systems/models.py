"""The generated models, made by a process of its own.

``python -m scripts.benchmarks.systems.models FOLDER small|large``

Answers must have all their tokens, and every token must be seen as text when it is there. So the
rows of the output layer are set to zero for end-of-text and for tokens that a streaming detokeniser
holds back (parts of characters, lone spaces): a logit of 0 is never the largest, and lies outside
of a nucleus of 0.9 on these models.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from scripts.benchmarks.systems.prompts import IMAGE_SIDE

TEXT_NAME, VISION_NAME = "bench-text", "bench-vision"


def make(folder: Path, size: str) -> None:
    """Write both models below the folder."""
    from scripts.training import random_text_model, random_vision_model

    shape = {"small": random_text_model.SMALL, "large": random_text_model.LARGE}[size]
    silence(random_text_model.make(folder / TEXT_NAME, shape))
    silence(random_vision_model.make(folder / VISION_NAME, "qwen2_vl", side=IMAGE_SIDE))


def silence(model: Path) -> None:
    """Make the tokens that show no text unlikely."""
    import mlx.core as mx
    import numpy as np
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    kept = np.ones(len(tokenizer), dtype=np.float32)
    kept[held_back(tokenizer)] = 0
    file = model / "model.safetensors"
    weights = dict(mx.load(str(file)))
    (head,) = [name for name in weights if name.endswith("lm_head.weight")]
    weights[head] = weights[head] * mx.array(kept)[:, None].astype(weights[head].dtype)
    mx.eval(weights)
    mx.save_safetensors(str(file), weights, metadata={"format": "mlx"})


def held_back(tokenizer: Any) -> list[int]:
    """Ids whose text does not come out with the token itself."""
    texts = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    special = set(tokenizer.all_special_ids)
    return [
        token
        for token, text in enumerate(texts)
        if token in special or "\ufffd" in text or not text.strip()
    ]


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2])
