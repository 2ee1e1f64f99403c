"""mlx_lm's private names that worker.backends.batching.mlx_lm_batch relies on: a new release
that moves one fails here first."""

from __future__ import annotations

import inspect

import pytest
from mlx_lm.generate import BatchGenerator, GenerationBatch, PromptProcessingBatch, TextStateMachine
from mlx_lm.models.cache import BatchKVCache, KVCache


def test_a_decode_batch_is_built_and_stepped_as_expected() -> None:
    parameters = list(inspect.signature(GenerationBatch.__init__).parameters)
    assert parameters == [
        "self",
        "model",
        "uids",
        "inputs",
        "prompt_cache",
        "tokens",
        "samplers",
        "fallback_sampler",
        "logits_processors",
        "stop_sequences",
        "max_tokens",
    ]
    source = inspect.getsource(GenerationBatch)
    for name in (
        "_next_tokens",
        "_current_tokens",
        "_current_logprobs",
        "_next_logprobs",
        "def _step",
    ):
        assert name in source
    assert inspect.getsource(GenerationBatch.next).count("self._step()") == 1


def test_a_prefill_batch_keeps_its_class_when_rows_leave_it() -> None:
    assert "self.__class__.__new__(self.__class__)" in inspect.getsource(
        PromptProcessingBatch._copy
    )
    assert "GenerationBatch(" in inspect.getsource(PromptProcessingBatch.generate)


@pytest.mark.parametrize(
    "name",
    [
        "_prompt_batch",
        "_generation_batch",
        "prefill_step_size",
        "prefill_batch_size",
        "completion_batch_size",
    ],
)
def test_the_generator_keeps_its_batches_under_these_names(name: str) -> None:
    assert f"self.{name}" in inspect.getsource(BatchGenerator.__init__)


def test_caches_can_be_merged_and_taken_apart() -> None:
    assert callable(KVCache.merge)
    for method in ("filter", "extend", "extract"):
        assert callable(getattr(BatchKVCache, method))


def test_the_text_state_machine_has_its_three_steps() -> None:
    for method in ("step", "flush", "make_state"):
        assert callable(getattr(TextStateMachine, method))
