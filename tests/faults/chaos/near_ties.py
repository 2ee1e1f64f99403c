"""Shows whether two answers part at a near-tie: the gap between the two best tokens where they
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
    found: list[int]


def describe_differences(model: Path, differences: list[Difference]) -> int:
    """Print each, computed anew in this process; the number of those that are no near-ties."""
    import mlx.core as mx
    import mlx_lm

    from wire.messages import Sampling
    from worker.backends.sampling.sampler import RowSampler

    network, tokenizer = mlx_lm.load(str(model))
    surprises = 0
    for difference in differences:
        pairs = zip(difference.expected, difference.found, strict=False)
        place = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
        if place is None:
            surprises += 1
            print(
                f"one answer is the beginning of the other: {len(difference.expected)}, {len(difference.found)}"
            )
            continue
        messages = difference.body["messages"]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True)
        tokens = [*prompt, *difference.expected[:place]]
        named = {k: v for k, v in difference.body.items() if k in Sampling.model_fields}
        row = RowSampler.of(Sampling(**named), place)
        values = scores(network(mx.array([tokens]))[:, -1, :], row, tokens)
        best, second = mx.sort(values)[-2:][::-1].tolist()
        chosen = sorted(
            (values[difference.expected[place]].item(), values[difference.found[place]].item())
        )
        surprises += best - chosen[0] > NEAR
        how = "greedy" if row.is_greedy else "seeded"
        apart = f"the best two lie {best - second:.2e} apart, the chosen ones {chosen[1] - chosen[0]:.2e}"
        print(f"{how}, token {place}: {apart}")
    return surprises


def scores(logits: Any, row: Any, tokens: list[int]) -> Any:
    """What the sampler compares at one position, [vocabulary]: logits, for a seeded row with
    penalty, cut and noise."""
    import mlx.core as mx
    import numpy as np

    from worker.backends.sampling import sampler

    logits = logits.astype(mx.float32)
    if row.penalty != 1.0:
        logits = sampler.penalise(
            logits, mx.array([sampler.window(tokens)]), mx.array([[row.penalty]])
        )
    if row.is_greedy:
        return logits[0]
    kept = sampler.nucleus(logits, mx.array([[row.top_p]]))
    key = mx.array(np.array(row.next_key(), dtype=np.uint32))
    return (kept / row.temperature + mx.random.gumbel(logits.shape[1:], key=key))[0]
