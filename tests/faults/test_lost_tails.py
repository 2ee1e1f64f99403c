"""Redis loses its last writes: a cursor still means the same text, for every kind of reader."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from typing import cast

import pytest

from mlxq.chat_client import Answer
from mlxq.http_client import Client as CommandClient
from tests.faults.checker import Checker, expected, leftovers
from tests.faults.client import Chat, Connection, ask
from tests.faults.cuts import Cuts, Result
from tests.faults.running_chats import at_token, chats, logged, streamed
from tests.faults.stack import Stack, until
from wire import keys
from worker.backends import echo

V1 = "/v1/chat/completions"
LOST_BYTES = 30_000
TOKENS, PACE_MS = 1500, 5
"""Seven seconds: no chat may end before the last has come and been seen on its way."""


@pytest.mark.parametrize("delay_ms", [0, 1, 5, 50])
def test_no_reader_gets_a_wrong_text_however_much_of_the_tail_is_lost(
    stack: Stack, rng: random.Random, long: bool, delay_ms: int
) -> None:
    """Forty cuts of 1 byte to 200 KB in all, with and without a kill of the API; the long form
    makes a thousand."""
    stack.kill("worker")
    stack.start_worker(MLXQ_ECHO_DELAY_MS=str(delay_ms))
    result = Result()

    async def run() -> None:
        await stack.worker_ready()
        await Cuts(stack, delay_ms, rng, result).run(250 if long else 10)
        # Ends that were lost after they were read are written again, at this worker's pace.
        await until(lambda: not leftovers(stack.redis), what="the last ends")

    asyncio.run(run())
    stack.kill("worker")  # The next test gets one at the usual pace.
    assert result.wrong == []
    assert result.whole > 0


def test_readers_that_never_left_get_the_right_text_over_openais_api_and_the_command_line(
    stack: Stack, checker: Checker
) -> None:
    """The API is not restarted: no reader reconnects with a cursor while the log is rewritten."""
    stack.kill("worker")
    four = chats("never left", 4, tokens=TOKENS)
    texts: dict[str, str] = {}

    async def openai() -> None:
        texts["openai"] = text_of(await openai_stream(stack.port(), "openai", seed=1))

    async def command() -> None:
        texts["command"] = await asyncio.to_thread(command_text, stack.port(), "command", seed=2)

    async def begin() -> None:
        # All at once: none may have ended before another comes.
        await until(lambda: len(live(stack)) == len(four) + 2, what="the readers")
        stack.start_worker(MLXQ_ECHO_DELAY_MS=str(PACE_MS))

    async def run() -> None:
        await streamed(stack, four, openai(), command(), begin(), lose_a_tail(stack, four, 2))
        await until(lambda: not leftovers(stack.redis), what="the last ends")

    asyncio.run(run())
    stack.kill("worker")
    assert checker.check(four) == []
    assert texts["openai"] == echo.answer("openai", 1, TOKENS)
    assert texts["command"] == echo.answer("command", 2, TOKENS)


async def openai_stream(port: int, prompt: str, seed: int) -> str:
    """A whole stream of OpenAI's route, as it was sent."""
    connection = await Connection.open(port)
    messages = [{"role": "user", "content": prompt}]
    body = {"model": "echo", "messages": messages, "seed": seed, "max_tokens": TOKENS}
    connection.send("POST", V1, body | {"stream": True})
    assert (await connection.head()).status == 200
    received = b""
    while piece := await connection.chunk():
        received += piece
    connection.close()
    return received.decode()


def command_text(port: int, prompt: str, seed: int) -> str:
    """The text that the command line's client reads."""
    messages = [{"role": "user", "content": prompt}]
    body = {"model_id": "echo", "messages": messages, "seed": seed, "max_tokens": TOKENS}
    with CommandClient(f"http://127.0.0.1:{port}") as client:
        answer = Answer(client, body)
        for _ in answer.frames():
            pass
        return answer.text


async def lose_a_tail(stack: Stack, some: list[Chat], others: int) -> None:
    """Restart Redis without the end of its file, while these chats are running and so many others:
    all have more in their logs than is lost."""
    await at_token(some, 300)
    await until(lambda: are_under_way(stack, len(some) + others), what="the other readers")
    # It would write what was lost again before anybody could see that it was.
    worker = stack.processes["worker"]
    worker.send_signal(signal.SIGSTOP)
    try:
        stack.kill_redis()
        seen = [chat.cursor for chat in some]
        await stack.start_redis(lost_bytes=LOST_BYTES)
        assert any(logged(stack, chat.job_id) < had for chat, had in zip(some, seen, strict=True))
    finally:
        worker.send_signal(signal.SIGCONT)


def live(stack: Stack) -> list[bytes]:
    """The jobs that have come and not ended."""
    return cast(list[bytes], stack.redis.zrange(keys.live("everyone"), 0, -1))


def are_under_way(stack: Stack, chats: int) -> bool:
    jobs = live(stack)
    return len(jobs) == chats and all(logged(stack, job.decode()) >= 300 for job in jobs)


def text_of(stream: str) -> str:
    """The text in a stream of OpenAI's chunks."""
    rows = [json.loads(line[6:]) for line in stream.split("\n") if line.startswith("data: {")]
    return "".join(row["choices"][0]["delta"].get("content", "") for row in rows if row["choices"])


def test_the_view_of_a_job_tells_a_cursor_behind_which_the_rest_follows(
    stack: Stack, checker: Checker
) -> None:
    stack.kill("worker")
    stack.start_worker(MLXQ_ECHO_DELAY_MS="2")  # Some tokens an event.
    [chat] = chats("viewed", 1, tokens=2000)
    later = Chat(chat.prompt, chat.seed, chat.tokens)
    view: dict[str, object] = {}

    async def look() -> None:
        await at_token([chat], 100)
        # It is looked at in the middle.
        stack.processes["worker"].send_signal(signal.SIGSTOP)
        view.update((await ask(stack.port(), "GET", f"/api/engine/jobs/{chat.job_id}")).json)
        assert view["text"] == echo.answer(chat.prompt, chat.seed, int(str(view["last_event_id"])))
        stack.processes["worker"].send_signal(signal.SIGCONT)
        later.job_id = chat.job_id
        later.frames.append(
            (0.0, int(str(view["last_event_id"])), {"text": view["text"], "done": False})
        )
        await streamed(stack, [later])

    async def run() -> None:
        await stack.worker_ready()
        await streamed(stack, [chat], look())

    asyncio.run(run())
    stack.kill("worker")
    assert checker.check([chat, later]) == []
    assert later.text == expected(chat)
