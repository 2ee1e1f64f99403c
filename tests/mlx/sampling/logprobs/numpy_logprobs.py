"""Log-probabilities by a plain log-softmax in numpy, and what a backend has measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from tests.mlx.conftest import Bench
from wire.messages import OutputFormat
from worker.logprobs import Measured
from worker.sequence import Sequence

LONG = "def f(a, b):\n    return a - b\n" * 12
CLOSE = 1e-4


def log_softmax(logits: Any) -> Any:
    wide = np.asarray(logits, dtype=np.float64)
    highest = wide.max(axis=-1, keepdims=True)
    return wide - highest - np.log(np.exp(wide - highest).sum(axis=-1, keepdims=True))


def expected(model: Any, tokens: list[int]) -> Any:
    """What the model says of the token behind each of these, [tokens, vocabulary]."""
    for kept in ("_position_ids", "_rope_deltas"):  # of the last prompt, in models of mlx_vlm
        if hasattr(model, kept):
            setattr(model, kept, None)
    output = model(mx.array([tokens]))
    logits = output.logits if hasattr(output, "logits") else output
    return log_softmax(np.array(logits[0].astype(mx.float32)))


class Told:
    """What a backend has measured."""

    def __init__(self) -> None:
        self.tokens: dict[int, list[Measured]] = {}
        self.prompts: dict[int, list[Measured]] = {}

    def run(self, bench: Bench, *, until: Callable[[], bool] = lambda: False) -> Told:
        while bench.backend.sequences() and not until():
            step = bench.backend.step()
            for chat, measured in step.prompts:
                chat.echo(measured)
                self.prompts[id(chat)] = measured
            for token in step.tokens:
                token.sequence.generated.append(token.token_id)
                if token.measured is not None:
                    self.tokens.setdefault(id(token.sequence), []).append(token.measured)
        return self

    def of(self, chat: Sequence) -> list[Measured]:
        return self.tokens.get(id(chat), [])


def right(found: list[Measured], tokens: list[int], rows: Any, likeliest: int) -> None:
    """Each is what the row of log-probabilities says of the token."""
    assert len(found) == len(tokens)
    for one, token, row in zip(found, tokens, rows, strict=True):
        assert abs(one.logprob - row[token]) < CLOSE
        assert len(one.top) == likeliest
        values = [value for _, value in one.top]
        assert values == sorted(values, reverse=True)
        assert np.allclose(values, np.sort(row)[::-1][:likeliest], atol=CLOSE)
        assert all(abs(row[other] - value) < CLOSE for other, value in one.top)


def check(model: Any, told: Told, chat: Sequence) -> None:
    likeliest = chat.job.sampling.logprobs
    if likeliest is None:
        assert told.of(chat) == []
        return
    rows = expected(model, chat.tokens[:-1])[len(chat.tokens) - len(chat.generated) - 1 :]
    right(told.of(chat), chat.generated, rows, likeliest)


def echoing(bench: Bench, text: str, **more: Any) -> Sequence:
    chat = bench.chat(text, **{"max_tokens": 4, "logprobs": 2, "prompt_logprobs": 2, **more})
    form = OutputFormat(raw=True, truncation="disabled", echo=True)
    chat.job = chat.job.model_copy(update={"form": form})
    return chat


def check_prompt(model: Any, told: Told, chat: Sequence) -> None:
    rows = expected(model, chat.prompt_ids[:-1]) if len(chat.prompt_ids) > 1 else []
    right(told.prompts[id(chat)], chat.prompt_ids[1:], rows, 2)
