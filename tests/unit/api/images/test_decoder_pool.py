"""What happens when a process that decodes images dies, hangs, answers wrongly or uses too much
memory."""

from __future__ import annotations

import base64
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from api.images import decoder_pool
from api.images.decoder_pool import COMMAND, ImagePool, ImageRefused
from tests.support import picture_files as files
from tests.support.api_support import LIMIT_S, wait_for

GOOD = memoryview(base64.b64encode(files.plain()))


@contextmanager
def pool(program: str | None = None, limit_s: float = LIMIT_S) -> Iterator[ImagePool]:
    made = ImagePool(COMMAND if program is None else (sys.executable, "-c", program), limit_s)
    try:
        yield made
    finally:
        made.close()


def ended(*pids: int) -> None:
    wait_for(
        lambda: (
            not any(
                psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
                for pid in pids
            )
        )
    )


def refused(made: ImagePool) -> str:
    with pytest.raises(ImageRefused) as caught:
        made.open(GOOD)
    return str(caught.value)


def test_no_process_before_the_first_image_and_one_for_many() -> None:
    with pool() as made:
        assert made.pids() == []
        assert made.open(GOOD).data.startswith(b"\x89PNG")
        [pid] = made.pids()
        assert made.open(GOOD).width == 4
        assert made.pids() == [pid]
    ended(pid)


def test_two_at_once_are_two_processes() -> None:
    with pool("import time; time.sleep(3600)") as made:
        threads = [threading.Thread(target=refused, args=(made,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(made.pids()) == 2)
        pids = made.pids()
        made.close()
        for thread in threads:
            thread.join()
    ended(*pids)


def test_a_process_that_was_killed_is_replaced_before_anybody_notices() -> None:
    with pool() as made:
        for _ in range(2):
            made.open(GOOD)
            [pid] = made.pids()
            psutil.Process(pid).kill()
            assert made.open(GOOD).width == 4
            assert made.pids() != [pid]


def test_a_process_is_replaced_after_so_many_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_pool, "IMAGES_EACH", 2)
    with pool() as made:
        made.open(GOOD)
        [first] = made.pids()
        made.open(GOOD)
        assert made.pids() == []
        made.open(GOOD)
        assert made.pids() != [first]


CRASHES = {
    "at once": "",
    "in the middle": "import os; os.read(0, 9); os.kill(os.getpid(), 11)",
    "after half an answer": 'import os; os.read(0, 9); os.write(1, b\'{"width": 1, "height": 1, "length": 99}\\nabc\')',
    "no JSON": "import os; os.read(0, 9); os.write(1, b'hello\\n')",
    "no PNG": 'import os; os.read(0, 9); os.write(1, b\'{"width": 1, "height": 1, "length": 3}\\nabc\')',
    "too much": 'import os; os.read(0, 9); os.write(1, b\'{"width": 1, "height": 1, "length": 1}\\n\' + bytes(999))',
    "no end of line": "import os; os.read(0, 9)\nwhile True: os.write(1, b'x' * 9999)",
    "a negative length": 'import os; os.read(0, 9); os.write(1, b\'{"width": 1, "height": 1, "length": -1}\\n\')',
    "another type": "import os; os.read(0, 9); os.write(1, b'[1]\\n')",
    "a text for a length": 'import os; os.read(0, 9); os.write(1, b\'{"width": 1, "height": 1, "length": "1"}\\n\')',
}


@pytest.mark.parametrize("program", CRASHES.values(), ids=CRASHES)
def test_a_crash_or_a_lie_is_the_images_fault_after_a_second_try(program: str) -> None:
    with pool(program) as made:
        assert refused(made) == "crash"
        assert made.pids() == []


@pytest.mark.parametrize(
    "program", ["import time; time.sleep(3600)", "import os, time; os.read(0, 9); time.sleep(3600)"]
)
def test_one_that_takes_too_long_is_killed(program: str) -> None:
    with pool(program, limit_s=0.2) as made:
        started = time.monotonic()
        assert refused(made) == "time"
        assert time.monotonic() - started < 3
        assert made.pids() == []


def test_one_that_takes_too_much_memory_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_pool, "MEMORY", 64 << 20)
    with pool("import time; taken = b'x' * (100 << 20); time.sleep(3600)") as made:
        assert refused(made) == "memory"


def test_an_image_that_needs_more_than_the_limit_is_refused_and_the_next_is_not(
    tmp_path: Path,
) -> None:
    source = (
        Path(COMMAND[-1])
        .read_text(encoding="utf-8")
        .replace("MEMORY = 1 << 30", "MEMORY = 160 << 20")
    )
    tight = tmp_path / "tight.py"
    tight.write_text(source, encoding="utf-8")
    made = ImagePool((sys.executable, "-P", str(tight)))
    try:
        large = memoryview(base64.b64encode(files.plain(size=(6000, 6000))))
        if sys.platform != "darwin":
            with pytest.raises(ImageRefused, match="memory"):
                made.open(large)
        assert made.open(GOOD).width == 4
    finally:
        made.close()


def test_closing_ends_an_image_in_the_middle() -> None:
    with pool("import time; time.sleep(3600)") as made:
        answers: list[str] = []
        thread = threading.Thread(target=lambda: answers.append(refused(made)))
        thread.start()
        wait_for(made.pids)
        made.close()
        thread.join(LIMIT_S)
        assert answers == ["crash"]
