"""Shows whether two answers diverge at a near-tie: the gap between the two best tokens where they
first differ."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

NEAR = 1e-3
"""Scores closer than this are a near-tie: fp32 rounding moves a logit by about 1e-5."""


@dataclass(frozen=True)
class Difference:
    """A request and the token ids of its two answers."""

    body: dict[str, Any]
    expected: list[int]
    actual: list[int]


def describe_differences(model: Path, differences: list[Difference]) -> int:
    """Recompute and print each; returns the number of those that are not near-ties."""
    import mlx.core as mx
    import mlx_lm

    from wire.messages import Sampling
    from worker.backends.sampling.sampler import RowSampler

    network, tokenizer = mlx_lm.load(str(model))
    unexplained = 0
    for difference in differences:
        pairs = zip(difference.expected, difference.actual, strict=False)
        index = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
        if index is None:
            unexplained += 1
            lengths = f"{len(difference.expected)}, {len(difference.actual)}"
            print(f"one answer is the beginning of the other: {lengths} tokens")
            continue
        messages = difference.body["messages"]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True)
        tokens = [*prompt, *difference.expected[:index]]
        named = {k: v for k, v in difference.body.items() if k in Sampling.model_fields}
        row = RowSampler.of(Sampling(**named), index)
        values = scores(network(mx.array([tokens]))[:, -1, :], row, tokens)
        best, second = mx.sort(values)[-2:][::-1].tolist()
        chosen = sorted(
            (values[difference.expected[index]].item(), values[difference.actual[index]].item())
        )
        unexplained += best - chosen[0] > NEAR
        how = "greedy" if row.is_greedy else "seeded"
        gaps = f"gap of the best two {best - second:.2e}, of the chosen {chosen[1] - chosen[0]:.2e}"
        print(f"{how}, token {index}: {gaps}")
    return unexplained


def scores(logits: Any, row: Any, tokens: list[int]) -> Any:
    """The scores that the sampler compares at one position, [vocabulary]: the logits, for a seeded
    row with penalty, top-p and noise."""
    import mlx.core as mx
    import numpy as np

    from worker.backends.sampling.repetition_penalty import penalise
    from worker.backends.sampling.top_p import nucleus

    logits = logits.astype(mx.float32)
    if row.penalty != 1.0:
        recent = mx.array([tokens[-row.context_size :]])
        logits = penalise(logits, recent, mx.array([[row.penalty]]))
    if row.is_greedy:
        return logits[0]
    kept = nucleus(logits, mx.array([[row.top_p]]))
    key = mx.array(np.array(row.next_key(), dtype=np.uint32))
    return (kept / row.temperature + mx.random.gumbel(logits.shape[1:], key=key))[0]
