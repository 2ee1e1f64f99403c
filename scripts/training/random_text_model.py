"""Text models with random weights that load through mlx_lm like any other: for tests and
benchmarks.

The tokeniser is trained on the source files of this project's tests and of Python's standard
library, so nothing is fetched. An untied head and a weight deviation of 1.6 / sqrt(fan in) keep the
answers from repeating one token for ever.
"""

from __future__ import annotations

import json
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + "
    "'<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TRAINING_FILES = 60


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a qwen3 model. The default has about 1.4 million parameters."""

    hidden: int = 128
    layers: int = 4
    intermediate: int = 384
    heads: int = 2
    head_dim: int = 64
    vocabulary: int = 2048
    context_window: int = 8192
    dtype: str = "float32"
    seed: int = 0


SMALL = Shape()
LARGE = Shape(hidden=320, layers=6, intermediate=960, heads=5, vocabulary=4096)
"""About 10 million parameters."""


def make(folder: Path, shape: Shape = SMALL) -> Path:
    """Write a model folder and return it."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.utils import _get_classes, save_config, save_model

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(shape.vocabulary)
    tokenizer.save_pretrained(folder)
    config = _config(shape, tokenizer)
    model_class, arguments = _get_classes(config)
    model = model_class(arguments.from_dict(config))
    mx.random.seed(shape.seed)
    weights = [
        (name, _random(name, w).astype(getattr(mx, shape.dtype)))
        for name, w in tree_flatten(model.parameters())
    ]
    model.load_weights(weights)
    save_model(folder, model)
    save_config(config, folder / "config.json")
    ends = {"eos_token_id": [tokenizer.eos_token_id], "pad_token_id": tokenizer.pad_token_id}
    (folder / "generation_config.json").write_text(json.dumps(ends), encoding="utf-8")
    return folder


def train_tokenizer(
    vocabulary: int, extra: tuple[str, ...] = (), template: str = CHAT_TEMPLATE
) -> Any:
    """A byte-level BPE tokeniser with a chat template; ``extra`` are further special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    bpe.decoder = decoders.ByteLevel()
    special = [*SPECIAL, *extra]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library = Path(sysconfig.get_paths()["stdlib"])
    bpe.train([str(file) for file in sorted(library.glob("*.py"))[:TRAINING_FILES]], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=special,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = template
    return tokenizer


def _config(shape: Shape, tokenizer: Any) -> dict[str, Any]:
    return {
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "intermediate_size": shape.intermediate,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.head_dim,
        "rms_norm_eps": 1e-6,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": shape.context_window,
        "tie_word_embeddings": False,
        "rope_theta": 1e6,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "torch_dtype": shape.dtype,
    }


def _random(name: str, like: Any) -> Any:
    import mlx.core as mx

    if like.ndim != 2:
        return like
    deviation = 1.0 if "embed" in name else 1.6 / like.shape[-1] ** 0.5
    return mx.random.normal(like.shape) * deviation
