"""A rolling update: workers and API processes of the last release and of this one on one Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.faults.checker import expected, stream_wrong
from tests.faults.client import CHAT, Chat, Client, ask
from tests.faults.last_release import unpacked
from tests.faults.running_chats import MOST_S, at_token, chats
from tests.faults.stack import LIMIT_S, ROOT, Stack, until
from wire import keys
from wire.versions import VERSION

BATCHES = "/api/engine/batches"
STOP = f"{CHAT}/stop"
FILE = b'{"custom_id": "a"}\n'
OLD, NEW = "old", "new"
PAIRS = [((OLD,), (NEW,)), ((NEW,), (OLD,)), ((OLD, NEW), (OLD, NEW))]
"""Releases of the API processes, and of the workers."""


@pytest.fixture(scope="module")
def last_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("last-release"))


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("side"))
    yield stack
    stack.close()


class Sides:
    """Processes of both releases, named ``old-api``, ``new-worker`` and so on."""

    def __init__(self, stack: Stack, last_release: Path) -> None:
        self.stack = stack
        self._roots = {OLD: last_release, NEW: ROOT}

    def start(self, apis: tuple[str, ...], workers: tuple[str, ...]) -> None:
        for side in workers:
            self.stack.start_worker(f"{side}-worker", root=self._roots[side])
        for side in apis:
            self.stack.start_api(f"{side}-api", root=self._roots[side])

    async def ready(self, apis: tuple[str, ...], workers: tuple[str, ...]) -> None:
        for side in workers:
            await self.stack.worker_ready(f"{side}-worker")
        for side in apis:
            await self.stack.api_ready(f"{side}-api")

    def port(self, side: str) -> int:
        return self.stack.port(f"{side}-api")

    async def stop_at_token(self, side: str, chat: Chat, number: int) -> None:
        """Stop a chat over one release's API once it has shown so many tokens."""
        await at_token([chat], number)
        stopped = await ask(self.port(side), "POST", STOP, {"job_id": chat.job_id})
        assert stopped.status == 200

    async def read(self, side: str, some: list[Chat], cuts: tuple[int, ...] = ()) -> None:
        """Read chats over one release's API; each cut ends one connection after so many bytes."""
        limits = iter(cuts)
        readers = [
            Client(chat, lambda: self.port(side), lambda: next(limits, None)).run() for chat in some
        ]
        await asyncio.gather(*readers)

    async def check(self, side: str, batch_id: str, workers: int) -> None:
        """One release's API has finished a batch of 40 lines, and lists workers and models."""
        port = self.port(side)
        assert await finished(port, batch_id) == (40, 0)
        status = (await ask(port, "GET", "/api/engine/status")).json
        assert len(status["workers"]) == workers
        # This release's worker has a second model, of embeddings.
        assert "echo" in [model["id"] for model in (await ask(port, "GET", "/models")).json]
        assert (await ask(port, "GET", "/ready")).status == 200

    async def update(self) -> None:
        """End all processes of the last release, restart Redis, and start this release's."""
        self.end()
        self.stack.kill_redis()
        await self.stack.start_redis()
        self.start((NEW,), (NEW,))
        await self.ready((NEW,), (NEW,))

    def end(self) -> None:
        for name in list(self.stack.processes):
            if self.stack.runs(name):
                self.stack.kill(name)


@pytest.fixture
def sides(stack: Stack, last_release: Path) -> Sides:
    return Sides(stack, last_release)


def wrong(side: str, chat: Chat) -> list[str]:
    """What is wrong with a stream of one release's API; in the last release ids count events."""
    if side == NEW:
        return stream_wrong(chat)
    ids = [number for _, number, _ in chat.frames]
    right = chat.text == expected(chat) and ids == list(range(1, len(ids) + 1))
    return [] if right else [f"{chat.prompt}: {len(chat.text)} characters, ids {ids}"]


async def batch(port: int, prompts: int) -> str:
    body = {"model_id": "echo", "prompts": [f"p{n}" for n in range(prompts)], "max_tokens": 20}
    answer = await ask(port, "POST", BATCHES, body)
    assert answer.status < 300, answer.body
    return str(answer.json["id"])


async def uploaded(port: int) -> str:
    """Upload a file for a batch; return its id."""
    async with httpx2.AsyncClient(timeout=60) as client:
        form = {"files": {"file": ("p.jsonl", FILE)}, "data": {"purpose": "batch"}}
        return str((await client.post(f"http://127.0.0.1:{port}/v1/files", **form)).json()["id"])


async def finished(port: int, batch_id: str) -> tuple[int, int]:
    """Wait for a batch's end; return the numbers of done and of failed lines."""
    while (view := (await ask(port, "GET", f"{BATCHES}/{batch_id}")).json)["status"] != "completed":
        await asyncio.sleep(0.1)
    return view["counts"]["done"], view["counts"]["failed"]


class LeftBehind:
    """What the last release has in Redis when its processes end, and the clients of its chats."""

    def __init__(self, sides: Sides) -> None:
        self._sides = sides
        self.port = sides.port(OLD)
        """The API that clients connect to next."""
        self.ended, self.running = chats("ended", 2, tokens=20), chats("running", 3, tokens=900)
        self.queued = chats("queued", 3, tokens=30)
        self.again = [Chat(chat.prompt, chat.seed, chat.tokens) for chat in self.ended]
        """The ended ones, read once more."""

    async def read(self, some: list[Chat]) -> None:
        await asyncio.gather(*(Client(chat, lambda: self.port).run() for chat in some))

    async def submit_to_no_worker(self) -> None:
        stack = self._sides.stack
        await until(lambda: not stack.runs("old-worker"), what="the worker's end")
        await self.read(self.queued)

    async def half_a_batch_and_a_file(self) -> tuple[str, str]:
        """Their ids. The worker is killed in the middle of the batch, and chats wait for it."""
        await at_token(self.running, 10)
        file_id = await uploaded(self.port)
        batch_id = await batch(self.port, 400)
        while (await ask(self.port, "GET", f"{BATCHES}/{batch_id}")).json["counts"]["done"] < 20:
            await asyncio.sleep(0.05)
        self._sides.stack.kill("old-worker")
        await until(lambda: all(chat.job_id for chat in self.queued), what="the queued ones")
        return batch_id, file_id

    async def check_ended(self, file_id: str) -> None:
        """Ended chats have their text, and the file its content."""
        for chat, other in zip(self.ended, self.again, strict=True):
            other.job_id = chat.job_id
        await self.read(self.again)
        first = self.ended[0]
        view = (await ask(self.port, "GET", f"/api/engine/jobs/{first.job_id}")).json
        assert (view["text"], view["last_event_id"]) == (first.text, first.cursor)
        assert (await ask(self.port, "GET", f"/v1/files/{file_id}/content")).body == FILE


@pytest.mark.parametrize(("apis", "workers"), PAIRS)
def test_chats_stops_batches_and_lists_work_whichever_release_each_process_is_of(
    sides: Sides, apis: tuple[str, ...], workers: tuple[str, ...]
) -> None:
    asked = {side: chats(f"by {side}", 12, tokens=60) for side in apis}
    resumed = {side: chats(f"resumed by {side}", 4, tokens=400) for side in apis}
    stopped = {side: Chat(f"stopped by {side}", tokens=3000) for side in apis}

    async def run() -> None:
        sides.start(apis, workers)
        await sides.ready(apis, workers)
        made = {side: await batch(sides.port(side), 40) for side in apis}
        async with asyncio.timeout(MOST_S), asyncio.TaskGroup() as group:
            for side in apis:
                group.create_task(sides.read(side, [*asked[side], stopped[side]]))
                group.create_task(sides.read(side, resumed[side], cuts=(900, 1700, 2500)))
                group.create_task(sides.stop_at_token(side, stopped[side], 5))
        for side in apis:
            await sides.check(side, made[side], len(workers))

    asyncio.run(asyncio.wait_for(run(), MOST_S + LIMIT_S))
    for side in apis:
        assert [line for chat in (*asked[side], *resumed[side]) for line in wrong(side, chat)] == []
        assert stopped[side].done
        assert expected(stopped[side]).startswith(stopped[side].text)
        assert len(stopped[side].text) < len(expected(stopped[side]))


def test_readers_of_the_last_release_go_on_at_this_ones_api_with_the_cursors_they_have(
    sides: Sides,
) -> None:
    """Events have several tokens: a cursor that counts events must not be read as one that counts
    tokens."""
    some = chats("over an update", 6, tokens=600)
    port = {"now": sides.port(OLD)}

    async def update() -> None:
        await at_token(some, 10)
        sides.stack.kill("old-api")
        sides.stack.kill("old-worker")
        sides.start((NEW,), (NEW,))
        port["now"] = sides.port(NEW)

    async def run() -> None:
        sides.stack._settings["MLXQ_ECHO_DELAY_MS"] = "5"
        sides.start((OLD,), (OLD,))
        await sides.ready((OLD,), (OLD,))
        async with asyncio.timeout(MOST_S), asyncio.TaskGroup() as group:
            for chat in some:
                group.create_task(Client(chat, lambda: port["now"]).run())
            group.create_task(update())

    asyncio.run(run())
    assert [line for chat in some for line in wrong(OLD, chat)] == []


def test_what_the_last_release_left_in_redis_comes_up_under_this_one(sides: Sides) -> None:
    """Queued, running and ended jobs, a batch half done, a file."""
    left = LeftBehind(sides)

    async def run() -> None:
        sides.start((OLD,), (OLD,))
        await sides.ready((OLD,), (OLD,))
        await left.read(left.ended)
        async with asyncio.timeout(MOST_S), asyncio.TaskGroup() as group:
            group.create_task(left.read(left.running))
            group.create_task(left.submit_to_no_worker())
            batch_id, file_id = await left.half_a_batch_and_a_file()
            left.port = sides.port(NEW)
            await sides.update()
            assert await finished(left.port, batch_id) == (400, 0)
        await left.check_ended(file_id)

    asyncio.run(run())
    some = (*left.ended, *left.running, *left.queued, *left.again)
    assert [line for chat in some for line in wrong(OLD, chat)] == []


def test_a_worker_says_which_version_it_reads_and_one_of_the_last_release_says_nothing(
    sides: Sides,
) -> None:
    async def run() -> dict[str, bytes | str | None]:
        sides.start((), (OLD, NEW))
        await sides.ready((), (OLD, NEW))
        pids = {process.pid: name for name, process in sides.stack.processes.items()}
        names = {pids[pid]: name for pid, name in sides.stack.workers().items()}
        return {
            side: sides.stack.redis.get(keys.worker_reads(name)) for side, name in names.items()
        }

    assert asyncio.run(run()) == {"old-worker": None, "new-worker": str(VERSION).encode()}
