"""Log-probabilities of prompts equal a plain log-softmax in numpy of the library's own logits,
whatever the model's layers keep and the prompt cache holds."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from scripts.training.random_vision_model import make as make_vision_model
from tests.mlx.conftest import Bench, bench_of_kind
from tests.mlx.sampling.logprobs.numpy_logprobs import LONG, Told, check, check_prompt, echoing
from tests.mlx.vision.vision_bench import VisionBench
from tests.model_kinds.kinds import make_folder
from worker.backends.batching import backend
from worker.backends.sampling import logprobs as measuring
from worker.errors import WorkerError
from worker.logprobs import Measured, echo_of
from worker.models.folders import describe


@pytest.fixture(scope="module", params=["qwen3", "gemma3_text", "qwen3_5", "llama4"])
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return bench_of_kind(request.param, tmp_path_factory.mktemp("kinds"))


def test_prompts_of_every_cache_have_what_numpy_says_also_warm_and_together(
    kind: Bench, model_of: Any
) -> None:
    plain = echoing(kind, LONG, logprobs=None, prompt_logprobs=None)
    kind.start(plain)
    Told().run(kind)
    chats = [
        echoing(kind, LONG),
        echoing(kind, LONG, max_tokens=0),
        echoing(kind, "x", logprobs=None),
        echoing(kind, f"{LONG}and more"),
        kind.chat(LONG, max_tokens=4),
    ]
    kind.start(*chats)
    told = Told().run(kind)
    for chat in chats[:4]:
        assert chat.cached_tokens == 0
        check_prompt(model_of(kind), told, chat)
    assert chats[0].generated == plain.generated
    assert [len(chat.generated) for chat in chats] == [4, 0, 4, 4, 4]
    check(model_of(kind), told, chats[0])


def test_a_prompt_that_was_read_so_is_there_for_others(bench: Bench) -> None:
    bench.start(echoing(bench, LONG, max_tokens=0))
    Told().run(bench)
    after = echoing(bench, LONG, prompt_logprobs=None)
    bench.start(after)
    Told().run(bench)
    assert after.cached_tokens == len(after.prompt_ids) - 1


def test_few_positions_are_widened_at_once(
    bench: Bench, model_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    widest: list[int] = []
    likeliest = measuring._likeliest

    def noted(logits: mx.array, *rest: Any) -> Any:
        widest.append(logits.shape[0])
        return likeliest(logits, *rest)

    monkeypatch.setattr(measuring, "_likeliest", noted)
    monkeypatch.setattr(measuring, "AT_ONCE", 7)
    chat = echoing(bench, LONG, max_tokens=0)
    bench.start(chat)
    check_prompt(model_of(bench), Told().run(bench), chat)
    assert max(widest) == 7


def test_a_stopped_reading_leaves_nothing_and_can_begin_again(bench: Bench, model_of: Any) -> None:
    chat = echoing(bench, LONG)
    bench.start(chat)
    bench.backend.step()
    bench.backend.remove(chat)
    bench.backend.add(chat)
    check_prompt(model_of(bench), Told().run(bench), chat)


@pytest.mark.parametrize("stopped", [False, True])
def test_bytes_are_worked_out_while_a_prompt_is_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    """All at its end would take seconds of a long one, in which no other stream goes on."""
    monkeypatch.setattr(backend, "IDLE_CHUNK", 16)
    chat = echoing(bench, LONG, max_tokens=0)
    bench.start(chat)
    if stopped:
        bench.backend.step()
        bench.backend.step()
        bench.backend.remove(chat)
        bench.backend.add(chat)
    steps = [bench.backend.step()]
    while not steps[-1].prompts:
        steps.append(bench.backend.step())
    assert len(steps) > 3
    ((_, measured),) = steps[-1].prompts
    assert chat._decoder is not None
    expected = echo_of(chat.job, chat.prompt_ids, measured, chat._decoder)
    assert expected.prompt is not None
    assert len(expected.prompt) == len(chat.prompt_ids)
    monkeypatch.setattr(Measured, "with_bytes", None)
    assert chat.echo(measured) == [expected]


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen3_vl"])
def test_a_vision_models_raw_prompt_has_what_numpy_says(
    family: Any, model_of: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    record = describe(make_vision_model(tmp_path_factory.mktemp("vision") / family, family))
    assert record is not None
    vision = VisionBench(record)
    chats = [echoing(vision, LONG), echoing(vision, "a b c", max_tokens=0)]
    vision.start(*chats)
    told = Told().run(vision)
    for chat in chats:
        check_prompt(model_of(vision), told, chat)
    check(model_of(vision), told, chats[0])


def test_a_prompt_that_is_not_read_from_left_to_right_has_none(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    record = describe(make_folder("paligemma+vision", tmp_path_factory.mktemp("kinds") / "both"))
    assert record is not None
    vision = VisionBench(record)
    with pytest.raises(WorkerError, match="not read from left to right") as refused:
        vision.start(echoing(vision, "a b c"))
    assert (refused.value.code, refused.value.param) == ("unsupported", "logprobs")
    assert vision.backend.sequences() == []
    plain = echoing(vision, "a b c", prompt_logprobs=None)
    vision.start(plain)
    assert len(Told().run(vision).of(plain)) == 4
