"""Several answers in one response: indexes, ends, usage, warnings, failures, keys."""

from __future__ import annotations

from typing import Any

import pytest

from api.openai.choices.answer import usage_together
from api.openai.response_schemas import ChatCompletion, Completion
from tests.support.api_support import wait_for
from tests.support.openai_support import CHAT, COMPLETIONS, Api, body, error
from wire import keys
from wire.messages import ChatJob, Delta, Event, Failed, Finished, Usage, Warning


def say(api: Api, *answers: tuple[Event, ...]) -> None:
    """Have the next jobs answered with these, in the order of their choices."""
    coming = iter(answers)
    api.worker.answer = lambda _: next(coming)


def ended(
    text: str, reason: Any = "stop", prompt: int = 5, tokens: int = 3, cached: int = 0
) -> Any:
    return (Delta(text, (1,)), Finished(reason, Usage(prompt, tokens, cached)))


def ids(api: Api) -> list[str]:
    return [job.job_id for job in api.worker.seen]


def test_a_whole_answer_has_a_choice_for_each(api: Api) -> None:
    say(api, ended("one"), ended("two", "length", tokens=16, cached=4), ended("three", cached=4))
    answer = api.client.post(CHAT, json=body(CHAT) | {"n": 3})
    shape = ChatCompletion.model_validate(answer.json())
    assert [
        (choice.index, choice.message.content, choice.finish_reason) for choice in shape.choices
    ] == [(0, "one", "stop"), (1, "two", "length"), (2, "three", "stop")]
    # The prompt once, and what all have said; none of it was known before.
    usage = answer.json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (
        5,
        22,
        27,
    )
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert shape.id == f"chatcmpl-{ids(api)[0]}"
    assert answer.headers["x-job-id"] == answer.headers["x-request-id"] == ids(api)[0]


def test_a_choice_of_the_second_prompt_comes_behind_those_of_the_first(api: Api) -> None:
    say(api, *(ended(text) for text in ("a0", "a1", "b0", "b1")))
    sent = body(COMPLETIONS) | {"prompt": ["a", "b"], "n": 2}
    answer = api.client.post(COMPLETIONS, json=sent).json()
    Completion.model_validate(answer)
    assert [(choice["index"], choice["text"]) for choice in answer["choices"]] == [
        (0, "a0"),
        (1, "a1"),
        (2, "b0"),
        (3, "b1"),
    ]
    assert answer["usage"]["prompt_tokens"] == 10


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_each_choice_streams_with_its_index_and_usage_comes_once(api: Api, path: str) -> None:
    say(api, ended("one"), ended("two", "length"))
    *chunks, last = api.chunks(path, n=2, stream_options={"include_usage": True})
    assert len({chunk["id"] for chunk in (*chunks, last)}) == 1
    assert {chunk["usage"] for chunk in chunks} == {None}
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 6)
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    for index, text, reason in ((0, "one", "stop"), (1, "two", "length")):
        mine = [choice for choice in choices if choice["index"] == index]
        said = (c["delta"].get("content", "") if path == CHAT else c["text"] for c in mine)
        assert "".join(said) == text
        assert [c["finish_reason"] for c in mine if c["finish_reason"]] == [reason]
        assert mine[-1]["finish_reason"] == reason


def test_without_the_option_nothing_is_said_of_usage(api: Api) -> None:
    assert not any("usage" in chunk for chunk in api.chunks(n=2))


def test_a_warning_of_all_is_told_once(api: Api) -> None:
    api.worker.answer = lambda _: (Warning("Slow."), *ended("one"))
    answer = api.client.post(CHAT, json=body(CHAT) | {"n": 3})
    assert (answer.json()["warnings"], answer.headers["x-warning"]) == (["Slow."], "Slow.")
    told = [chunk["warnings"] for chunk in api.chunks(n=3) if "warnings" in chunk]
    assert told == [["Slow."]]


def test_one_that_was_stopped_is_marked(api: Api) -> None:
    say(api, ended("one"), ended("two", "cancelled"))
    answer = api.client.post(CHAT, json=body(CHAT) | {"n": 2})
    assert (answer.json()["cancelled"], answer.headers["x-cancelled"]) == (True, "true")
    assert [choice["finish_reason"] for choice in answer.json()["choices"]] == ["stop", "stop"]
    say(api, ended("one"), ended("two", "cancelled"))
    marked = [chunk for chunk in api.chunks(n=2) if chunk.get("cancelled")]
    assert [chunk["choices"][0]["index"] for chunk in marked] == [1]


GOES_ON = (Delta("one", (1,)),)
FAILS = (Delta("two", (1,)), Failed("engine_failed", "It failed."))


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "fails"}])
@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_of_one_ends_the_whole_and_the_others(
    api: Api, stream: bool, key: dict[str, str]
) -> None:
    say(api, GOES_ON, FAILS, GOES_ON)
    sent = body(CHAT) | {"n": 3, "stream": stream, "seed": int(stream)}
    headers = {name: value + str(stream) for name, value in key.items()}
    answer = api.client.post(CHAT, json=sent, headers=headers)
    if stream:
        *_, said, done = (line for line in answer.text.splitlines() if line)
        assert (answer.status_code, done, '"It failed."' in said) == (200, "data: [DONE]", True)
    else:
        assert (answer.status_code, error(answer)["code"]) == (500, "engine_failed")
    stored = api.redis.hget(keys.job(ids(api)[0]), "choices")
    first, _, third = stored.decode().split()
    wait_for(lambda: api.redis.exists(keys.cancel(first), keys.cancel(third)) == 2)


def test_a_refusal_of_one_prompt_before_any_says_something_is_a_status(api: Api) -> None:
    too_long = (Failed("prompt_too_long", "This model's maximum context length is 5 tokens."),)
    say(api, (), too_long)
    sent = body(COMPLETIONS) | {"prompt": ["a", "b"], "stream": True}
    answer = api.client.post(COMPLETIONS, json=sent)
    assert (answer.status_code, error(answer)["param"]) == (400, "prompt")
    assert answer.headers["x-request-id"] == ids(api)[0]
    wait_for(lambda: api.redis.exists(keys.cancel(ids(api)[0])) == 1)


def test_a_prompt_that_the_worker_cannot_use_names_its_field(api: Api) -> None:
    api.worker.answer = lambda _: (Failed("bad_prompt", "The prompt has an unknown token id."),)
    answer = api.client.post(COMPLETIONS, json=body(COMPLETIONS) | {"prompt": [9999]})
    assert (answer.status_code, error(answer)["param"]) == (400, "prompt")


@pytest.mark.parametrize("stream", [False, True])
def test_a_key_leads_to_the_same_answers(api: Api, stream: bool) -> None:
    say(api, ended("one"), ended("two"))
    headers = {"Idempotency-Key": f"several-{stream}"}
    sent = body(CHAT) | {"n": 2, "stream": stream}
    first, second = (api.client.post(CHAT, json=sent, headers=headers) for _ in range(2))
    assert len(api.worker.seen) == 2
    assert first.headers["x-job-id"] == second.headers["x-job-id"]
    if stream:
        assert sorted(first.text.splitlines()) != []
        texts = [
            sorted(line for line in r.text.splitlines() if "content" in line)
            for r in (first, second)
        ]
        assert len(texts[0]) == 4
    else:
        assert first.json()["choices"] == second.json()["choices"]
    other = api.client.post(CHAT, json=sent | {"n": 3}, headers=headers)
    assert (other.status_code, error(other)["code"]) == (409, "conflict")


def test_every_job_is_there_natively_and_names_the_others(api: Api) -> None:
    api.client.post(CHAT, json=body(CHAT) | {"n": 3})
    jobs = ids(api)
    for job_id in jobs:
        view = api.client.get(f"/api/engine/jobs/{job_id}").json()
        assert (view["choices"], view["text"]) == (jobs, "Hello")
        assert "Hel" in api.client.get(f"/api/engine/chat/{job_id}/events").text
    api.worker.seen.clear()
    job = api.job()
    assert api.client.get(f"/api/engine/jobs/{job.job_id}").json()["choices"] == []


def test_usage_counts_each_prompt_once() -> None:
    usages = [Usage(5, 1, 4), Usage(5, 2, 0), Usage(7, 3, 6), Usage(7, 4, 7)]
    assert usage_together(usages, 2) == Usage(12, 10, 6)
    assert usage_together(usages[:1], 1) == usages[0]


def test_answers_of_one_prompt_are_one_group(api: Api) -> None:
    api.client.post(COMPLETIONS, json=body(COMPLETIONS) | {"prompt": ["a", "b"], "n": 2})
    seen = [job for job in api.worker.seen if isinstance(job, ChatJob)]
    record = api.redis.hgetall(keys.job(seen[0].job_id))
    assert record[b"choices"].decode().split() == [job.job_id for job in seen]
    assert api.redis.hget(keys.job(seen[3].job_id), "first_choice") == seen[0].job_id.encode()
