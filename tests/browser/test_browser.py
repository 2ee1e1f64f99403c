"""The pages in a real Chromium, on the whole service with its shipped models. The tests are
`*.test.mjs`.

They share the services; a small control server kills the worker or the API for them.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from redis import Redis
from rq import suspension

from mlxq.service.embedded_redis import EmbeddedRedis
from tests.node.node_tests import run_node_tests
from tests.support.service_support import SERVE, Running
from wire import keys
from wire.log_entries import decode, lines

KEYS = {"MLXQ_API_KEYS": "ann:ann-0123456789abcdef,bob:bob-0123456789abcdef"}

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.test.mjs"))
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", MAC)
"""The first takes less than half the processor time of the others."""
LIMIT_S = 600


def chromium() -> str:
    browser = next((path for name in NAMES if (path := shutil.which(name))), None)
    if browser is None or shutil.which("node") is None or not (HERE / "node_modules").is_dir():
        pytest.fail(
            "node, Chromium or tests/browser/node_modules is missing: run tests/browser/prepare",
            pytrace=False,
        )
    return browser


def send(service: Running, part: str, number: signal.Signals) -> None:
    """Send a signal to the worker or the API; the supervisor restarts what is killed."""
    for child in psutil.Process(service.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # one that was killed before
            if child.cmdline()[-1:] == [part]:
                child.send_signal(number)


class Control(ThreadingHTTPServer):
    """``POST /worker`` and ``POST /api`` kill that part, ``/freeze`` stops the worker as the next
    token comes, ``/frozen`` waits for that, ``/thaw`` continues it, ``/suspend`` and ``/resume``
    the queues."""

    def __init__(self, service: Running, redis: Redis) -> None:
        actions: dict[str, Callable[[], object]] = {
            "worker": lambda: send(service, "worker", signal.SIGKILL),
            "api": lambda: send(service, "api", signal.SIGKILL),
            "freeze": self._freeze_at_next_token,
            "frozen": lambda: self.freezing.join(),
            "thaw": lambda: send(service, "worker", signal.SIGCONT),
            "suspend": lambda: suspension.suspend(redis),
            "resume": lambda: suspension.resume(redis),
        }

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                actions[self.path.strip("/")]()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.service, self.redis = service, redis
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.thread = threading.Thread(target=self.serve_forever, name="control")
        self.thread.start()

    def _freeze_at_next_token(self) -> None:
        """The demo model's longest answer takes a second: a browser that sees a token and asks
        for the worker to be stopped may come too late. Returns when the events are listened to."""
        events = self.redis.pubsub()
        events.subscribe(keys.EVENTS_CHANNEL)
        events.get_message(timeout=LIMIT_S)

        def freeze() -> None:
            with closing(events):
                for message in events.listen():
                    if any(decode(line).kind == "delta" for _, line in lines(message["data"])):
                        send(self.service, "worker", signal.SIGSTOP)
                        return

        self.freezing = threading.Thread(target=freeze, name="freeze", daemon=True)
        self.freezing.start()

    def close(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of the browser tests, with the services running.

    One service has a single slot, so that chats queue; the other has keys.
    """
    path = chromium()
    data = tmp_path_factory.mktemp("data")
    # Some tests choose another model: it is not to be the next one's default.
    options = ("--slots", "1", "--default-model", "demo-chat")
    service = Running(SERVE, data, *options)
    keyed = Running(SERVE, tmp_path_factory.mktemp("keyed"), "--backend", "echo", **KEYS)
    urls = [one.line("Ready: ").removeprefix("Ready: ") for one in (service, keyed)]
    redis = Redis.from_url(EmbeddedRedis(data).url)
    control = Control(service, redis)
    yield {
        **os.environ,
        "PAGE_URL": urls[0],
        "KEYED_URL": urls[1],
        "CONTROL_URL": control.url,
        "CHROMIUM": path,
    }
    control.close()
    redis.close()
    for one in (service, keyed):
        one.signal(signal.SIGINT)
        one.status()
        one.close()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.split(".")[0])
def test_in_the_browser(file: Path, environment: dict[str, str]) -> None:
    run_node_tests(file, environment, LIMIT_S)
