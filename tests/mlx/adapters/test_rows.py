"""Rows of several adapters and of none in one batch: each says what its model says alone in
mlx_lm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_unflatten
from mlx_lm import load
from mlx_lm.generate import generate_step
from mlx_lm.utils import load_model, quantize_model, save_config, save_model

from tests.mlx.adapters.conftest import CHAT, AdapterBench
from wire.model_registry import ModelRecord
from worker.models.folders import describe

TEXTS = ("Hello!", "What is the capital of France?", "What colour is grass?")
GREEDY = {"temperature": 0.0, "repetition_penalty": 1.0, "max_tokens": 24}


def library(model: nn.Module, prompt: list[int], ends: set[int]) -> list[int]:
    """The greedy answer of mlx_lm."""
    answer = []
    for token, _ in generate_step(mx.array(prompt), model, max_tokens=GREEDY["max_tokens"]):
        answer.append(int(token))
        if answer[-1] in ends:
            break
    return answer


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base in 4 bits."""
    folder = tmp_path_factory.mktemp("quantised") / "chat"
    model, config = load_model(CHAT)
    model, config = quantize_model(model, config, group_size=64, bits=4)
    save_model(folder, model)
    save_config(config, folder / "config.json")
    for file in CHAT.glob("*token*"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "chat_template.jinja").write_bytes((CHAT / "chat_template.jinja").read_bytes())
    return folder


@pytest.fixture
def bench(base: ModelRecord, adapters: dict[str, ModelRecord]) -> AdapterBench:
    bench = AdapterBench(base)
    bench.attach(*adapters.values())
    return bench


def test_a_row_says_what_mlx_lm_says_with_its_adapter(
    bench: AdapterBench, adapters: dict[str, ModelRecord], folders: dict[str, Path]
) -> None:
    answers = _as_in_mlx_lm(bench, adapters, folders)
    assert len(set(answers)) == len(answers), "each adapter says something of its own"


def test_a_row_of_a_quantised_base_does_so_too(
    quantised: Path, adapters: dict[str, ModelRecord], folders: dict[str, Path]
) -> None:
    record = describe(quantised)
    assert record is not None
    bench = AdapterBench(record)
    bench.attach(*adapters.values())
    _as_in_mlx_lm(bench, adapters, folders)


def _as_in_mlx_lm(
    bench: AdapterBench, adapters: dict[str, ModelRecord], folders: dict[str, Path]
) -> list[tuple[int, ...]]:
    """Hold the greedy answers of one batch against the library's; returns those to the first text,
    without an adapter and with each."""
    rows = [(name, text) for name in (None, *adapters) for text in TEXTS]
    chats = [bench.chat_with(adapters.get(name or ""), text, **GREEDY) for name, text in rows]
    bench.start(*chats)
    bench.run()
    ends = {int(token) for token in bench.tokenizer.eos_token_ids}
    for name in (None, *adapters):
        path = None if name is None else str(folders[name])
        model, _ = load(bench.record.path, adapter_path=path)
        for (other, text), chat in zip(rows, chats, strict=True):
            if other == name:
                assert chat.generated == library(model, chat.prompt_ids, ends), (name, text)
    return [tuple(chat.generated) for chat in chats[:: len(TEXTS)]]


def test_a_seed_says_the_same_alone_and_among_others(
    bench: AdapterBench, adapters: dict[str, ModelRecord]
) -> None:
    rows = [(adapter, seed) for adapter in (None, *adapters.values()) for seed in (1, 2)]
    options = {"temperature": 0.9, "max_tokens": 24}
    alone = [bench.answer_with(one, TEXTS[1], seed=seed, **options) for one, seed in rows]
    bench.forget()
    chats = [bench.chat_with(one, TEXTS[1], seed=seed, **options) for one, seed in rows]
    bench.start(*chats)
    bench.run()
    assert [chat.generated for chat in chats] == alone


def test_without_adapters_the_logits_are_the_same_bit_for_bit(
    base: ModelRecord, adapters: dict[str, ModelRecord]
) -> None:
    bench = AdapterBench(base)
    model: Any = bench.backend._model  # type: ignore[attr-defined]
    ids = mx.array([[5, 6, 7], [8, 9, 10]])

    def logits() -> mx.array:
        return model.forward(ids, model.caches.new())

    before, plain_bytes = logits(), bench.backend.weight_bytes
    bench.attach(*adapters.values())
    assert mx.array_equal(logits(), before), "with adapters of which no row has one"
    model.adapters.rows.set([None, adapters["poet"].id])
    beside = model._model(ids, cache=model.caches.new())
    assert mx.array_equal(beside[0], before[0]), "beside a row with one"
    assert not mx.array_equal(beside[1], before[1])
    assert bench.backend.weight_bytes > plain_bytes
    for adapter in adapters.values():
        model.adapters.detach(adapter.id)
    assert mx.array_equal(logits(), before), "without them again"
    assert bench.backend.weight_bytes == plain_bytes
    kinds = {type(module).__name__ for _, module in model._model.named_modules()}
    assert "AdaptedLinear" not in kinds


def test_the_fused_model_says_the_same(
    base: ModelRecord, adapters: dict[str, ModelRecord], folders: dict[str, Path]
) -> None:
    """To the token on fp32 weights, whose sums differ in the last digits; below that it can't be
    promised: fusing rounds the weights."""
    bench = AdapterBench(base)
    bench.attach(adapters["poet"])
    chat = bench.chat_with(adapters["poet"], TEXTS[1], **GREEDY)
    bench.start(chat)
    bench.run()
    model, tokenizer = load(base.path, adapter_path=str(folders["poet"]))
    layers = [(name, one.fuse()) for name, one in model.named_modules() if hasattr(one, "fuse")]
    model.update_modules(tree_unflatten(layers))
    assert chat.generated == library(model, chat.prompt_ids, set(tokenizer.eos_token_ids))


def test_prompts_are_reused_within_an_adapter_and_never_between_two(
    bench: AdapterBench, adapters: dict[str, ModelRecord]
) -> None:
    text = "What is the capital of France? " * 4
    kinds = (None, *adapters.values())
    cold = []
    for one in kinds:
        chat = bench.chat_with(one, text, **GREEDY)
        bench.start(chat)
        bench.run()
        assert chat.cached_tokens == 0
        cold.append(chat.generated)
    warm = [bench.chat_with(one, text, **GREEDY) for one in kinds]
    bench.start(*warm)
    bench.run()
    assert [chat.generated for chat in warm] == cold
    assert all(chat.cached_tokens == len(chat.prompt_ids) - 1 for chat in warm)


def test_an_adapter_comes_and_goes_while_others_run(
    base: ModelRecord, adapters: dict[str, ModelRecord]
) -> None:
    pirate, poet = adapters.values()
    bench = AdapterBench(base)
    bench.attach(pirate)
    expected = [bench.answer_with(one, TEXTS[1], **GREEDY) for one in (None, pirate)]
    bench.forget()
    running = [bench.chat_with(one, TEXTS[1], **GREEDY) for one in (None, pirate)]
    bench.start(*running)
    assert bench.backend.adapters is not None
    bench.backend.adapters.read(poet)
    pieces = bench.backend.adapters.attach(poet)
    bench.run(until=lambda: next(pieces, "attached") == "attached")
    joined = bench.chat_with(poet, TEXTS[1], **GREEDY)
    bench.start(joined)
    bench.run(until=lambda: joined.end is not None or not bench.backend.sequences())
    bench.backend.adapters.detach(poet.id)
    assert [chat.generated for chat in running] == expected
    assert joined.generated not in expected


def test_a_chat_with_an_adapter_that_is_cut_goes_on_with_the_same_text(
    base: ModelRecord, adapters: dict[str, ModelRecord]
) -> None:
    pirate = adapters["pirate"]
    bench = AdapterBench(base)
    bench.attach(pirate)
    whole = bench.answer_with(pirate, TEXTS[1], seed=3, temperature=1.5)
    fresh = AdapterBench(base)
    fresh.attach(pirate)
    chat = fresh.chat_with(pirate, TEXTS[1], seed=3, temperature=1.5)
    cut = type(chat)(chat.job, emitted=tuple(whole[:5]))
    fresh.start(cut)
    fresh.run()
    assert cut.generated == whole[5:]
