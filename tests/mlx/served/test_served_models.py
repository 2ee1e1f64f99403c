"""The whole service on real models: the shipped one, random ones, broken ones, and a worker that
is killed."""

from __future__ import annotations

import base64
import io
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from openai import OpenAI
from PIL import Image, ImageDraw

from api.chat.request import TOOLS_AS_TEXT
from scripts.training.random_text_model import make
from tests.support.http_client import Service
from tests.support.service_support import Running

GREEDY = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 0.0}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random model, and one whose weights are missing."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(make(folder / "random"), folder / "broken")
    (folder / "broken" / "model.safetensors").rename(folder / "hidden")
    return folder


def worker_of(running: Running) -> psutil.Process:
    children = psutil.Process(running.process.pid).children()
    (worker,) = [child for child in children if child.cmdline()[-1] == "worker"]
    return worker


def test_the_shipped_model_greets(http: Service) -> None:
    stream = http.chat("Hello!", **GREEDY)
    assert "hello" in stream.rest().lower()
    assert stream.frames[-1] == {"text": "", "done": True}


def test_the_shipped_models_are_listed_by_kind(http: Service) -> None:
    _, listed = http.call("GET", "/models")
    by_name = {model["name"]: model for model in listed}
    assert by_name["demo-chat"]["architecture"] == "qwen3"
    assert not by_name["demo-chat"]["is_vision"]
    assert by_name["random"]["context_window"] == 8192


def ask(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("model", ["demo-chat", "demo-vision"])
def test_a_model_without_a_template_for_tools_calls_one_that_must_be_called(
    client: OpenAI, model: str
) -> None:
    tools: Any = [{"type": "function", "function": {"name": "clock"}}]
    answer: Any = client.chat.completions.create(
        model=model, messages=ask("Hello!"), tools=tools, tool_choice="required"
    )
    assert answer.warnings == [TOOLS_AS_TEXT]
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("clock", "{}")


def test_openais_client_shows_the_vision_model_a_picture(client: OpenAI) -> None:
    image = Image.new("RGB", (96, 96), "white")
    ImageDraw.Draw(image).ellipse((16, 16, 80, 80), fill=(220, 30, 30))
    held = io.BytesIO()
    image.save(held, "PNG")
    url = "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()
    parts: Any = [
        {"type": "text", "text": "Describe this image."},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    answer = client.chat.completions.create(
        model="demo-vision", messages=[{"role": "user", "content": parts}], temperature=0
    )
    assert "red circle" in (answer.choices[0].message.content or "")


def test_stop_seed_and_cached_tokens_are_openais(client: OpenAI) -> None:
    whole = client.chat.completions.create(
        model="demo-chat", messages=ask("Count to twenty."), temperature=0
    )
    text = whole.choices[0].message.content or ""
    cut = client.chat.completions.create(
        model="demo-chat", messages=ask("Count to twenty."), temperature=0, stop=["2, 13", "never"]
    )
    assert "2, 13" in text
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == (
        text.split("2, 13")[0],
        "stop",
    )
    assert cut.usage is not None
    assert cut.usage.prompt_tokens_details is not None
    assert cut.usage.prompt_tokens_details.cached_tokens == cut.usage.prompt_tokens - 1
    seeded = [
        client.chat.completions.create(model="demo-chat", messages=ask("Hello!"), seed=seed)
        .choices[0]
        .message.content
        for seed in (-7, -7)
    ]
    assert seeded[0] == seeded[1]


def test_a_last_message_goes_on_from_the_cache_and_an_effort_is_warned_of(client: OpenAI) -> None:
    settings: Any = {"model": "demo-chat", "temperature": 0}
    whole = client.chat.completions.create(messages=ask("Count to twenty."), **settings)
    text = whole.choices[0].message.content or ""
    assert whole.usage is not None
    begun = text[: text.index(" 12")]
    turns = [*ask("Count to twenty."), {"role": "assistant", "content": begun}]
    answer = client.chat.completions.with_raw_response.create(
        messages=turns, reasoning_effort="high", **settings
    )
    rest = answer.parse()
    assert begun + (rest.choices[0].message.content or "") == text
    assert rest.usage is not None
    assert rest.usage.prompt_tokens_details is not None
    assert (rest.usage.prompt_tokens_details.cached_tokens or 0) > whole.usage.prompt_tokens
    assert rest.usage.completion_tokens_details is not None
    assert rest.usage.completion_tokens_details.reasoning_tokens == 0
    assert (
        answer.headers["x-warning"] == "reasoning_effort has no effect: this model does not think."
    )


def test_a_conversation_is_shortened_with_a_warning(http: Service) -> None:
    turns: list[Any] = [
        {"role": "user", "content": "word " * 400},
        {"role": "assistant", "content": "yes"},
    ] * 40
    stream = http.chat("unused", model="random", max_tokens=4)
    stream.rest()
    body = {
        "model_id": "random",
        "messages": [*turns, {"role": "user", "content": "the end"}],
        "max_tokens": 4,
    }
    status, raw = http.raw("POST", "/api/engine/chat", body)
    assert status == 200
    frames = [
        json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: ")
    ]
    assert any(
        frame.get("warning", "").startswith("The prompt was shortened: ") for frame in frames
    )
    assert frames[-1] == {"text": "", "done": True}


def test_a_prompt_that_can_not_fit_is_refused_before_the_stream(http: Service) -> None:
    body = {"model_id": "random", "messages": [{"role": "user", "content": "word " * 200_000}]}
    status, refused = http.call("POST", "/api/engine/chat", body)
    assert (status, refused["code"]) == (422, "prompt_too_long")


def test_turns_reuse_the_prompt_cache_and_say_so(http: Service) -> None:
    usage = {"stream_options": {"include_usage": True}, "max_tokens": 8}
    text = "tell me a long story " * 30
    cold = http.chat(text, model="random", seed=3, **usage)
    cold.rest()
    warm = http.chat(text, model="random", seed=3, **usage)
    assert warm.rest() == cold.text
    assert cold.frames[-1]["usage"]["cached_tokens"] < 20
    assert (
        warm.frames[-1]["usage"]["cached_tokens"] == warm.frames[-1]["usage"]["prompt_tokens"] - 1
    )


def test_a_quantised_load_is_used_and_undone(http: Service) -> None:
    for bits in (4, 8, None):
        status, loaded = http.call(
            "POST", "/models/load", {"model_id": "random", "kv_quantization": bits}
        )
        assert (status, loaded["status"]) == (200, "loaded")
        assert http.call("GET", "/models/active")[1]["model"]["kv_quantization"] == bits
        assert len(http.chat("hello", model="random", max_tokens=20).rest()) > 0


def test_a_broken_model_fails_with_the_reason_and_heals_without_a_restart(
    http: Service, models: Path
) -> None:
    stream = http.chat("hello", model="broken")
    stream.rest()
    assert stream.frames[-1]["code"] == "load_failed"
    assert str(models) not in stream.frames[-1]["error"]
    assert http.chat("hello", model="random", max_tokens=3).rest()
    (models / "hidden").rename(models / "broken" / "model.safetensors")
    assert http.call("POST", "/models/scan")[0] == 200
    assert http.chat("hello", model="broken", max_tokens=3).rest()


def test_eight_streams_survive_a_killed_worker_word_for_word(
    running: Running, http: Service
) -> None:
    asked = [
        (
            "random",
            f"question {i}",
            {"seed": i, "max_tokens": 120, **(GREEDY if i % 2 else {"temperature": 0.7})},
        )
        for i in range(8)
    ]
    expected = [http.chat(text, model=model, **settings).rest() for model, text, settings in asked]
    streams = [http.chat(text, model=model, **settings) for model, text, settings in asked]
    streams[3].until(10)
    worker_of(running).send_signal(signal.SIGKILL)
    assert [stream.rest() for stream in streams] == expected
    for stream in streams:
        # Each counts tokens, several of which may share an event.
        assert stream.ids == sorted(set(stream.ids))
