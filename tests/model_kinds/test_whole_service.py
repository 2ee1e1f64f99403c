"""A handful of kinds through the whole service: several chats at once over HTTP, the next turn, and
a worker that is killed in the middle of an answer."""

from __future__ import annotations

import functools
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.model_kinds.chats import text_of
from tests.model_kinds.conversations import assistant, question, system, unequal
from tests.model_kinds.kinds import SEES, make_folder
from tests.model_kinds.references.text import TextReference
from tests.model_kinds.rows import reference_of
from tests.support.http_client import Service, Stream
from tests.support.service_support import SERVE, Running
from wire.messages import Message

KINDS = ("gemma3_text", "qwen3_5", "nemotron_h", "deepseek_v41", f"mllama{SEES}")
GREEDY = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 0.0, "max_tokens": 40}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    below = tmp_path_factory.mktemp("kinds")
    return {kind: make_folder(kind, below / kind) for kind in KINDS}


@pytest.fixture(scope="module")
def running(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    below = next(iter(folders.values())).parent
    started = Running(SERVE, tmp_path_factory.mktemp("data"), "--models", str(below), limit_s=400)
    yield started
    started.close()


@pytest.fixture(scope="module")
def http(running: Running) -> Service:
    return Service(running.line("Ready: ").removeprefix("Ready: "))


def asked(http: Service, kind: str, messages: list[Message]) -> Stream:
    rows = [{"role": message.role, "content": message.text()} for message in messages]
    options = {"stream_options": {"include_usage": True}}
    return http.stream({"model_id": kind, "messages": rows, **options, **GREEDY})


@functools.cache
def library(folder: Path) -> TextReference:
    return reference_of(folder.name)(folder)


def expected(folder: Path, messages: list[Message]) -> str:
    return text_of(library(folder).answer(messages, tokens=40))


@pytest.mark.parametrize("kind", KINDS)
def test_six_chats_at_once_say_what_the_library_says(
    http: Service, folders: dict[str, Path], kind: str
) -> None:
    chats = unequal(6)
    with ThreadPoolExecutor(len(chats)) as pool:
        texts = list(pool.map(lambda chat: asked(http, kind, chat).rest(), chats))
    assert texts == [expected(folders[kind], chat) for chat in chats]


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_turn_is_read_from_the_cache_and_says_what_the_library_says(
    http: Service, folders: dict[str, Path], kind: str
) -> None:
    first = [system("service"), question(1)]
    said = asked(http, kind, first).rest()
    turns = [*first, assistant(said), question(2)]
    stream = asked(http, kind, turns)
    assert stream.rest() == expected(folders[kind], turns)
    least = len(library(folders[kind]).prompt(first)) - 1
    assert stream.frames[-1]["usage"]["cached_tokens"] >= least


@pytest.mark.parametrize("kind", ["qwen3_5", "gemma3_text", f"mllama{SEES}"])
def test_an_answer_goes_on_when_its_worker_is_killed(
    running: Running, http: Service, folders: dict[str, Path], kind: str
) -> None:
    messages = unequal(4)[3]
    stream = asked(http, kind, messages)
    stream.until(texts=3)
    children = psutil.Process(running.process.pid).children()
    (worker,) = [child for child in children if child.cmdline()[-1] == "worker"]
    worker.send_signal(signal.SIGKILL)
    assert stream.rest() == expected(folders[kind], messages)
