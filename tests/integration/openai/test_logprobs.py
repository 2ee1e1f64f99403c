"""Log-probabilities through the official client against a running service on the echo backend,
which invents them; a killed worker and a second reading change none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.openai.batch_service import ENDED, BatchService, line
from tests.support.http_client import Service as HttpService
from tests.support.openai_service import MODEL, Service
from worker.backends.echo import fingerprint, word_after
from worker.backends.echo_logprobs import invented

KILLED_AFTER = 30


def words(prompt: str, seed: int, count: int) -> list[int]:
    """The tokens of an answer."""
    mark = fingerprint(list(prompt.encode()))
    return [word_after(mark, seed, position) for position in range(count)]


def items(tokens: list[int], likeliest: int) -> list[dict[str, Any]]:
    """What a chat has of them."""
    found = []
    for token in tokens:
        one = invented(token, likeliest)
        pairs = [(token, one.logprob), *one.top]
        head, *top = [
            {"token": f"w{other} ", "logprob": value, "bytes": list(f"w{other} ".encode())}
            for other, value in pairs
        ]
        found.append(head | {"top_logprobs": top})
    return found


@pytest.mark.parametrize("likeliest", [0, 2, 20])
def test_a_chat_has_them_whole_and_streamed(service: Service, likeliest: int) -> None:
    asked = {"logprobs": True, "top_logprobs": likeliest, "max_tokens": 12}
    expected = items(words("user:hi\n", 1, 12), likeliest)
    whole = service.chat("hi", **asked).choices[0].logprobs
    assert [one.to_dict() for one in whole.content] == expected
    chunks = [chunk.choices[0] for chunk in service.stream("hi", **asked)]
    streamed = [one for choice in chunks if choice.logprobs for one in choice.logprobs.content]
    assert [one.to_dict() for one in streamed] == expected
    for choice in chunks:
        own = choice.logprobs.content if choice.logprobs else []
        assert "".join(one.token for one in own) == (choice.delta.content or "")


def test_a_chat_that_does_not_ask_has_none(service: Service) -> None:
    assert service.chat("hi", max_tokens=3).choices[0].logprobs is None


def test_a_completion_has_the_older_form(service: Service) -> None:
    answer = service.client.completions.create(
        model=MODEL, prompt="ab", seed=1, max_tokens=2, logprobs=1, echo=True
    )
    first, second = words("ab", 1, 2)
    choice = answer.choices[0]
    assert choice.text == f"abw{first} w{second} "
    found = choice.logprobs
    assert found is not None
    assert found.tokens is not None
    assert found.tokens == ["a", "b", f"w{first} ", f"w{second} "]
    own = [invented(token, 0).logprob for token in (ord("b"), first, second)]
    assert found.token_logprobs == [None, *own]
    each = [{text: value} for text, value in zip(found.tokens[1:], own, strict=True)]
    assert found.top_logprobs == [None, *each]
    assert found.text_offset == [0, 1, 2, 2 + len(f"w{first} ")]


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_alone_can_be_asked_for(service: Service, stream: bool) -> None:
    answer: Any = service.client.completions.create(
        model=MODEL, prompt="abc", max_tokens=0, logprobs=0, echo=True, stream=stream
    )
    chunks = list(answer) if stream else [answer]
    assert "".join(chunk.choices[0].text for chunk in chunks) == "abc"
    assert [len(chunk.choices[0].logprobs.tokens) for chunk in chunks[:1]] == [3]
    assert chunks[-1].choices[0].finish_reason == "length"
    if not stream:
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 0)


def test_after_a_kill_and_when_it_is_read_again_everything_is_there_once(service: Service) -> None:
    count = 200
    asked = {"logprobs": True, "top_logprobs": 1, "max_tokens": count}
    expected = items(words("user:long\n", 1, count), 1)
    stream = service.chat("long", stream=True, **asked)
    seen: list[dict[str, Any]] = []
    killed = False
    job_id = ""
    for chunk in stream:
        job_id = chunk.id.removeprefix("chatcmpl-")
        own = chunk.choices[0].logprobs
        seen += [one.to_dict() for one in own.content] if own else []
        if len(seen) >= KILLED_AFTER and not killed:
            killed = True
            service.stack.kill("worker")
            service.stack.start_worker()
    assert killed
    assert seen == expected
    native = HttpService(service.url.removesuffix("/v1")).events(job_id)
    assert native.rest() == "".join(one["token"] for one in expected)
    assert all(frame.keys() == {"text", "done"} for frame in native.frames)


def test_a_native_stream_that_is_read_again_has_the_same_frames(service: Service) -> None:
    http = HttpService(service.url.removesuffix("/v1"))
    asked = {"max_tokens": 40, "seed": 1, "logprobs": True, "top_logprobs": 2}
    expected = items(words("user:again\n", 1, 40), 2)
    first = http.chat("again", MODEL, **asked)
    first.rest()
    assert told(first.frames) == expected
    for after in (0, 1, 17, 39):
        again = http.events(first.job_id, after)
        again.rest()
        assert told(again.frames) == expected[after:]


def told(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for frame in frames for one in frame.get("logprobs", [])]


def test_lines_of_batches_have_what_requests_have(batch_service: BatchService) -> None:
    row = line("chat", "hi", seed=1, max_tokens=4, logprobs=True, top_logprobs=2)
    batch = batch_service.until(batch_service.submit(row), *ENDED)
    body = batch_service.rows(batch.output_file_id)["chat"]["response"]["body"]
    direct = batch_service.client.chat.completions.create(**row["body"])
    assert body["choices"][0]["logprobs"]["content"] == items(words("user:hi\n", 1, 4), 2)
    assert body["choices"] == [choice.to_dict() for choice in direct.choices]
    asked: dict[str, Any] = {"model": "demo-chat", "prompt": "ab", "max_tokens": 2, "seed": 1}
    asked |= {"logprobs": 1, "echo": True}
    row = {"custom_id": "text", "method": "POST", "url": "/v1/completions", "body": asked}
    batch = batch_service.until(batch_service.submit(row, endpoint="/v1/completions"), *ENDED)
    body = batch_service.rows(batch.output_file_id)["text"]["response"]["body"]
    text = batch_service.client.completions.create(**asked)
    assert body["choices"] == [choice.to_dict() for choice in text.choices]
    assert body["choices"][0]["logprobs"]["tokens"][:2] == ["a", "b"]
