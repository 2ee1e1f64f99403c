"""Measures a saved model on held-out phrasings, greedily and with the service's default sampling."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm import load
from mlx_lm.generate import BatchGenerator
from mlx_lm.sample_utils import make_logits_processors, make_sampler

from .cases import Case, build_cases

_MOST_TOKENS = 320


@dataclass(frozen=True)
class Sampling:
    """The sampling settings of one measurement."""

    name: str
    temperature: float
    top_p: float
    repetition_penalty: float


GREEDY = Sampling("greedy", 0.0, 0.0, 1.0)
DEFAULTS = Sampling("defaults", 0.7, 0.9, 1.1)


@dataclass(frozen=True)
class Outcome:
    """A case and the model's reply."""

    case: Case
    reply: str

    @property
    def right(self) -> bool:
        """Whether the reply passes the case's check."""
        return self.case.accepts(self.reply)


def answer_all(
    model: Any, tokenizer: Any, cases: list[Case], sampling: Sampling, seed: int
) -> list[Outcome]:
    """Answer every case, many at once."""
    mx.random.seed(seed)
    generator = BatchGenerator(
        model,
        completion_batch_size=32,
        prefill_batch_size=32,
        max_tokens=_MOST_TOKENS,
        stop_tokens=[[token] for token in tokenizer.eos_token_ids],
        sampler=make_sampler(temp=sampling.temperature, top_p=sampling.top_p),
    )
    penalty = None if sampling.repetition_penalty == 1.0 else sampling.repetition_penalty
    prompts = [
        tokenizer.apply_chat_template(list(case.messages), add_generation_prompt=True)
        for case in cases
    ]
    processors = [
        make_logits_processors(repetition_penalty=penalty, repetition_context_size=20)
        for _ in cases
    ]
    uids = generator.insert(prompts, logits_processors=processors)
    tokens: dict[int, list[int]] = {uid: [] for uid in uids}
    running = set(uids)
    while running:
        for response in generator.next()[1]:
            if response.finish_reason != "stop":
                tokens[response.uid].append(response.token)
            if response.finish_reason:
                running.discard(response.uid)
    return [
        Outcome(case, tokenizer.decode(tokens[uid])) for case, uid in zip(cases, uids, strict=True)
    ]


def shares(outcomes: list[Outcome]) -> dict[str, tuple[int, int]]:
    """Count the right answers and all answers of each skill."""
    result: dict[str, tuple[int, int]] = {}
    for outcome in outcomes:
        right, total = result.get(outcome.case.skill, (0, 0))
        result[outcome.case.skill] = (right + outcome.right, total + 1)
    return result


def markdown_table(columns: dict[str, dict[str, tuple[int, int]]]) -> str:
    """Write the shares as a Markdown table, one row a skill."""
    lines = ["| skill | cases | " + " | ".join(columns) + " |", "|---|---|" + "---|" * len(columns)]
    skills = list(next(iter(columns.values())))
    for skill in skills:
        total = next(iter(columns.values()))[skill][1]
        cells = [
            f"{100 * column[skill][0] / column[skill][1]:.0f} %" for column in columns.values()
        ]
        lines.append(f"| {skill} | {total} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def evaluate(
    folder: Path, per_skill: int, seed: int, mistakes: int, log: Callable[[str], None]
) -> None:
    """Print the table of a saved model and, if asked for, some of its mistakes."""
    model, tokenizer = load(str(folder))[:2]
    cases = build_cases(seed, per_skill)
    columns: dict[str, dict[str, tuple[int, int]]] = {}
    for sampling in (GREEDY, DEFAULTS):
        outcomes = answer_all(model, tokenizer, cases, sampling, seed)
        columns[sampling.name] = shares(outcomes)
        shown: dict[str, int] = {}
        for outcome in outcomes:
            skill = outcome.case.skill
            if not outcome.right and shown.setdefault(skill, 0) < mistakes:
                shown[skill] += 1
                question = outcome.case.messages[-1]["content"]
                log(
                    f"wrong, {sampling.name}, {skill}: {question!r} -> {outcome.reply!r} ({outcome.case.expected!r})"
                )
    log(markdown_table(columns))
