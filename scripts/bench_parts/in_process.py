"""The limit: mlx_lm in one process, no server. ``python -m scripts.bench_parts.in_process PLAN`` prints JSON.

One stream is ``stream_generate``; several are rows of one ``BatchGenerator``, inserted at once, with one sampler for
all rows, which is the fastest that the library offers. Times start with the messages and include tokenising.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import mlx_lm
from mlx_lm.generate import BatchGenerator
from mlx_lm.models.cache import make_prompt_cache, trim_prompt_cache
from mlx_lm.sample_utils import make_sampler

from scripts.bench_parts.machine import blas_of
from scripts.bench_parts.plan import ALONE_REPEATS, BATCH_PROMPTS, CLIENTS, GREEDY, SAMPLED, TOKENS, Plan, Sampling
from scripts.bench_parts.prompts import Messages, Prompts

Measured = tuple[list[float], list[float]]
"""TTFT of each stream, tokens per second of each round."""


class Limit:
    """The model in this process."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._model, self._tokenizer = mlx_lm.load(plan.model)
        self._prompts = Prompts(plan.model)

    def throughput(self) -> dict[str, Measured]:
        result = {}
        for sampling in (GREEDY, SAMPLED):
            for clients in CLIENTS:
                once = self._one_stream(sampling) if clients == 1 else self._batch(sampling, clients)
                once("warm-up")
                ttft, rates = [], []
                for turn in range(self._plan.rounds):
                    for repeat in range(ALONE_REPEATS if clients == 1 else 1):
                        firsts, seconds = once(f"{sampling.name} {clients} {turn} {repeat}")
                        ttft += firsts
                        rates.append(clients * TOKENS / seconds)
                result[f"{sampling.name} {clients}"] = (ttft, rates)
        return result

    def second_turn(self) -> dict[str, Measured]:
        """TTFT of the second turn of the long conversation, with the first one's cache and without."""
        cold, warm = [], []
        for turn in range(-1, self._plan.rounds):
            first = self._prompts.long_chat(f"turn {turn} warm")
            cache = make_prompt_cache(self._model)
            ids = self._encode(first)
            answer = list(mlx_lm.stream_generate(self._model, self._tokenizer, ids, TOKENS, prompt_cache=cache))
            known = [*ids, *(response.token for response in answer)]
            text = "".join(response.text for response in answer)
            again = self._prompts.second_turn(first, text, f"turn {turn} warm")
            times = (
                self._first_token(self._prompts.unseen_second_turn(f"turn {turn} cold"), [], None),
                self._first_token(again, known, cache),
            )
            if turn >= 0:
                cold.append(times[0])
                warm.append(times[1])
        return {"cold": (cold, []), "warm": (warm, [])}

    def batch(self) -> dict[str, Measured]:
        """A thousand prompts in one call of the library, which gets them as tokens, greedy."""
        rates = []
        for turn in range(self._plan.batch_rounds):
            chats = [self._prompts.chat(f"batch {turn} {number}") for number in range(BATCH_PROMPTS)]
            ids = [self._encode(chat) for chat in chats]
            began = time.perf_counter()
            mlx_lm.batch_generate(self._model, self._tokenizer, ids, max_tokens=TOKENS)
            rates.append(BATCH_PROMPTS * TOKENS / (time.perf_counter() - began))
        return {"batch": ([], rates)}

    def _first_token(self, messages: Messages, known: list[int], cache: Any) -> float:
        began = time.perf_counter()
        ids = self._encode(messages)
        pairs = enumerate(zip(ids, known, strict=False))
        common = next((i for i, (a, b) in pairs if a != b), min(len(ids), len(known)))
        if cache is not None:
            trim_prompt_cache(cache, cache[0].offset - common)
        next(iter(mlx_lm.stream_generate(self._model, self._tokenizer, ids[common:], 2, prompt_cache=cache)))
        return time.perf_counter() - began

    def _encode(self, messages: Messages) -> list[int]:
        return [int(i) for i in self._tokenizer.apply_chat_template(messages, add_generation_prompt=True)]

    def _one_stream(self, sampling: Sampling) -> Callable[[str], tuple[list[float], float]]:
        sampler = make_sampler(sampling.temperature, sampling.top_p)

        def once(label: str) -> tuple[list[float], float]:
            messages = self._prompts.chat(f"{label} 0")
            began, first = time.perf_counter(), 0.0
            ids = self._encode(messages)
            for _ in mlx_lm.stream_generate(self._model, self._tokenizer, ids, TOKENS, sampler=sampler):
                first = first or time.perf_counter()
            return [first - began], time.perf_counter() - began

        return once

    def _batch(self, sampling: Sampling, rows: int) -> Callable[[str], tuple[list[float], float]]:
        ends = [[int(token)] for token in self._tokenizer.eos_token_ids]
        sampler = make_sampler(sampling.temperature, sampling.top_p)
        generator = BatchGenerator(self._model, stop_tokens=ends, sampler=sampler, completion_batch_size=rows)

        def once(label: str) -> tuple[list[float], float]:
            chats = [self._prompts.chat(f"{label} {i}") for i in range(rows)]
            began = time.perf_counter()
            running = set(generator.insert([self._encode(chat) for chat in chats], max_tokens=[TOKENS] * rows))
            firsts: dict[int, float] = {}
            while running:
                _, responses = generator.next()
                now = time.perf_counter() - began
                for response in responses:
                    firsts.setdefault(response.uid, now)
                    if response.finish_reason is not None:
                        running.remove(response.uid)
            return list(firsts.values()), time.perf_counter() - began

        return once


def main() -> None:
    plan = Plan.from_json(sys.argv[1])
    limit = Limit(plan)
    result: dict[str, Any] = {"blas": blas_of(os.getpid())}
    if "throughput" in plan.parts:
        result["throughput"] = limit.throughput()
    if "turn2" in plan.parts:
        result["turn2"] = limit.second_turn()
    if "batch" in plan.parts:
        result["batch"] = limit.batch()
    print("\n" + json.dumps(result))


if __name__ == "__main__":
    main()
