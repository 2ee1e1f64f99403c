"""Log-probabilities and echoed prompts on OpenAI's routes: asked for, refused, and as answers have
them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from api.openai.batches.batch_lines import CHAT as CHAT_LINES
from api.openai.batches.batch_lines import COMPLETION, ENDPOINTS, ResultLines
from api.openai.logprobs import TextLogprobs, joined
from api.openai.response_schemas import ChatCompletion, Completion
from tests.support.openai_support import CHAT, COMPLETIONS, Api, body
from wire.batches import LineResult
from wire.messages import (
    Alternative,
    Delta,
    Event,
    Finished,
    Piece,
    Sampling,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from wire.sampling_used import used
from wire.versions import TooNew, needs, readable

SNOW = "\N{SNOWMAN}".encode()


def told(token: bytes, logprob: float = -0.5) -> TokenLogprob:
    return TokenLogprob(token, logprob, (Alternative(b"x", -0.25), Alternative(b"y", -3.0)))


def item(text: str, token: bytes) -> dict[str, Any]:
    top = [
        {"token": other, "logprob": logprob, "bytes": [ord(other)]}
        for other, logprob in (("x", -0.25), ("y", -3.0))
    ]
    return {"token": text, "logprob": -0.5, "bytes": list(token), "top_logprobs": top}


CUT = Delta("\N{SNOWMAN}", (2, 3), logprobs=(told(SNOW[:1]), told(SNOW[1:])))
SAID: tuple[Event, ...] = (
    Delta("Hi", (1,), logprobs=(told(b"Hi"),)),
    CUT,
    Finished("stop", Usage(2, 4), last=told(b"<|end|>")),
)
ECHOED: tuple[Event, ...] = (
    Delta("a b", (), prompt=(TokenLogprob(b"<s>", None), told(b"a"), told(b" b"))),
    *SAID,
)


def test_a_chat_asks_for_as_many_as_it_says(api: Api) -> None:
    assert api.job().sampling.logprobs is None
    assert api.job(logprobs=False, top_logprobs=0).sampling.logprobs is None
    assert api.job(logprobs=True).sampling.logprobs == 0
    assert api.job(logprobs=True, top_logprobs=20).sampling.logprobs == 20
    assert api.job(logprobs=True, top_logprobs=20.0).sampling.logprobs == 20
    assert api.job(COMPLETIONS, logprobs=2.0).sampling.logprobs == 2


def test_a_completion_asks_for_its_prompts_too_if_it_is_echoed(api: Api) -> None:
    job = api.job(COMPLETIONS, logprobs=0)
    assert (job.sampling.logprobs, job.sampling.prompt_logprobs, job.form.echo) == (0, None, False)
    job = api.job(COMPLETIONS, logprobs=5, echo=True, max_tokens=0)
    assert (job.sampling.logprobs, job.sampling.prompt_logprobs, job.form.echo) == (5, 5, True)
    assert job.sampling.max_tokens == 0
    job = api.job(COMPLETIONS, echo=True)
    assert (job.sampling.prompt_logprobs, job.form.echo) == (None, True)


@pytest.mark.parametrize("field", ["logprobs", "prompt_logprobs"])
def test_a_worker_of_the_release_before_is_not_given_such_a_job(field: str) -> None:
    asking = Sampling.model_validate({"seed": 1, field: 0})
    assert needs(asking) == 4
    with pytest.raises(TooNew) as refused:
        readable(asking, 3)
    assert refused.value.field == field
    assert field not in Sampling(seed=1).model_dump(mode="json")


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (CHAT, {"top_logprobs": 3}, "top_logprobs"),
        (CHAT, {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        (CHAT, {"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
        (CHAT, {"logprobs": 5}, "logprobs"),
        (CHAT, {"echo": True}, "echo"),
        (CHAT, {"max_tokens": 0}, "max_tokens"),
        (COMPLETIONS, {"logprobs": 21}, "logprobs"),
        (COMPLETIONS, {"logprobs": True}, "logprobs"),
        (COMPLETIONS, {"top_logprobs": 3}, "top_logprobs"),
        (COMPLETIONS, {"max_tokens": 0}, "max_tokens"),
        (COMPLETIONS, {"max_tokens": 0, "echo": False}, "max_tokens"),
        (COMPLETIONS, {"prompt_logprobs": 1}, "prompt_logprobs"),
    ],
)
def test_what_can_not_be_had_is_refused_by_name(
    api: Api, path: str, fields: dict[str, Any], param: str
) -> None:
    assert api.refused(400, path, **fields)["param"] == param


def test_a_whole_chat_has_every_token_and_not_its_end(api: Api) -> None:
    api.worker.answer = lambda _: SAID
    answer = api.client.post(CHAT, json=body(CHAT) | {"logprobs": True, "top_logprobs": 2}).json()
    ChatCompletion.model_validate(answer)
    assert answer["choices"][0]["logprobs"] == {
        "content": [item("Hi", b"Hi"), item("\\xe2", SNOW[:1]), item("\\x98\\x83", SNOW[1:])],
        "refusal": None,
    }


def test_a_chat_of_no_tokens_has_an_empty_list(api: Api) -> None:
    api.worker.answer = lambda _: (Finished("stop", last=told(b"<|end|>")),)
    answer = api.client.post(CHAT, json=body(CHAT) | {"logprobs": True}).json()
    assert answer["choices"][0]["logprobs"] == {"content": [], "refusal": None}


def test_a_streams_chunks_have_their_own(api: Api) -> None:
    call = ToolCallDelta(id="c1", name="clock", arguments="{}")
    api.worker.answer = lambda _: (
        SAID[0],
        Delta("", (5,), "Hm", logprobs=(told(b"Hm"),)),
        Delta("", (6,), tool_calls=(call,), logprobs=(told(b"call"),)),
        Delta("", (7,), logprobs=(told(b"\n"),)),
        SAID[-1],
    )
    chunks = [chunk["choices"][0] for chunk in api.chunks(logprobs=True)]
    found = [choice["logprobs"] and choice["logprobs"]["content"] for choice in chunks]
    each = [[item(text, text.encode())] for text in ("Hi", "Hm", "call", "\n")]
    assert found == [None, *each, None]
    assert chunks[-2]["delta"] == {}


def test_a_completion_has_the_older_form_with_its_end(api: Api) -> None:
    api.worker.answer = lambda _: SAID
    answer = api.client.post(COMPLETIONS, json=body(COMPLETIONS) | {"logprobs": 2}).json()
    Completion.model_validate(answer)
    top = {"x": -0.25, "y": -3.0}
    assert answer["choices"][0]["text"] == "Hi\N{SNOWMAN}"
    assert answer["choices"][0]["logprobs"] == {
        "tokens": ["Hi", "bytes:\\xe2", "bytes:\\x98\\x83", "<|end|>"],
        "token_logprobs": [-0.5] * 4,
        "top_logprobs": [
            top | {"Hi": -0.5},
            top | {"bytes:\\xe2": -0.5},
            top | {"bytes:\\x98\\x83": -0.5},
            top | {"<|end|>": -0.5},
        ],
        "text_offset": [0, 2, 2, 3],
    }


@pytest.mark.parametrize("stream", [False, True])
def test_an_echo_comes_first_and_its_first_token_has_null(api: Api, stream: bool) -> None:
    api.worker.answer = lambda _: ECHOED
    asked = {"logprobs": 0, "echo": True}
    if stream:
        choices = [chunk["choices"][0] for chunk in api.chunks(COMPLETIONS, **asked)]
        assert [choice["text"] for choice in choices] == ["a b", "Hi", "\N{SNOWMAN}", ""]
        found = joined([choice["logprobs"] for choice in choices])
    else:
        answer = api.client.post(COMPLETIONS, json=body(COMPLETIONS) | asked).json()
        assert answer["choices"][0]["text"] == "a bHi\N{SNOWMAN}"
        found = answer["choices"][0]["logprobs"]
    assert found is not None
    assert found["tokens"][:4] == ["<s>", "a", " b", "Hi"]
    assert found["token_logprobs"][:2] == [None, -0.5]
    assert found["top_logprobs"][0] is None
    assert found["text_offset"] == [0, 0, 1, 3, 5, 5, 6]


def test_an_echo_without_logprobs_has_none(api: Api) -> None:
    api.worker.answer = lambda _: (Delta("ab", (), prompt=()), Finished("length"))
    answer = api.client.post(COMPLETIONS, json=body(COMPLETIONS) | {"echo": True}).json()
    assert answer["choices"][0]["text"] == "ab"
    assert answer["choices"][0]["logprobs"] is None


def test_offsets_follow_the_text_of_each_piece() -> None:
    merged = Delta(
        "ab\N{SNOWMAN}c",
        (1, 2, 3, 4),
        pieces=(Piece(1, 2), Piece(2, 1), Piece(1, 1)),
        logprobs=(told(b"ab"), told(SNOW[:2]), told(SNOW[2:]), told(b"c")),
    )
    found = TextLogprobs().of(merged)
    assert found is not None
    assert found["text_offset"] == [0, 2, 2, 3]


def test_of_two_tokens_that_are_written_alike_the_likelier_counts() -> None:
    one = TokenLogprob(b"a", -2.0, (Alternative(b"a", -1.0), Alternative(b"b", -1.5)))
    found = TextLogprobs().of(Delta("a", (1,), logprobs=(one,)))
    assert found is not None
    assert found["top_logprobs"] == [{"a": -1.0, "b": -1.5}]
    assert found["token_logprobs"] == [-2.0]


@pytest.mark.parametrize("endpoint", [CHAT_LINES, COMPLETION])
def test_a_line_of_a_batch_has_what_a_request_has(api: Api, endpoint: str) -> None:
    api.worker.answer = lambda _: ECHOED if endpoint == COMPLETION else SAID
    expected = api.client.post(endpoint, json=body(endpoint)).json()["choices"]
    result = LineResult(
        1,
        "one",
        "m",
        "Hi\N{SNOWMAN}",
        usage=Usage(2, 4),
        logprobs=(told(b"Hi"), *CUT.logprobs),
        last=told(b"<|end|>"),
    )
    if endpoint == COMPLETION:
        echo = ECHOED[0]
        assert isinstance(echo, Delta)
        assert echo.prompt is not None
        result = replace(result, prompt=echo.text, prompt_logprobs=echo.prompt)
    row = json.loads(result.encode())
    line = ResultLines("b" * 32, ENDPOINTS[endpoint], 1, {}).line(row)
    assert line["response"]["body"]["choices"] == expected
    assert "sampling" not in line["response"]["body"]


@pytest.mark.parametrize("seed", [-1, 0, 9])
def test_a_line_of_a_batch_says_what_it_ran_with(seed: int) -> None:
    chosen = Sampling(seed=seed, top_k=5, temperature=0.7, stop=("secret",), logit_bias=((3, 1.5),))
    row = json.loads(LineResult(1, "one", "m", "Hi", sampling=chosen).encode())
    assert row["sampling"] == {"seed": seed, "top_k": 5, "logit_bias": {"3": 1.5}}
    for endpoint in (CHAT_LINES, COMPLETION):
        line = ResultLines("b" * 32, ENDPOINTS[endpoint], 1, {}).line(row)
        assert line["response"]["body"]["sampling"] == used(chosen)
