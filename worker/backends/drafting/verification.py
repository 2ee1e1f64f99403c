"""Which guessed tokens agree with what the model says, position by position.

A draw depends on its seed and position alone. So each position that was fed is sampled exactly as
it would have been in a step of its own, and a row takes its tokens up to the first one that isn't
what was guessed: the same tokens as without guesses, several at once.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass, replace

import mlx.core as mx

from worker.backends.sampling.draw import Position, draw
from worker.backends.sampling.repetition_penalty import RecentTokens
from worker.backends.sampling.sampler import RowSampler
from worker.logprobs import Measured

Draft = list[int]
"""Tokens that may come next in a row."""
Taken = list[tuple[int, Measured | None]]
"""A row's next tokens, one at least, with what was measured of them."""


@dataclass(frozen=True, slots=True, eq=False)
class _Drafted:
    """A position behind the first so many tokens of a draft."""

    tokens: list[int]
    sampler: RowSampler
    logprobs: int | None


def verify(logits: mx.array, rows: Items[Position], drafts: Items[Draft]) -> list[Taken]:
    """The next tokens of each row, which has been fed its newest token and its draft.

    ``logits`` are [rows, tokens, vocabulary]; what was fed beyond a row's draft is ignored. Moves
    the samplers on by the tokens that are taken.
    """
    found: list[Taken] = [[] for _ in rows]
    free = [i for i, row in enumerate(rows) if row.sampler.processor is None]
    if free:
        _at_once(logits, rows, drafts, free, found)
    if len(free) < len(rows):
        held = [i for i, row in enumerate(rows) if row.sampler.processor is not None]
        _one_by_one(logits, rows, drafts, held, found)
    return found


def _at_once(
    logits: mx.array,
    rows: Items[Position],
    drafts: Items[Draft],
    chosen: list[int],
    found: list[Taken],
) -> None:
    """Draw all positions of rows whose next logits depend on nothing but the tokens before them."""
    places = [(i, at) for i in chosen for at in range(len(drafts[i]) + 1)]
    width = logits.shape[1]
    flat = logits.reshape(-1, logits.shape[-1])
    if len(places) < flat.shape[0]:
        flat = flat[mx.array([i * width + at for i, at in places])]
    positions = [_behind(rows[i], drafts[i], at, own_sampler=True) for i, at in places]
    drawn = _drawn(flat, positions, [_input(rows[i], drafts[i], at) for i, at in places])
    start = 0
    for i in chosen:
        draft = drafts[i]
        one = drawn[start : start + len(draft) + 1]
        start += len(one)
        agreed = next((n for n, token in enumerate(draft) if one[n][0] != token), len(draft))
        found[i] = one[: agreed + 1]
        rows[i].sampler.position += agreed + 1


def _one_by_one(
    logits: mx.array,
    rows: Items[Position],
    drafts: Items[Draft],
    chosen: list[int],
    found: list[Taken],
) -> None:
    """Draw position after position: what is added to these rows' logits, such as a schema's mask,
    follows from an answer of which every token is certain."""
    at = 0
    while chosen:
        positions = [_behind(rows[i], drafts[i], at, own_sampler=False) for i in chosen]
        inputs = [_input(rows[i], drafts[i], at) for i in chosen]
        drawn = _drawn(logits[:, at][mx.array(chosen)], positions, inputs)
        for i, one in zip(chosen, drawn, strict=True):
            found[i].append(one)
        chosen = [i for i in chosen if drafts[i][at : at + 1] == [found[i][at][0]]]
        at += 1


def _behind(row: Position, draft: Draft, at: int, *, own_sampler: bool) -> _Drafted:
    sampler = row.sampler
    # Only a repetition penalty looks at the tokens.
    tokens = [*row.tokens, *draft[:at]] if sampler.penalty != 1.0 else []
    if own_sampler:
        sampler = replace(sampler, position=sampler.position + at)
    return _Drafted(tokens, sampler, row.logprobs)


def _input(row: Position, draft: Draft, at: int) -> int:
    return draft[at - 1] if at else row.tokens[-1]


def _drawn(logits: mx.array, positions: list[_Drafted], inputs: list[int]) -> Taken:
    fed = mx.array(inputs, dtype=mx.int32)
    newest, measurement = draw(logits, positions, fed, RecentTokens(), known=1)
    tokens = [int(token) for token in newest.tolist()]
    measured = {} if measurement is None else {id(at): one for at, one in measurement.read()}
    return [(token, measured.get(id(at))) for token, at in zip(tokens, positions, strict=True)]
