"""How many answers are the same alone and among 32, for weights in fp32 and below, on both BLAS
libraries.

Each number type and BLAS is measured by a process of its own:
``python -m scripts.benchmarks.parts.in_process.equal_text FOLDER TYPE`` prints JSON.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.benchmarks.systems import processes
from scripts.benchmarks.systems.machine import blas_of
from scripts.benchmarks.systems.plan import GREEDY, SAMPLED, TOKENS, BenchError, Plan, Sampling

TYPES = ("float32", "bfloat16", "float16")
SEQUENCES = 32
SHORTEST = 8
"""Tokens of the shortest prompt; each is one longer than the one before, so that rows of a batch
are padded."""
Row = tuple[str, str, int, int]
"""BLAS, type, and the equal answers of SEQUENCES: greedy, sampled."""


def measure(openblas: str, folder: Path) -> list[Row]:
    """Every type on the BLAS of MLX's wheel and on OpenBLAS where there is one."""
    rows = []
    for library in filter(None, ("none", openblas)):
        plan = Plan("", "", 1, (), openblas="" if library == "none" else library)
        for dtype in TYPES:
            command = processes.python(__name__, str(folder / "equal" / dtype), dtype)
            output = processes.finished(command, processes.environment(plan), folder / "equal.log")
            found: dict[str, Any] = json.loads(output.strip().split("\n")[-1])
            rows.append((found["blas"], dtype, found[GREEDY.name], found[SAMPLED.name]))
    return rows


def count(folder: Path, dtype: str) -> dict[str, int]:
    """The number of equal answers for greedy and for sampled chats."""
    from scripts.benchmarks.systems.models import silence
    from scripts.benchmarks.systems.prompts import Prompts
    from scripts.training import random_text_model
    from worker.backends.batching import kv_cache
    from worker.backends.lm import open_model
    from worker.models.folders import describe
    from worker.prompt_cache import PromptCache

    if not (folder / "config.json").exists():
        silence(random_text_model.make(folder, replace(random_text_model.SMALL, dtype=dtype)))
    record = describe(folder, name="equal")
    if record is None:
        raise BenchError("the generated model has no description")
    prompts = Prompts(record.path)
    texts = [prompts.text(f"equal {i}", SHORTEST + i) for i in range(SEQUENCES)]
    result = {}
    for sampling in (GREEDY, SAMPLED):
        # No prompt cache: every answer is computed from its first token.
        backend = open_model(
            record, slots=SEQUENCES, prefill_step=128, cache=PromptCache(0, kv_cache)
        )
        list(backend.start())
        alone = [
            answer
            for i in range(SEQUENCES)
            for answer in _answers(backend, record, sampling, texts, [i])
        ]
        together = _answers(backend, record, sampling, texts, list(range(SEQUENCES)))
        if any(len(answer) != TOKENS for answer in alone):
            raise BenchError("an answer ended early")
        result[sampling.name] = sum(a == b for a, b in zip(alone, together, strict=True))
        backend.close()
    return result


def _answers(
    backend: Any, record: Any, sampling: Sampling, texts: list[str], numbers: list[int]
) -> list[list[int]]:
    """The token ids of some of the chats, generated in one batch."""
    from wire import messages
    from worker.sequence import Sequence

    chats = []
    for i in numbers:
        job = messages.ChatJob(
            job_id=f"{i:032x}",
            owner="everyone",
            model_id=record.id,
            model_revision=record.revision,
            messages=(messages.Message(role="user", content=texts[i]),),
            sampling=messages.Sampling(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                repetition_penalty=1.0,
                max_tokens=TOKENS,
                seed=i,
            ),
            submitted_ms=0,
        )
        chats.append(Sequence(job))
        backend.prepare(chats[-1])
        backend.add(chats[-1])
    while backend.sequences():
        for token in backend.step().tokens:
            token.sequence.accept(token.token_id)
    return [chat.generated for chat in chats]


if __name__ == "__main__":
    counted = count(Path(sys.argv[1]), sys.argv[2])
    print("\n" + json.dumps({"blas": blas_of(os.getpid()), **counted}))
