"""Tasks of a process end when it stops, also those that miss being cancelled."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from api import periodic


async def test_a_task_that_takes_its_cancellation_for_an_answer_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(periodic, "_AGAIN_S", 0.01)
    missed = 0

    async def misses() -> None:
        nonlocal missed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                missed += 1
                if missed == 3:
                    raise

    task = asyncio.create_task(misses())
    await asyncio.sleep(0)
    await periodic.end(task)
    assert task.cancelled()


async def test_a_task_that_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periodic, "_AGAIN_S", 0.01)
    monkeypatch.setattr(periodic, "_ENDS_S", 0.05)
    ended = asyncio.Event()

    async def stays() -> None:
        while not ended.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await ended.wait()

    task = asyncio.create_task(stays())
    await asyncio.sleep(0)
    await periodic.end(task)
    assert not task.done()
    ended.set()
    await task


async def test_nothing_to_end() -> None:
    await periodic.end()
