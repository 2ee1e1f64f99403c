"""llm-comply, a tester of APIs from outside, run against the whole service: what it checks by the
published schemas of OpenAI's chats, OpenAI's Responses and Anthropic's Messages.

Answers, pictures and streams are those of the shipped vision model. Forced calls are those of a
model that writes any token as likely as any other: the shipped ones were never trained on calls,
and hardly ever end the text of an argument.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llm_comply.tests import get_tests

from scripts.training.random_text_model import SMALL, make
from tests.support.service_support import SERVE, Running

FORCED_CALLS = {"chat-tool-calling", "anth-tool-calling", "tool-calling"}
NAMES = {"openai-chat": "gpt-5", "anthropic": "claude-opus", "open-responses": "gpt-5"}
"""Models by whose names nothing is left out: the tests of thinking are for these alone."""
FAILING = {
    "chat-error-handling": "a request without a model is none that fails: the default is meant",
    "error-handling": "the same",
}
WARNED_OF = {
    "chat-reasoning-summary": "the shipped model doesn't think",
    "anth-thinking-display": "the same",
    "compact-response": "conversations are not compacted here: 404",
}
AS_ANTHROPICS = (
    *("--auth-header", "x-api-key", "--no-bearer"),
    *("--header", "anthropic-version:2023-06-01"),
)


def make_flat(folder: Path) -> Path:
    """A model whose every token is as likely as any other, the end of its answer too."""
    import mlx.core as mx

    shape = replace(SMALL, hidden=32, layers=1, intermediate=32, heads=1, head_dim=32)
    made = make(folder, replace(shape, vocabulary=300))
    file = str(made / "model.safetensors")
    weights = mx.load(file)
    weights["lm_head.weight"] = mx.zeros_like(weights["lm_head.weight"])
    mx.save_safetensors(file, weights, metadata={"format": "mlx"})
    return made


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    models = tmp_path_factory.mktemp("models")
    make_flat(models / "flat")
    names = ",".join(f"{name}=demo-vision" for name in sorted(set(NAMES.values())))
    data = tmp_path_factory.mktemp("data")
    running = Running(SERVE, data, "--models", str(models), MLXQ_MODEL_ALIASES=names)
    yield running.line("Ready: ").removeprefix("Ready: ")
    running.close()


def results(url: str, kind: str, model: str, tests: Iterable[str]) -> list[dict[str, Any]]:
    """What llm-comply says of these tests."""
    command = [str(Path(sys.executable).with_name("llm-comply")), "run", "--json"]
    command += ["--format", kind, "--base-url", f"{url}/v1", "--api-key", "none", "--model", model]
    command += ["--timeout", "120", "--filter", ",".join(tests)]
    command += AS_ANTHROPICS if kind == "anthropic" else ()
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ran.stdout, ran.stderr
    told: list[dict[str, Any]] = json.loads(ran.stdout)["results"]
    return told


@pytest.mark.parametrize("kind", NAMES)
def test_nothing_fails_but_what_is_meant_to(url: str, kind: str) -> None:
    tests = {case.id for case in get_tests(kind)}
    free = sorted(tests - FORCED_CALLS)
    told = results(url, kind, NAMES[kind], free)
    told += results(url, kind, "flat", sorted(tests & FORCED_CALLS))
    assert {row["id"]: row["status"] for row in told} == {
        name: "failed" if name in FAILING else "passed" for name in tests
    }, told
    warned = {row["id"] for row in told if row.get("warnings")}
    assert warned == tests & WARNED_OF.keys(), told
