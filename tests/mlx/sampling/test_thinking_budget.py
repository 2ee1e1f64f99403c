"""A model with random weights that would think for ever: its limit holds alone, in a batch and
after a crash, and an answer that was cut goes on from its cached prompt."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from scripts.training.random_text_model import SMALL
from tests.mlx.conftest import Bench, bench_of_template
from wire.messages import Message, OutputFormat
from worker.backends.sampling.logits_processors import process_logits
from worker.backends.text.decoder import Decoders
from worker.sequence import Sequence

TEMPLATE = (
    "{%- for m in messages -%}{{- '<|im_start|>' + m.role + '\\n' -}}"
    "{%- if m.role == 'assistant' -%}"
    "{{- '<think>\\n' + (m.reasoning_content or '') + '\\n</think>\\n\\n' -}}{%- endif -%}"
    "{{- m.content + '<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n<think>\\n' -}}{%- endif -%}"
)
GREEDY = {"temperature": 0.0, "repetition_penalty": 1.0}
DRAWN = {"temperature": 1.0, "top_p": 0.95, "repetition_penalty": 1.1}
BUDGET = 6


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("models") / "thinks"
    return bench_of_template(folder, TEMPLATE, ("<think>", "</think>"))


def closing(bench: Bench) -> list[int]:
    return list(bench.tokenizer.encode("</think>\n\n"))


def run(bench: Bench, *chats: Sequence) -> list[list[int]]:
    bench.start(*chats)
    bench.run()
    return [[*chat.emitted, *chat.generated] for chat in chats]


@pytest.mark.parametrize("how", [GREEDY, DRAWN])
def test_the_limit_holds_alone_in_a_batch_and_after_a_crash(
    bench: Bench, how: dict[str, Any]
) -> None:
    asked = {"thinking_budget": BUDGET, "max_tokens": 24, **how}
    (alone,) = run(bench, bench.chat("Why?", **asked))
    end = closing(bench)
    assert len(end) > 1
    assert alone[BUDGET : BUDGET + len(end)] == end
    assert end[0] not in alone[:BUDGET]
    plain = bench.chat("Why?", max_tokens=24, **how)
    others = [bench.chat(f"Other {n}", max_tokens=24, **how) for n in range(3)]
    together = run(bench, plain, bench.chat("Why?", **asked), *others)
    assert together[1] == alone
    # A row without a limit says what it says without such a neighbour.
    assert run(bench, bench.chat("Why?", max_tokens=24, **how)) == [together[0]]
    assert together[0][:BUDGET] == alone[:BUDGET]
    for cut in range(BUDGET - 1, BUDGET + len(end) + 2):
        again = bench.chat("Why?", emitted=tuple(alone[:cut]), **asked)
        assert run(bench, again) == [alone]
        assert again.usage.reasoning_tokens == BUDGET


def test_no_thinking_at_all_begins_with_the_mark(bench: Bench) -> None:
    (answer,) = run(bench, bench.chat("Why?", thinking_budget=0, max_tokens=8, **DRAWN))
    end = closing(bench)
    assert answer[: len(end)] == end


HELD_BACK: dict[str, Any] = {"min_tokens": 8, "stop_token_ids": tuple(range(600))}
"""The tokens of the mark are among these."""


@pytest.mark.parametrize(
    "more", [{"presence_penalty": 2.0}, {"logit_bias": ((4, -100.0),)}, HELD_BACK, {"top_k": 1}]
)
def test_a_forced_token_comes_whatever_else_a_row_asks_for(
    bench: Bench, more: dict[str, Any]
) -> None:
    end = closing(bench)
    assert end[0] == 4
    assert set(end) <= {*HELD_BACK["stop_token_ids"]}
    chat = bench.chat("Why?", thinking_budget=0, max_tokens=8, **more)
    bench.backend.prepare(chat)
    bench.backend.add(chat)
    row = bench.backend._waiting.pop()  # type: ignore[attr-defined]
    logits = mx.zeros((1, SMALL.vocabulary))
    changed = np.array(process_logits(logits, [row.sampler], mx.array([1])))[0]
    assert np.flatnonzero(np.isfinite(changed)).tolist() == [end[0]]
    assert not logits.any().item()
    (answer,) = run(bench, bench.chat("Why?", thinking_budget=0, max_tokens=8, **more))
    assert answer[: len(end)] == (end if more is not HELD_BACK else end[:1])


def test_a_row_below_its_limit_leaves_the_logits_as_they_are(bench: Bench) -> None:
    chat = bench.chat("Why?", thinking_budget=5)
    bench.backend.prepare(chat)
    bench.backend.add(chat)
    row = bench.backend._waiting.pop()  # type: ignore[attr-defined]
    logits = mx.zeros((1, 10))
    assert process_logits(logits, [row.sampler], mx.array([1])) is logits


@pytest.mark.parametrize("emitted", [(), (400, 401, 402)], ids=["new", "after a crash"])
def test_what_exists_of_an_answer_is_read_as_its_prompt_is_prepared(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, emitted: tuple[int, ...]
) -> None:
    """Not on the engine's thread, where a long answer would delay every stream."""
    chat = bench.chat("Why?", thinking_budget=len(emitted), emitted=emitted, max_tokens=12)
    bench.backend.prepare(chat)
    with monkeypatch.context() as patched:
        patched.setattr(Decoders, "of", None)
        bench.backend.add(chat)
    bench.run()
    assert chat.generated[:3] == closing(bench)


def test_an_answer_that_was_cut_goes_on_from_the_cache(bench: Bench) -> None:
    first = bench.chat(
        "Tell me something long, please.", thinking_budget=2, max_tokens=12, **GREEDY
    )
    run(bench, first)
    tokenizer = bench.tokenizer
    said = tokenizer.decode(first.generated)
    job = first.job.model_copy(
        update={
            "messages": (*first.job.messages, Message(role="assistant", content=said)),
            "form": OutputFormat(continue_final=True),
        }
    )
    second = Sequence(job)
    run(bench, second)
    assert tokenizer.decode(second.prompt_ids).endswith(said)
    assert second.prompt_ids[: len(first.prompt_ids)] == first.prompt_ids
    assert second.cached_tokens >= len(first.prompt_ids)
