"""Images at a real API process over a real Redis: floods, budgets, and processes that are
killed."""

from __future__ import annotations

import base64
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
import psutil
import pytest
from redis import Redis

from mlxq.service.embedded_redis import EmbeddedRedis
from tests.support import picture_files as files
from tests.support.api_support import LIMIT_S, QUEUE, FakeWorker, LogWriter, announce, wait_for
from tests.support.image_support import CHAT, body
from tests.support.paths import ROOT
from wire import keys
from wire.receipts.kept_requests import request

JSON = {"content-type": "application/json"}
PATIENT_API = """
import sys
from api.http import body_limits
body_limits.READ_S = body_limits.LINGER_S = 600.0
from api.__main__ import main
sys.exit(main())
"""
"""A hundred clients on a busy machine take longer than a body may."""


@dataclass
class Served:
    """An API process."""

    url: str
    process: psutil.Process
    redis: Redis

    def chat(self, *urls: str) -> httpx2.Response:
        return self.send(json.dumps(body(*urls)).encode())

    def send(self, content: bytes) -> httpx2.Response:
        return httpx2.post(self.url + CHAT, content=content, headers=JSON, timeout=LIMIT_S)

    def queued(self, *urls: str) -> str:
        """Queue a chat that no worker starts, and return its job's id."""
        with httpx2.stream(
            "POST", self.url + CHAT, content=json.dumps(body(*urls)), headers=JSON, timeout=LIMIT_S
        ) as answer:
            assert answer.status_code == 200
            return answer.headers["x-job-id"]

    def children(self) -> list[psutil.Process]:
        """The processes that open images."""
        return [child for child in self.process.children(recursive=True) if _opens_images(child)]


def _opens_images(child: psutil.Process) -> bool:
    try:
        return any("decoder_process" in word for word in child.cmdline())
    except psutil.Error:  # The process has just ended.
        return False


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path)
    server.open()
    yield server
    server.close()


@pytest.fixture
def api(store: EmbeddedRedis) -> Iterator[Served]:
    environ = os.environ | {
        "MLXQ_REDIS_URL": store.url,
        "MLXQ_PORT": "0",
        "MLXQ_LOG_LEVEL": "error",
    }
    command = [sys.executable, "-c", PATIENT_API, "--images-mb", "16"]
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    redis = Redis.from_url(store.url)
    announce(redis)
    try:
        url = process.stdout.readline().removeprefix("listening on ").strip()
        yield Served(url, psutil.Process(process.pid), redis)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        redis.close()


def big(seed: int) -> str:
    """An image that takes more than a third of the budget."""
    return files.url(files.saved(files.noise((1500, 1400), seed), compress_level=0))


def ended(*processes: psutil.Process) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


class Watch:
    """The most memory that the API and Redis use during the block."""

    def __init__(self, api: Served) -> None:
        self.memory, self.store = 0, 0
        self._api, self._over = api, threading.Event()
        self._thread = threading.Thread(target=self._weigh)

    def _weigh(self) -> None:
        while not self._over.wait(0.02):
            self.memory = max(self.memory, self._api.process.memory_info().rss)
            self.store = max(self.store, int(self._api.redis.info("memory")["used_memory"]))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def test_a_hundred_images_of_20_mb_at_once(api: Served) -> None:
    picture = files.saved(files.noise((1200, 1000))).ljust(19_999_900, b"\0")
    head, tail = json.dumps(body("data:image/png;base64,@")).encode().split(b"@")
    encoded = base64.b64encode(picture[: len(picture) // 3 * 3])

    def one(number: int) -> httpx2.Response:
        # Different last bytes, so that none is stored already.
        last = base64.b64encode(b"%08d" % number) + tail
        middle = (encoded[at : at + (1 << 20)] for at in range(0, len(encoded), 1 << 20))
        pieces = itertools.chain([head], middle, [last])
        length = str(len(head) + len(encoded) + len(last))
        return httpx2.post(
            api.url + CHAT,
            content=pieces,
            headers=JSON | {"content-length": length},
            timeout=LIMIT_S,
        )

    with FakeWorker(api.redis).running(), Watch(api) as watch, ThreadPoolExecutor(100) as clients:
        answers = list(clients.map(one, range(100)))
    counts = Counter(answer.status_code for answer in answers)
    print(counts, f"API {watch.memory >> 20} MiB, Redis {watch.store >> 20} MiB")
    assert set(counts) == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert answer.json()["code"] == "busy"
            assert int(answer.headers["retry-after"]) > 0
        else:
            assert '"done": true' in answer.text
    assert watch.memory < 300_000_000
    assert watch.store < 1_000_000_000
    # Nothing of the image is left, and the next chat is served.
    wait_for(lambda: api.process.memory_info().rss < 200_000_000)
    with FakeWorker(api.redis).running():
        assert api.chat(files.url(files.plain())).status_code == 200


def test_the_same_image_of_two_chats_is_stored_once_and_dropped_after_the_last(api: Served) -> None:
    url = big(1)
    first, second = api.queued(url), api.queued(url)
    [sha256] = [name.decode() for name in api.redis.hkeys(keys.IMAGES)]

    def is_of_chats(count: int) -> bool:
        return api.redis.zcard(keys.image_jobs(sha256)) == count

    assert is_of_chats(2)
    for job_id, left in ((first, 1), (second, 0)):
        api.redis.lrem(QUEUE, 1, job_id)
        LogWriter(api.redis, job_id).finish()
        api.redis.delete(request(job_id))  # An image stays with a request that is kept.
        wait_for(partial(is_of_chats, left))
    assert api.redis.zscore(keys.IMAGES_IDLE, sha256) is not None
    # Another image needs the space: this one is gone.
    for seed in (2, 3):
        api.queued(big(seed))
    assert not api.redis.exists(keys.image(sha256))
    assert api.redis.hlen(keys.IMAGES) == 2


def test_beyond_the_budget_a_chat_is_429_with_a_time_to_retry(api: Served) -> None:
    jobs = [api.queued(big(seed)) for seed in (1, 2)]
    answer = api.chat(big(3))
    assert (answer.status_code, answer.json()["code"]) == (429, "images_full")
    assert int(answer.headers["retry-after"]) > 0
    assert api.redis.llen(QUEUE) == 2
    assert int(api.redis.get(keys.IMAGES_TOTAL)) <= 16 << 20
    with FakeWorker(api.redis).running():
        wait_for(
            lambda: all(api.redis.hget(keys.job(job_id), "state") == b"ended" for job_id in jobs)
        )
        wait_for(lambda: api.chat(big(3)).status_code == 200)


def test_a_killed_child_is_replaced_and_the_next_chat_is_served(api: Served) -> None:
    with FakeWorker(api.redis).running(), ThreadPoolExecutor(1) as client:
        assert api.chat(files.url(files.plain())).status_code == 200
        [child] = api.children()
        child.kill()
        assert api.chat(files.url(files.plain(size=(5, 5)))).status_code == 200
        slow = client.submit(api.chat, files.url(files.plain("WEBP", size=(8000, 5000)), "webp"))
        while not slow.done():
            for child in api.children():
                child.kill()
            time.sleep(0.02)
        assert (slow.result().status_code, slow.result().json()["code"]) == (422, "invalid_image")
        assert api.chat(files.url(files.plain(size=(6, 6)))).status_code == 200


def test_an_api_process_that_is_killed_leaves_no_child(api: Served) -> None:
    with FakeWorker(api.redis).running(), ThreadPoolExecutor(1) as client:
        assert api.chat(files.url(files.plain())).status_code == 200
        children = api.children()
        used = [child.cpu_times().user for child in children]
        slow = client.submit(api.chat, files.url(files.plain("WEBP", size=(8000, 5000)), "webp"))
        # Until one is in the middle of the image.
        wait_for(lambda: any(c.cpu_times().user > u for c, u in zip(children, used, strict=True)))
        for child in children:  # It may not get through it before the API is killed.
            child.suspend()
        api.process.kill()
        for child in children:
            child.resume()
        wait_for(lambda: ended(*children))
        with pytest.raises(httpx2.HTTPError):
            slow.result()


def test_a_stopping_api_process_ends_its_children(api: Served) -> None:
    with FakeWorker(api.redis).running():
        assert api.chat(files.url(files.plain())).status_code == 200
    children = api.children()
    api.process.terminate()
    wait_for(lambda: ended(api.process, *children))
    assert children


def test_a_chat_that_finds_no_place_in_the_queue_holds_no_image(api: Served) -> None:
    sha_before = api.redis.hlen(keys.IMAGES)
    api.redis.rpush(QUEUE, *range(1000))
    assert api.chat(big(1)).json()["code"] == "queue_full"
    wait_for(lambda: api.redis.zcard(keys.IMAGES_IDLE) == sha_before + 1)


def test_a_body_that_stops_in_the_middle_gives_its_room_back(api: Served) -> None:
    content = json.dumps(body(files.url(files.plain().ljust(9_000_000, b"\0")))).encode()

    def half() -> Iterator[bytes]:
        yield content[: len(content) // 2]
        raise RuntimeError

    with FakeWorker(api.redis).running():
        for _ in range(12):  # more than the budget
            with pytest.raises(RuntimeError):
                httpx2.post(
                    api.url + CHAT,
                    content=half(),
                    headers=JSON | {"content-length": str(len(content))},
                    timeout=LIMIT_S,
                )
        assert api.send(content).status_code == 200
