"""Log-probabilities of the whole service on a real model equal numpy's: after a killed worker, and
as lm-eval asks for them."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import numpy as np
import psutil
import pytest

from tests.support.http_client import Service
from tests.support.service_support import Running
from worker.backends.text.detokenizer import detokenizers

CLOSE = 1e-4
TASK = [
    ("def add(a, b):\n    return", [" a + b", " a - b", " None"]),
    ("import os\nimport", [" sys", " the", " re\n"]),
    ("The capital of France is", [" Paris", " a list of \N{SNOWMAN}", " 12"]),
    ("for i in range(10):\n    print(", ["i)", "x)\n\n", '"hello")']),
]
"""Questions with their choices."""


@dataclass(frozen=True)
class Library:
    """The same model in this process."""

    model: Any
    tokenizer: Any

    def rows(self, tokens: list[int]) -> Any:
        """Log-probabilities behind each of the tokens, [tokens, vocabulary]."""
        logits = np.array(self.model(mx.array([tokens]))[0], dtype=np.float64)
        highest = logits.max(axis=-1, keepdims=True)
        return logits - highest - np.log(np.exp(logits - highest).sum(axis=-1, keepdims=True))

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def ids(self, written: list[list[int]]) -> list[int]:
        """The tokens that have these bytes."""
        made = detokenizers(self.tokenizer)(None)
        table = {made.bytes_of(token, []): token for token in range(len(self.tokenizer))}
        return [table[bytes(one)] for one in written]


@pytest.fixture(scope="module")
def folder(models: Path) -> Path:
    return models / "random"


@pytest.fixture(scope="module")
def library(folder: Path) -> Library:
    return Library(*mlx_lm.load(str(folder))[:2])


def test_what_a_killed_worker_logged_stays_and_the_rest_is_right(
    running: Running, http: Service, library: Library
) -> None:
    asked = {"max_tokens": 120, "seed": 5, "logprobs": True, "top_logprobs": 3}
    streams = [http.chat(f"question {i}", "random", **asked) for i in range(4)]
    streams[2].until(10)
    children = psutil.Process(running.process.pid).children()
    (worker,) = [child for child in children if child.cmdline()[-1] == "worker"]
    worker.send_signal(signal.SIGKILL)
    for number, stream in enumerate(streams):
        text = stream.rest()
        told = [one for frame in stream.frames for one in frame.get("logprobs", [])]
        written = b"".join(bytes(one["bytes"]) for one in told)
        assert written.decode("utf-8", "replace").startswith(text)
        turns = [{"role": "user", "content": f"question {number}"}]
        prompt = library.tokenizer.apply_chat_template(turns, add_generation_prompt=True)
        tokens = library.ids([one["bytes"] for one in told])
        rows = library.rows([*prompt, *tokens[:-1]])[len(prompt) - 1 :]
        for one, token, row in zip(told, tokens, rows, strict=True):
            assert abs(one["logprob"] - row[token]) < CLOSE
            best = [other["logprob"] for other in one["top_logprobs"]]
            assert np.allclose(best, np.sort(row)[::-1][:3], atol=CLOSE)
        again = http.events(stream.job_id)
        again.rest()
        assert [one for frame in again.frames for one in frame.get("logprobs", [])] == told


def loglikelihoods(http: Service, prompts: Any, lengths: list[int]) -> list[tuple[float, bool]]:
    """As lm-eval 0.4 asks for them and reads them (its ``LocalCompletionsAPI``). ``prompts`` is a
    text or a list of token-id lists, ``lengths`` are those of the contexts."""
    payload = {
        "model": "random",
        "prompt": prompts,
        "temperature": 0,
        "max_tokens": 1,
        "logprobs": 1,
        "seed": 1234,
        "echo": True,
    }
    status, answer = http.call("POST", "/v1/completions", payload)
    assert status == 200, answer
    results = []
    for choice, length in zip(answer["choices"], lengths, strict=True):
        values = choice["logprobs"]["token_logprobs"][length:-1]
        best = choice["logprobs"]["top_logprobs"][length:-1]
        greedy = all(value == max(top.values()) for value, top in zip(values, best, strict=True))
        results.append((sum(values), greedy))
    return results


@pytest.mark.parametrize(("context", "choices"), TASK)
def test_lm_evals_requests_give_what_is_computed_here(
    http: Service, library: Library, context: str, choices: list[str]
) -> None:
    length = len(library.encode(context))
    ids = [library.encode(context + choice) for choice in choices]
    as_ids = loglikelihoods(http, ids, [length] * len(ids))
    for choice, whole, by_ids in zip(choices, ids, as_ids, strict=True):
        rows = library.rows(whole[:-1])[length - 1 :]
        tokens = whole[length:]
        expected = sum(row[token] for row, token in zip(rows, tokens, strict=True))
        greedy = all(row.argmax() == token for row, token in zip(rows, tokens, strict=True))
        [by_text] = loglikelihoods(http, context + choice, [length])
        for found, was_greedy in (by_text, by_ids):
            assert abs(found - expected) < CLOSE * len(tokens)
            assert was_greedy == greedy


def test_a_likely_continuation_counts_as_greedy(http: Service, library: Library) -> None:
    context = "def f(a, b):\n"
    status, answer = http.call(
        "POST",
        "/v1/completions",
        {"model": "random", "prompt": context, "max_tokens": 6, "temperature": 0},
    )
    assert status == 200
    text, length = answer["choices"][0]["text"], len(library.encode(context))
    whole = library.encode(context + text)
    rows = library.rows(whole[:-1])
    likely = all(
        row.argmax() == token for row, token in zip(rows[length - 1 :], whole[length:], strict=True)
    )
    [(_, was_greedy)] = loglikelihoods(http, context + text, [length])
    assert was_greedy == likely
