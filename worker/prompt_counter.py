"""The process that counts prompts for the API: ``python -m worker.prompt_counter``.

It makes them as a worker does, with a model's tokeniser, template and processor, and without its
weights. A question is a CountQuestion, the answer a CountAnswer (``wire.counting``); how they
travel is told in ``wire.processes.child``. Knows no queue and no Redis, and opens no connection.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections import OrderedDict
from collections.abc import Callable
from functools import cache

import psutil

from wire.counting import CountAnswer, CountQuestion
from wire.model_registry import ModelRecord
from wire.processes.child import NICE, Head, serve
from worker.backends import mlx_import
from worker.backends.prompting.counter import PromptCounter, keep_off_gpu, open_counter
from worker.errors import WorkerError
from worker.models.files import prompt_revision

MOST_MODELS = 2
"""Models whose tokenisers are kept; one with a vocabulary of 262,000 tokens takes some hundred
megabytes."""
WORN_BYTES = 1 << 30
"""Memory with which this process is replaced; the parent allows twice as much."""
ALARM_S = 120
"""The parent's limit is shorter; this one holds when the parent is gone."""
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


class Counters:
    """The models that were asked for last."""

    def __init__(self, opened: Callable[[ModelRecord], PromptCounter]) -> None:
        self._open = opened
        self._kept: OrderedDict[tuple[str, str], PromptCounter] = OrderedDict()

    def of(self, record: ModelRecord) -> PromptCounter:
        key = (record.path, record.revision)
        if key not in self._kept:
            while len(self._kept) >= MOST_MODELS:
                self._kept.popitem(last=False)
            self._kept[key] = self._open(record)
        self._kept.move_to_end(key)
        return self._kept[key]


def opened(record: ModelRecord) -> PromptCounter:
    """What counts a model's prompts. Raises WorkerError for a model whose files aren't here, can't
    be read, or aren't those that are registered."""
    if not record.path:
        return open_counter(record)
    with mlx_import.open_files_limit_kept():
        keep_off_gpu()
        counter = open_counter(record)
    if record.prompt_revision not in ("", prompt_revision(record.path)):
        sentence = (
            "The prompts of this model can't be counted: its files on the machine of the API are "
            "others than those that are registered."
        )
        raise WorkerError("model_changed", sentence)
    return counter


def counted(question: CountQuestion, counters: Counters) -> CountAnswer:
    """The answer to a question. Raises MemoryError."""
    try:
        tokens = counters.of(question.model).count(question.job, question.images)
    except WorkerError as error:
        return CountAnswer(code=error.code, message=error.message, param=error.param)
    except MemoryError:
        raise
    except Exception as error:
        message = f"The prompt could not be made ({type(error).__name__})."
        return CountAnswer(code="engine_failed", message=message)
    return CountAnswer(tokens=tokens)


def is_worn() -> bool:
    """Whether a fresh process should take over: this one has much memory."""
    # Not the most that it has had: on Linux that begins with what the parent had.
    return psutil.Process().memory_info().rss > WORN_BYTES


def limit_time() -> None:
    """Have the system end this process when one question takes longer, in whole seconds."""
    signal.alarm(ALARM_S)


@cache
def step_back() -> None:
    """Let running streams have the processor first, from now on."""
    os.nice(NICE)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent handles Ctrl-C.
    os.environ.update(dict.fromkeys(_OFFLINE, "1"))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Libraries print: what they write must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    counters = Counters(opened)

    def answer(_kind: str, payload: bytes) -> tuple[Head, bytes]:
        data = counted(CountQuestion.unpacked(payload), counters).model_dump_json().encode()
        # Not before: whoever asks first waits for seconds of imports.
        step_back()
        return {"length": len(data)}, data

    serve(answer, limit_time, answers, is_worn)


if __name__ == "__main__":
    main()
