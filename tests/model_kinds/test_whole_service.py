"""A handful of kinds through the whole service: several chats at once over HTTP, the next turn, and
a worker that is killed in the middle of an answer; ``MODEL_KINDS=all`` kills it in an answer of
every kind."""

from __future__ import annotations

import base64
import functools
import signal
import traceback
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from redis import Redis

from mlxq.service.embedded_redis import EmbeddedRedis
from tests.model_kinds.chats import text_of
from tests.model_kinds.conversations import assistant, question, system, unequal
from tests.model_kinds.kinds import ALL, SEES, VISION, make_folder
from tests.model_kinds.kinds import KINDS as ALL_KINDS
from tests.model_kinds.pictures import IMAGES, shown
from tests.model_kinds.references.text import TextReference
from tests.model_kinds.rows import reference_of
from tests.model_kinds.tokenizer import CHARACTERS
from tests.support.http_client import Service, Stream
from tests.support.paths import ROOT
from tests.support.service_support import SERVE, Running
from wire import keys
from wire.messages import ImagePart, Message

KINDS = ("gemma3_text", "qwen3_5", "nemotron_h", "deepseek_v41", f"mllama{SEES}")
TOKENS = 40
GREEDY = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 0.0}
AT_ONCE = 6
"""Kinds that answer while one worker is killed: a service is started for each so many."""
LONG, ROUNDS = 200, 4
"""Tokens of an answer that is cut, and how often a kind is tried whose answer ended before."""
EVERY = ALL_KINDS if ALL else ()
SMALL_SIZES = ROOT / "tests" / "model_kinds" / "small_sizes"
GROUPS = [EVERY[i : i + AT_ONCE] for i in range(0, len(EVERY), AT_ONCE)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    below = tmp_path_factory.mktemp("kinds")
    return {kind: make_folder(kind, below / kind) for kind in KINDS}


@pytest.fixture(scope="module")
def running(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    below = next(iter(folders.values())).parent
    started = Running(SERVE, tmp_path_factory.mktemp("data"), "--models", str(below))
    yield started
    started.close()


@pytest.fixture(scope="module")
def http(running: Running) -> Service:
    return Service(running.line("Ready: ").removeprefix("Ready: "))


def asked(http: Service, kind: str, messages: list[Message], tokens: int = TOKENS) -> Stream:
    rows = [{"role": message.role, "content": content(message)} for message in messages]
    options = {"stream_options": {"include_usage": True}, "max_tokens": tokens}
    return http.stream({"model_id": kind, "messages": rows, **options, **GREEDY})


def content(message: Message) -> str | list[dict[str, object]]:
    """A message's content as the API takes it."""
    if isinstance(message.content, str):
        return message.content
    return [
        {"type": "image_url", "image_url": {"url": data_url(IMAGES[part.sha256])}}
        if isinstance(part, ImagePart)
        else {"type": "text", "text": part.text}
        for part in message.content
    ]


def data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


@functools.cache
def library(folder: Path) -> TextReference:
    return reference_of(folder.name)(folder)


def expected(folder: Path, messages: list[Message]) -> str:
    return text_of(library(folder).answer(messages, tokens=TOKENS))


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
    kill_worker(running)
    assert stream.rest() == expected(folders[kind], messages)


def kill_worker(running: Running) -> None:
    children = psutil.Process(running.process.pid).children()
    (worker,) = [child for child in children if child.cmdline()[-1] == "worker"]
    worker.send_signal(signal.SIGKILL)


@functools.cache
def outcome(group: int, below: Path) -> dict[str, str]:
    """As in ``killed``; where that fails, each kind has the reason, and the group isn't run again
    for each."""
    try:
        return killed(GROUPS[group], below)
    except Exception:
        return dict.fromkeys(GROUPS[group], traceback.format_exc())


def killed(kinds: Sequence[str], below: Path) -> dict[str, str]:
    """What is wrong with the answers of these kinds, whose worker is killed while all of them run."""
    folders = {kind: make_folder(kind, below / "models" / kind) for kind in kinds}
    # Compiled, each would first wait for a C++ compiler. The reference is: both must say the same.
    environ = {"MLX_DISABLE_COMPILE": "1", "PYTHONPATH": f"{ROOT}:{SMALL_SIZES}"}
    models = ("--models", str(below / "models"))
    running = Running(SERVE, below / "data", *models, limit_s=900, **environ)
    texts: dict[str, str] = {}
    try:
        http = Service(running.line("Ready: ").removeprefix("Ready: "))
        for _ in range(ROUNDS):
            # The fastest may end before the slowest have begun, and are tried again without these.
            if left := [kind for kind in kinds if kind not in texts]:
                texts |= cut_and_continued(running, http, left, below / "data")
    finally:
        running.close()
    never = {kind: "its answers ended before the kill" for kind in kinds if kind not in texts}
    return {kind: wrong(folders[kind], text) for kind, text in texts.items()} | never


def cut_and_continued(
    running: Running, http: Service, kinds: list[str], data: Path
) -> dict[str, str]:
    """The texts of the answers that were cut by one kill of the worker."""
    for kind in kinds:  # Loaded, all begin at the same time.
        asked(http, kind, said_to(kind), tokens=1).rest()
    with ThreadPoolExecutor(len(kinds)) as pool:
        streams = list(pool.map(lambda kind: asked(http, kind, said_to(kind), LONG), kinds))
        list(pool.map(lambda stream: stream.until(texts=3), streams))
        kill_worker(running)
        texts = dict(zip(kinds, pool.map(Stream.rest, streams), strict=True))
    with Redis.from_url(EmbeddedRedis(data).url) as redis:
        attempts = [redis.hget(keys.job(stream.job_id), "attempts") for stream in streams]
    return {k: texts[k] for k, number in zip(kinds, attempts, strict=True) if number != b"1"}


def said_to(kind: str) -> list[Message]:
    return [shown("what is this?", 0)] if kind in VISION else unequal(4)[3]


def wrong(folder: Path, text: str) -> str:
    """How an answer differs from the library's, but for near-ties; empty if it doesn't."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The library's are no error of this test.
        reference, messages = reference_of(folder.name)(folder), said_to(folder.name)
        right = text_of(reference.answer(messages, tokens=LONG))
    ids, right_ids = ([CHARACTERS.index(c) for c in said] for said in (text, right))
    return reference.differs(messages, ids, right_ids) or ""


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("killed")


@pytest.mark.parametrize(
    ("group", "kind"), [(i, kind) for i, kinds in enumerate(GROUPS) for kind in kinds]
)
def test_an_answer_of_every_kind_goes_on_when_its_worker_is_killed(
    below: Path, group: int, kind: str
) -> None:
    assert outcome(group, below / str(group))[kind] == ""
