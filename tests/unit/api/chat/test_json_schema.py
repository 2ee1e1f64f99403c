"""The schemas of an upload: each different one is read once, and no upload has too many or takes
too long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Literal

import pytest

from api.chat import json_schema
from api.chat.json_schema import Schemas, as_text
from api.chat.request import ChatSpec
from api.errors import ApiError
from api.jobs.policy import Policy
from wire.messages import Grammar, OutputFormat, Sampling
from wire.schemas.check import Verdict


def ask(number: int, *, must_call: bool = False) -> ChatSpec:
    form = OutputFormat(json_schema=as_text({"const": number}), must_call=must_call)
    return ChatSpec([], Sampling(seed=1), Policy("cancel"), form)


@pytest.fixture
def schemas() -> Iterator[Schemas]:
    made = Schemas()
    yield made
    made.close()


def test_equal_schemas_are_read_once_and_lines_without_one_never(
    schemas: Schemas, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    read = schemas.check._pool.ask

    def counted(kind: str, payload: bytes) -> Verdict:
        asked.append(kind)
        return read(kind, payload)

    monkeypatch.setattr(schemas.check._pool, "ask", counted)
    settle = schemas.for_upload()
    plain = ChatSpec([], Sampling(seed=1), Policy("cancel"))
    assert settle(plain) is plain
    assert {settle(ask(n % 2)).form.json_schema for n in range(20)} == {
        settle(ask(n)).form.json_schema for n in (0, 1)
    }
    assert asked == ["new", "new"]


def test_an_upload_has_so_many_different_schemas_and_each_its_own_count(
    schemas: Schemas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_schema, "MOST_IN_AN_UPLOAD", 3)
    for _ in range(2):
        settle = schemas.for_upload()
        for number in (0, 1, 2, 0, 1, 2):
            settle(ask(number))
        with pytest.raises(ApiError, match="an upload may have 3 different ones") as refused:
            settle(ask(3, must_call=True))
        assert (refused.value.code, refused.value.param) == ("invalid_schema", "tools")
        settle(ask(2))


def test_an_upload_that_has_used_up_its_time_reads_no_more(
    schemas: Schemas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_schema, "UPLOAD_S", 0.0)
    settle = schemas.for_upload()
    settle(ask(0))
    with pytest.raises(ApiError, match="reading the schemas of this upload takes too long"):
        settle(ask(1))
    settle(ask(0))


def test_schemas_that_are_known_do_not_wait_and_not_too_many_others_do(
    schemas: Schemas, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    async def many() -> None:
        await schemas.settle(ask(0))
        monkeypatch.setattr(schemas.check._pool, "ask", lambda *_: over.wait(60) and Verdict("{}"))
        monkeypatch.setattr(json_schema, "MOST_WAITING", 3)
        waiting = [asyncio.create_task(schemas.settle(ask(number))) for number in (1, 2, 3)]
        await asyncio.sleep(0)
        await schemas.settle(ask(0))
        with pytest.raises(ApiError, match="Too many schemas wait") as refused:
            await schemas.settle(ask(4))
        assert (refused.value.code, refused.value.retry_after) == ("busy", json_schema.RETRY_S)
        over.set()
        await asyncio.gather(*waiting)
        await schemas.settle(ask(5))

    asyncio.run(many())


def guided(kind: Literal["regex", "lark"], text: str) -> ChatSpec:
    form = OutputFormat(grammar=Grammar(kind=kind, text=text))
    sampling = Sampling(seed=1)
    return ChatSpec([], sampling, Policy("cancel"), form, held_by="guided_grammar")


def test_a_grammar_is_settled_as_a_job_carries_it(schemas: Schemas) -> None:
    settled = asyncio.run(schemas.settle(guided("regex", "a+")))
    assert settled.form.grammar == Grammar(kind="regex", text="a+")
    rewritten = asyncio.run(schemas.settle(guided("lark", 'root ::= "a"'))).form.grammar
    assert rewritten is not None
    assert "start:" in rewritten.text
    assert schemas.for_upload()(guided("regex", "a+")) == settled


def test_one_that_can_not_be_read_is_refused_by_the_name_that_asked_for_it(
    schemas: Schemas,
) -> None:
    with pytest.raises(ApiError) as refused:
        asyncio.run(schemas.settle(guided("regex", "(")))
    assert (refused.value.code, refused.value.param) == ("invalid_schema", "guided_grammar")
    assert refused.value.message == (
        "Answers can't be held to this regular expression: a regular expression can't be read: "
        "unclosed group."
    )
