"""The process that reads schemas: started early, and replaced when it dies, hangs or uses too much
memory."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.support.programs import after_lock_down, output_of
from wire.schemas import check
from wire.schemas.check import COMMAND, SchemaCheck

GOOD, OTHER = '{"type": "integer"}', '{"type": "string"}'
DIES = "import os; os.read(0, 9); os.kill(os.getpid(), 11)"
ANSWERS_WRONGLY = "import os; os.read(0, 9); os.write(1, b'{\"length\": 5}\\n[1]xx')"
COMPUTES = """
import os, resource
resource.setrlimit(resource.RLIMIT_CPU, (1, 5))
os.read(0, 9)
while True:
    pass
"""
EXPONENTIAL = {
    "type": "object",
    "properties": {"a" * 40 + "!": {}},
    "patternProperties": {"^(a+)+$": {}},
}


@contextmanager
def checking(program: str | None = None, limit_s: float = 60) -> Iterator[SchemaCheck]:
    made = SchemaCheck(COMMAND if program is None else (sys.executable, "-c", program), limit_s)
    try:
        yield made
    finally:
        made.close()


def test_one_process_reads_many_schemas_and_a_verdict_is_kept() -> None:
    with checking() as made:
        made.warm_up()
        [pid] = made.pids()
        assert not made.new(GOOD).reason
        assert not made.new(OTHER).reason
        assert made.pids() == [pid]
        psutil.Process(pid).kill()
        assert not made.new(GOOD).reason
        assert made.pids() == [pid]  # No process was needed.
        assert made.new('{"type": "null"}').text
        assert made.pids() != [pid]


@pytest.mark.parametrize("program", [DIES, ANSWERS_WRONGLY, ""], ids=["dies", "lies", "ends"])
def test_a_schema_that_ends_its_reader_is_refused_for_that(program: str) -> None:
    with checking(program) as made:
        assert made.new(GOOD).reason == "the program that reads it crashes or runs out of memory"
        assert made.pids() == []


def test_one_that_hangs_is_ended_and_may_be_asked_again() -> None:
    with checking("import time; time.sleep(3600)", limit_s=0.2) as made:
        assert made.new(GOOD).reason == "reading it takes too long"
        assert made.pids() == []
        assert made.known("new", GOOD) is None


def test_one_that_computes_too_long_is_ended_by_the_system_and_is_known_for_it() -> None:
    with checking(COMPUTES) as made:
        assert made.new(GOOD).reason == "reading it takes too long"
        assert made.known("new", GOOD) is not None


def test_a_schema_that_takes_for_ever_is_refused_and_the_next_is_read() -> None:
    with checking() as made:
        assert made.new(json.dumps(EXPONENTIAL)).reason == "reading it takes too long"
        assert not made.new(GOOD).reason


def test_one_that_takes_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "MEMORY", 64 << 20)
    with checking("import time; taken = b'x' * (100 << 20); time.sleep(3600)") as made:
        assert made.new(GOOD).reason == "reading it takes too much memory"


def test_others_are_read_while_one_hangs() -> None:
    with checking() as made:
        thread = threading.Thread(target=made.new, args=(json.dumps(EXPONENTIAL),))
        thread.start()
        assert not made.new(GOOD).reason
        thread.join()


@pytest.mark.parametrize(
    "text", ["", "[1]", "3", "nonsense", '{"const": -9223372036854775808}', '{"$ref": "#"}']
)
def test_a_jobs_schema_that_nobody_has_read_is_refused(text: str) -> None:
    with checking() as made:
        assert made.kept(text).reason
        assert made.pids(), "the process should have survived"


def test_a_jobs_schema_of_an_earlier_release_is_kept_as_it_is() -> None:
    options = {
        "whitespace_flexible": False,
        "item_separator": ", ",
        "key_separator": ": ",
        "lenient": False,
    }
    with checking() as made:
        assert not made.kept(
            json.dumps({"type": "object", "properties": {"a": {}}, "x-guidance": options})
        ).reason


# --- what the process could do at all -------------------------------------------------------------

STILL_READS = """
print(child.answer("new", b'{"type": "string", "pattern": "^a"}')["warnings"])
"""
IN_API = """
import sys, asyncio, api.app
from api.chat.request import ChatSpec
from api.jobs.policy import Policy
from api.chat.json_schema import Schemas, as_text
from wire.messages import OutputFormat, Sampling
schemas = Schemas()
ask = ChatSpec([], Sampling(seed=1), Policy("cancel"), OutputFormat(json_schema=as_text({"type": "integer"})))
print(asyncio.run(schemas.settle(ask)).form.json_schema != ask.form.json_schema, "llguidance" in sys.modules)
schemas.close()
"""
ENVIRONMENT = """
import os, sys, json
line = sys.stdin.buffer.readline()
data = json.dumps({"reason": " ".join(sorted(os.environ))}).encode()
sys.stdout.buffer.write(b'{"length": %d}\\n' % len(data) + data)
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no bound on address space")
def test_the_process_could_open_nothing_and_take_no_more_than_its_memory() -> None:
    assert output_of(after_lock_down("wire.schemas.process") + STILL_READS).split() == [
        "24",
        "24",
        "24",
        "refused",
        "[]",
    ]


def test_the_api_reads_no_schema_itself() -> None:
    assert output_of(IN_API) == "True False"


def test_the_process_gets_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLXQ_API_KEYS", "somebody:0123456789abcdef")
    monkeypatch.setenv("REDIS_URL", "redis://:secret@127.0.0.1/0")
    with checking(ENVIRONMENT) as made:
        names = made.new(GOOD).reason.split()
    assert "PYTHONPATH" in names
    assert not {"MLXQ_API_KEYS", "REDIS_URL", "HOME"} & set(names)
