"""Records that two releases exchange: what a later one adds is absent, left out, or refused by
name."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import fakeredis
import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from pydantic import ValidationError

from api.batches import lines
from api.batches.lines import LineParser
from api.batches.routes import read
from api.errors import ApiError, status_of
from api.registry import RegistryReader
from tests.support.api_support import MODEL, status
from tests.unit.api.jobs.queued_chats import a_chat
from wire import keys, model_registry
from wire.messages import OutputFormat, Record
from wire.versions import FIRST, VERSION, TooNew, added, needs, readable
from wire.worker_status import WorkerStatus


class Inner(Record):
    old: int = 1
    changes: bool = added(False, since=2, refines=False)


class Outer(Record):
    text: str
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    refines: str = added("", since=2, refines=True)


def test_a_new_field_is_absent_from_the_json_at_its_default_at_any_depth() -> None:
    written = Outer(text="t", many=(Inner(),))
    assert json.loads(written.model_dump_json()) == {
        "text": "t",
        "inner": {"old": 1},
        "many": [{"old": 1}],
    }
    assert written.model_dump(mode="json") == json.loads(written.model_dump_json())
    set_ = Outer(text="t", inner=Inner(changes=True), refines="more")
    assert Outer.model_validate_json(set_.model_dump_json()) == set_


def test_what_sets_no_new_field_is_read_by_the_first_release() -> None:
    plain = Outer(text="t", many=(Inner(old=2),))
    assert needs(plain) == FIRST
    assert readable(plain, FIRST) is plain


def test_a_field_that_refines_is_left_out_for_a_worker_that_does_not_know_it() -> None:
    refined = Outer(text="t", refines="more")
    assert needs(refined) == 2
    assert readable(refined, FIRST) == Outer(text="t")
    assert readable(refined, 2) is refined


def test_a_jobs_template_options_are_not_for_a_worker_of_the_release_before() -> None:
    plain = OutputFormat(separate=True, truncation="disabled")
    assert OutputFormat.model_validate_json(plain.model_dump_json()) == plain
    assert "template_options" not in plain.model_dump(mode="json")
    assert (needs(plain), readable(plain, 2)) == (2, plain)
    asking = plain.model_copy(update={"template_options": '{"enable_thinking": false}'})
    assert needs(asking) == 3
    with pytest.raises(TooNew) as refused:
        readable(asking, 2)
    assert refused.value.field == "template_options"


def test_a_group_is_left_out_for_the_release_before_and_a_prompt_of_ids_refused() -> None:
    job = a_chat().model_copy(update={"group": "g"})
    assert (needs(job), readable(job, 3).group) == (4, None)
    ids = job.model_copy(update={"form": OutputFormat(raw=True, prompt_ids=(1, 2))})
    assert type(job).model_validate_json(ids.model_dump_json()) == ids
    with pytest.raises(TooNew) as refused:
        readable(ids, 3)
    assert refused.value.field == "prompt_ids"


@pytest.mark.parametrize("where", ["inner", "many"])
def test_a_field_that_changes_the_answer_is_refused_by_name(where: str) -> None:
    value: Any = Inner(changes=True)
    record = Outer(text="t", **{where: value if where == "inner" else (Inner(), value)})
    assert needs(record) == 2
    with pytest.raises(TooNew) as refused:
        readable(record, FIRST)
    assert refused.value.field == "changes"
    assert readable(record, VERSION) is record


def test_a_job_refuses_a_field_that_it_does_not_know_and_a_status_ignores_it() -> None:
    with pytest.raises(ValidationError):
        Outer.model_validate({"text": "t", "later": 1})
    fields = json.loads(status().model_dump_json())
    fields["later"], fields["memory"]["later"] = 1, 2
    assert WorkerStatus.model_validate_json(json.dumps(fields)) == status()


def test_a_model_of_a_later_release_is_listed_and_one_that_cannot_be_read_hides_no_other() -> None:
    later = json.loads(MODEL.model_dump_json()) | {"later": 1}
    assert model_registry.decode([json.dumps(later).encode(), b'{"id": "x"}']) == [MODEL]


def test_the_oldest_living_worker_says_what_may_be_written() -> None:
    server = FakeServer()
    redis, catalogue = (
        fakeredis.FakeRedis(server=server),
        RegistryReader(FakeAsyncRedis(server=server)),
    )
    assert asyncio.run(catalogue.oldest_version()) == VERSION
    redis.sadd(keys.WORKERS, "new", "old", "dead")
    redis.set(keys.worker_status("new"), "{}")
    redis.set(keys.worker_reads("new"), VERSION)
    assert asyncio.run(catalogue.oldest_version()) == VERSION
    redis.set(keys.worker_status("old"), "{}")
    assert asyncio.run(catalogue.oldest_version()) == FIRST


def test_a_line_is_written_for_the_oldest_worker_or_fails_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = json.dumps({"custom_id": "a", "model_id": MODEL.id, "prompt": "Hello"}).encode()
    monkeypatch.setattr(lines, "readable", refuse)
    result = lines.parse_line(raw, 1, LineParser([MODEL], read, version=FIRST))
    assert result.error is not None
    assert result.error[0] == "workers_outdated"
    assert "flavour" in result.error[1]


def refuse(line: Any, version: int) -> Any:
    assert (line.custom_id, version) == ("a", FIRST)
    raise TooNew("flavour")


def test_a_code_that_is_not_in_the_table_has_a_status() -> None:
    assert status_of("code_of_a_later_release") == 500
    assert ApiError("code_of_a_later_release", "x").openai_status == 500  # type: ignore[arg-type]
