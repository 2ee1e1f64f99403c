"""Seeded random weights for a model of any kind."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

from tests.model_kinds.tokenizer import VOCABULARY

AS_THEY_ARE = ("A_log", "dt_bias", ".D", "freqs", "inv_freq", "running_var", "running_mean")
"""Parameters whose initial values are part of what keeps a recurrence or a rotation stable."""
TIED_DEVIATION = 0.1
"""Small embeddings where the head is tied to them: what the layers add then decides the next token,
and not the last token by itself."""

OPEN = 0.15
"""About the value of gates of a single number. Libraries make them closed, which would hide what is
behind them; wide open, pictures would leave no room for words."""


def seed(kind: str) -> None:
    """Seed MLX for one kind: the same weights wherever the folder is made."""
    import mlx.core as mx

    mx.random.seed(zlib.crc32(kind.encode()))


def random_weights(model: Any, written: Iterable[int], *, tied: bool = False) -> dict[str, Any]:
    """New weights for every parameter of a model. Only ``written`` ids have a head row, so that no
    other token is ever the likeliest. ``tied``: the embeddings are the head, though it has one."""
    import mlx.core as mx
    from mlx.utils import tree_flatten

    parameters = dict(tree_flatten(model.parameters()))
    alive = mx.zeros((VOCABULARY, 1))
    alive[mx.array(list(written))] = 1.0
    tables = [n for n, w in parameters.items() if w.ndim == 2 and w.shape[0] == VOCABULARY]
    heads = [name for name in tables if "emb" not in name and "wte" not in name and not tied]
    weights = {}
    for name, like in parameters.items():
        weights[name] = _random(name, like, tied=not heads)
        if name in heads:
            weights[name] = weights[name] * alive
        elif name in tables and not heads:
            weights[name] = weights[name] * mx.maximum(alive, 0.05)
    return weights


def _random(name: str, like: Any, *, tied: bool) -> Any:
    import mlx.core as mx

    if not mx.issubdtype(like.dtype, mx.floating):
        return like
    like = like.astype(mx.float32)
    if name.endswith(AS_THEY_ARE):
        return like
    noise = mx.random.normal(like.shape)
    if "gate" in name and like.size == 1:
        return OPEN + 0.03 * noise
    if like.ndim < 2:
        return like + 0.1 * noise
    if like.ndim == 2 and like.shape[0] == VOCABULARY and ("emb" in name or "wte" in name):
        return noise * (TIED_DEVIATION if tied else 1.0)
    inputs = like.shape[-1]
    if "conv" in name or "patch" in name:
        inputs = like.size // like.shape[0]
    return noise * 1.6 / inputs**0.5
