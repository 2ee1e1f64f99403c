"""Measures a saved model through the library's own loading, processor and generation."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_vlm import load, stream_generate

from .conversations.cases import Case, UserMessage, build_cases

_MOST_TOKENS = 64
_HEADINGS = {
    "question": "Kind of question",
    "phrasing": "Phrasing",
    "layout": "Things in the picture",
    "file": "File",
    "aspect": "Aspect",
    "size": "Size in pixels",
    "conversation": "Conversation",
    "pair": "Two unlike things (tried)",
}


@dataclass(frozen=True)
class Sampling:
    """The sampling settings of one measurement."""

    name: str
    settings: dict[str, Any]


GREEDY = Sampling("greedy", {"temperature": 0.0})
DEFAULTS = Sampling(
    "defaults",
    {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.1, "repetition_context_size": 20},
)


@dataclass(frozen=True)
class Outcome:
    """A case and the model's reply to its last message."""

    case: Case
    reply: str

    @property
    def right(self) -> bool:
        """Whether the reply passes the case's check."""
        return self.case.accepts(self.reply)


class Asker:
    """Talks to a loaded model as a chat client would."""

    def __init__(self, folder: Path) -> None:
        self._model, self._processor = load(str(folder))

    def converse(self, case: Case, sampling: Sampling) -> str:
        """Ask a case's messages in turn, with the model's own replies between them; give the last reply."""
        messages: list[dict[str, Any]] = (
            [{"role": "system", "content": case.system}] if case.system else []
        )
        pictures: list[Any] = []
        reply = ""
        for asked in case.messages:
            messages.append({"role": "user", "content": _parts(asked)})
            pictures += asked.pictures
            reply = self._reply(messages, pictures, sampling)
            messages.append({"role": "assistant", "content": reply})
        return reply

    def _reply(
        self, messages: list[dict[str, Any]], pictures: list[Any], sampling: Sampling
    ) -> str:
        prompt = self._processor.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        pieces = stream_generate(
            self._model,
            self._processor,
            prompt,
            image=pictures or None,
            max_tokens=_MOST_TOKENS,
            **sampling.settings,
        )
        return "".join(piece.text for piece in pieces)


def _parts(asked: UserMessage) -> list[dict[str, str]]:
    return [{"type": "image"} for _ in asked.pictures] + [{"type": "text", "text": asked.text}]


def shares(outcomes: list[Outcome], heading: str) -> dict[str, tuple[int, int]]:
    """Count the right answers and all answers of each group under a heading."""
    result: dict[str, tuple[int, int]] = {}
    for outcome in outcomes:
        group = outcome.case.groups.get(heading)
        if group is not None:
            right, total = result.get(group, (0, 0))
            result[group] = (right + outcome.right, total + 1)
    return result


def _table(heading: str, columns: dict[str, dict[str, tuple[int, int]]]) -> list[str]:
    lines = [
        f"| {_HEADINGS[heading]} | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for group in next(iter(columns.values())):
        cells = [_share(*column[group]) for column in columns.values()]
        lines.append(f"| {group} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _share(right: int, total: int) -> str:
    return f"{right}/{total} ({100 * right / total:.1f} %)"


def summary(outcomes: list[Outcome]) -> str:
    """Give the share of right answers to questions about single pictures, and of pictures without a wrong answer."""
    about = [outcome for outcome in outcomes if outcome.case.picture >= 0]
    pictures = {outcome.case.picture for outcome in about}
    spoilt = {outcome.case.picture for outcome in about if not outcome.right}
    answers = _share(sum(outcome.right for outcome in about), len(about))
    return f"{answers} answers right; every answer right on {_share(len(pictures - spoilt), len(pictures))} pictures"


def evaluate(
    folder: Path, pictures: int, seed: int, mistakes: int, log: Callable[[str], None]
) -> None:
    """Print the tables of a saved model and, if asked for, some of its mistakes."""
    asker = Asker(folder)
    cases = build_cases(seed, pictures)
    measured: dict[str, list[Outcome]] = {}
    for sampling in (GREEDY, DEFAULTS):
        mx.random.seed(seed)
        measured[sampling.name] = [Outcome(case, asker.converse(case, sampling)) for case in cases]
        log(f"{sampling.name}: {summary(measured[sampling.name])}")
        _show_mistakes(measured[sampling.name], mistakes, log)
    for heading in _HEADINGS:
        columns = {name: shares(outcomes, heading) for name, outcomes in measured.items()}
        for line in _table(heading, columns):
            log(line)


def _show_mistakes(outcomes: list[Outcome], most: int, log: Callable[[str], None]) -> None:
    shown: dict[str, int] = {}
    for outcome in outcomes:
        groups = outcome.case.groups
        group = next(iter(groups.values()))
        if not outcome.right and shown.setdefault(group, 0) < most:
            shown[group] += 1
            asked = outcome.case.messages[-1].text
            about = ", ".join(groups.values())
            log(f"wrong ({about}): {asked!r} -> {outcome.reply!r}, right: {outcome.case.answer!r}")
