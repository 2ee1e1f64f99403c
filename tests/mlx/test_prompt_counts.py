"""A prompt that is counted without a model's weights has the tokens that a worker bills."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fakeredis import FakeRedis

from api.auth.caller import Caller
from api.chat.request import ChatSpec
from api.errors import ApiError
from api.http.data_urls import DataUrls
from api.http.host_names import HostNames
from api.images.draft import DraftMessage, ImageUrl
from api.images.fetch import ImageFetcher
from api.images.intake import ImageIntake
from api.images.urls import TOO_LARGE
from api.jobs.policy import Policy
from api.serving.token_counter import TokenCounter
from tests.mlx.conftest import Bench
from tests.mlx.formats.thinking_templates import MODELS
from tests.mlx.formats.thinking_templates import tokenizer_of as thinking_tokenizer
from tests.support import picture_files as files
from wire.messages import ChatJob, Message, OutputFormat, Sampling
from wire.model_registry import ModelRecord
from worker.backends.prompting.counter import open_counter
from worker.backends.prompting.text import LmText
from worker.errors import WorkerError
from worker.models.folders import DEMO_MODELS, describe
from worker.sequence import Sequence

TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    },
)
SYSTEM = Message(role="system", content="You are <|im_end|> brief.")
ASKED = Message(role="user", content="What is the capital of France?")
LONG = tuple(
    Message(role=("user", "assistant")[i % 2], content=f"{i}: {'and so on ' * 120}")
    for i in range(31)
)
ANSWERED = Message(role="assistant", content="It is")
REQUESTS: dict[str, tuple[tuple[Message, ...], dict[str, Any]]] = {
    "plain": ((ASKED,), {}),
    "system": ((SYSTEM, ASKED), {}),
    "guided": ((ASKED,), {"json_schema": '{"type": "object"}'}),
    "raw": ((ASKED,), {"raw": True}),
    "ids": ((Message(role="user", content=""),), {"raw": True, "prompt_ids": (40, 41, 42, 43)}),
    "continued": ((ASKED, ANSWERED), {"continue_final": True}),
    "shortened": (LONG, {}),
    "thinking off": ((ASKED,), {"template_options": '{"enable_thinking": false}'}),
    "tools": ((SYSTEM, ASKED), {"tools": TOOLS}),
    "an unknown option": ((ASKED,), {"template_options": '{"nonsense": 1}'}),
    "too long": ((Message(role="user", content="word " * 9000),), {"truncation": "disabled"}),
}


def demo(name: str) -> ModelRecord:
    record = describe(DEMO_MODELS / name, name=f"demo-{name}")
    assert record is not None
    return record


def job_of(messages: tuple[Message, ...], form: dict[str, Any]) -> ChatJob:
    return ChatJob(
        job_id="j",
        owner="me",
        model_id="m",
        model_revision="r",
        messages=messages,
        sampling=Sampling(seed=1, max_tokens=512),
        form=OutputFormat(**form),
        submitted_ms=0,
    )


def outcome(work: Callable[[], int]) -> int | tuple[str, str]:
    """A number of tokens, or the refusal."""
    try:
        return work()
    except WorkerError as error:
        return error.code, error.message


def billed(prepare: Callable[[Sequence], object], job: ChatJob) -> int:
    sequence = Sequence(job)
    prepare(sequence)
    return sequence.usage.prompt_tokens


@pytest.fixture(scope="module", params=["chat", "vision"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(demo(request.param))


@pytest.mark.parametrize("name", REQUESTS)
def test_the_shipped_models_prompts_are_counted_as_they_are_billed(bench: Bench, name: str) -> None:
    job, counter = job_of(*REQUESTS[name]), open_counter(bench.record)
    right = outcome(lambda: billed(bench.backend.prepare, job))
    assert outcome(lambda: counter.count(job, {})) == right
    assert isinstance(right, int) == (name not in ("tools", "an unknown option", "too long")), right


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "asked", [n for n in REQUESTS if n not in ("ids", "shortened", "too long")]
)
def test_templates_that_think_and_call_are_counted_as_they_are_billed(
    name: str, asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker.backends.prompting import text

    tokenizer = thinking_tokenizer(tmp_path, MODELS[name])
    # These folders have no model, and so no sizes.
    monkeypatch.setattr(text, "_arguments", lambda _: None)
    record = describe(tmp_path, name=name)
    assert record is not None
    record = record.model_copy(update={"context_window": 8192, "is_vision": False})
    job, made = job_of(*REQUESTS[asked]), LmText(tokenizer, 8192)
    # What is counted is the prompt; schemas are the API's to refuse.
    right = outcome(lambda: len(made.prompt(job).token_ids))
    assert outcome(lambda: text.open_text(record).count(job, {})) == right


def without_weights(record: ModelRecord, to: Path) -> ModelRecord:
    """A model whose folder has all but the weights, as on a machine of the API alone."""
    shutil.copytree(record.path, to, ignore=shutil.ignore_patterns("*.safetensors"))
    return record.model_copy(update={"path": str(to)})


@pytest.fixture
async def counter() -> AsyncIterator[TokenCounter]:
    images = ImageIntake(FakeRedis(), 1 << 30, ImageFetcher(HostNames(), TOO_LARGE))
    made = TokenCounter(images)
    yield made
    made.close()
    images.close()


def spec(*parts: str | ImageUrl) -> ChatSpec:
    return ChatSpec([DraftMessage("user", parts)], Sampling(seed=1), Policy("cancel"))


async def test_a_process_of_its_own_counts_words_and_pictures_without_weights(
    counter: TokenCounter, tmp_path: Path
) -> None:
    chat = without_weights(demo("chat"), tmp_path / "chat")
    vision = without_weights(demo("vision"), tmp_path / "vision")
    said, me = "What is this?", Caller("me")
    assert await counter.count(spec(said), chat, DataUrls(), me) == billed(
        Bench(demo("chat")).backend.prepare, job_of((Message(role="user", content=said),), {})
    )
    image = ImageUrl(files.url(files.plain()))
    seen = Bench(demo("vision"))
    messages, pictures = await counter._images.opened(spec(said, image).messages, DataUrls())
    sequence = Sequence(job_of(messages, {}), images=pictures)
    seen.start(sequence)
    seen.run()
    assert sequence.generated
    counted = await counter.count(spec(said, image), vision, DataUrls(), me)
    assert counted == sequence.usage.prompt_tokens
    assert counted > await counter.count(spec(said), vision, DataUrls(), me)


async def test_other_files_than_those_that_are_registered_are_not_counted_with(
    counter: TokenCounter, tmp_path: Path
) -> None:
    record, me = without_weights(demo("chat"), tmp_path / "chat"), Caller("me")
    config = tmp_path / "chat" / "tokenizer_config.json"
    changed = json.loads(config.read_text()) | {"chat_template": "{{ messages[-1].content }}"}
    config.write_text(json.dumps(changed))
    with pytest.raises(ApiError, match="others than those that are registered") as caught:
        await counter.count(spec("hi"), record, DataUrls(), me)
    assert caught.value.code == "model_changed"
    gone = record.model_copy(update={"path": str(tmp_path / "gone"), "revision": "gone"})
    with pytest.raises(ApiError, match="no copy of its files") as caught:
        await counter.count(spec("hi"), gone, DataUrls(), me)
    assert caught.value.code == "load_failed"
