"""The limit: mlx_lm in one process, no server, a round whenever limit.py asks for one with a line
of JSON.

One stream is ``stream_generate``; several are rows of one ``BatchGenerator``, inserted at once,
with one sampler for all rows, which is the fastest that the library offers. Times start with the
messages and include tokenising.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import mlx_lm
from mlx_lm.generate import BatchGenerator
from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache, trim_prompt_cache
from mlx_lm.sample_utils import make_sampler

from scripts.benchmarks.systems.machine import blas_of
from scripts.benchmarks.systems.plan import (
    BATCH_PROMPTS,
    READ_TOKENS,
    TOKENS,
    WARM_UP,
    WARM_UP_PROMPTS,
    Case,
    Figures,
    Plan,
    Sampling,
)
from scripts.benchmarks.systems.prompts import Messages, Prompts

Once = Callable[[str], tuple[list[float], float]]
"""Generate once: the TTFT of each stream, and how long it took."""


class Limit:
    """The model in this process."""

    def __init__(self, plan: Plan) -> None:
        self._model, self._tokenizer = mlx_lm.load(plan.model)
        self._plan = plan
        self._prompts = Prompts(plan.model)
        self._ready: dict[str, Once] = {}

    def round(self, case: Case, turn: int) -> dict[str, Figures]:
        """One round of one case."""
        match case.part:
            case "throughput":
                return {case.name: self._throughput(case, turn)}
            case "prefill":
                return self._read(turn)
            case "turn2":
                return self._second_turn(turn)
            case "batch":
                return {"batch": self._whole_batch(turn)}
        raise ValueError(case.part)

    def _throughput(self, case: Case, turn: int) -> Figures:
        """The library has no seed a row: a seeded case is measured without seeds."""
        if case.name not in self._ready:
            one = case.clients == 1
            self._ready[case.name] = (
                self._one_stream(case.sampling) if one else self._rows(case.sampling, case.clients)
            )
        ttft, rates = [], []
        for repeat in range(self._plan.repeats_of(case.clients)):
            firsts, seconds = self._ready[case.name](f"{case.name} {turn} {repeat}")
            ttft += firsts
            rates.append(case.clients * TOKENS / seconds)
        return Figures(ttft, [statistics.median(rates)])

    def _read(self, turn: int) -> dict[str, Figures]:
        """TTFT of a prompt that takes long to read."""
        messages = self._prompts.chat(f"read {turn}", READ_TOKENS)
        return {"prefill": Figures([self._first_token(messages, [], None)])}

    def _second_turn(self, turn: int) -> dict[str, Figures]:
        """TTFT of the second turn of the long conversation, with the first one's cache and
        without. A cache that can't be trimmed is of no use to the library."""
        first = self._prompts.long_chat(f"turn {turn} warm")
        cache = make_prompt_cache(self._model)
        ids = self._encode(first)
        answer = list(
            mlx_lm.stream_generate(self._model, self._tokenizer, ids, TOKENS, prompt_cache=cache)
        )
        known = [*ids, *(response.token for response in answer)]
        text = "".join(response.text for response in answer)
        again = self._prompts.second_turn(first, text, f"turn {turn} warm")
        cold = self._first_token(self._prompts.unseen_second_turn(f"turn {turn} cold"), [], None)
        return {"cold": Figures([cold]), "warm": Figures([self._first_token(again, known, cache)])}

    def _whole_batch(self, turn: int) -> Figures:
        """A thousand prompts in one call of the library, which gets them as tokens, greedy."""
        count = WARM_UP_PROMPTS if turn == WARM_UP else BATCH_PROMPTS
        ids = [
            self._encode(self._prompts.chat(f"batch {turn} {number}")) for number in range(count)
        ]
        began = time.perf_counter()
        mlx_lm.batch_generate(self._model, self._tokenizer, ids, max_tokens=TOKENS)
        return Figures([], [count * TOKENS / (time.perf_counter() - began)])

    def _first_token(self, messages: Messages, known: list[int], cache: Any) -> float:
        began = time.perf_counter()
        ids = self._encode(messages)
        pairs = enumerate(zip(ids, known, strict=False))
        common = next((i for i, (a, b) in pairs if a != b), min(len(ids), len(known)))
        if cache is not None and not can_trim_prompt_cache(cache):
            cache, common = None, 0
        if cache is not None:
            trim_prompt_cache(cache, cache[0].offset - common)
        next(
            iter(
                mlx_lm.stream_generate(
                    self._model, self._tokenizer, ids[common:], 2, prompt_cache=cache
                )
            )
        )
        return time.perf_counter() - began

    def _encode(self, messages: Messages) -> list[int]:
        return [
            int(i)
            for i in self._tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        ]

    def _one_stream(self, sampling: Sampling) -> Once:
        sampler = make_sampler(sampling.temperature, sampling.top_p)

        def once(label: str) -> tuple[list[float], float]:
            messages = self._prompts.chat(f"{label} 0")
            began, first = time.perf_counter(), 0.0
            ids = self._encode(messages)
            for _ in mlx_lm.stream_generate(
                self._model, self._tokenizer, ids, TOKENS, sampler=sampler
            ):
                first = first or time.perf_counter()
            return [first - began], time.perf_counter() - began

        return once

    def _rows(self, sampling: Sampling, rows: int) -> Once:
        ends = [[int(token)] for token in self._tokenizer.eos_token_ids]
        sampler = make_sampler(sampling.temperature, sampling.top_p)
        generator = BatchGenerator(
            self._model, stop_tokens=ends, sampler=sampler, completion_batch_size=rows
        )

        def once(label: str) -> tuple[list[float], float]:
            chats = [self._prompts.chat(f"{label} {i}") for i in range(rows)]
            began = time.perf_counter()
            running = set(
                generator.insert([self._encode(chat) for chat in chats], max_tokens=[TOKENS] * rows)
            )
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
    limit = Limit(Plan.from_json(sys.argv[1]))
    # Output goes to a log; answers go back to standard input, which is a socket.
    print(f"Ready: {blas_of(os.getpid())}", flush=True)
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as answers:
        for line in sys.stdin:
            question = json.loads(line)
            found = limit.round(Case.from_fields(question["case"]), question["turn"])
            reply = {name: asdict(figures) for name, figures in found.items()}
            answers.sendall(json.dumps(reply).encode() + b"\n")


if __name__ == "__main__":
    main()
