"""``mlxq chat``: its requests, its output, and a stream that goes on over lost connections."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import httpx2
import pytest

from api.chat.schemas import ChatRequest
from tests.support.cli_support import MODEL, FakeService, end, events, frame, mlxq, refusal
from tests.support.picture_files import plain

CHAT = "POST /api/engine/chat"
RESUME = "GET /api/engine/chat/j1/events"
STOP = "POST /api/engine/chat/stop"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxq.chat_client._PAUSES_S", (0.0,))


def hello() -> httpx2.Response:
    return events(frame(1, text="Hello"), frame(2, text=" there"), end(3))


def test_an_answer_is_printed_as_it_is_and_ends_with_a_newline() -> None:
    service = FakeService(**{CHAT: hello()})
    result = mlxq(service, "chat", "Hi", "--system", "Be nice.", "--seed", "7", "--max-tokens", "9")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Hello there\n", "")
    [body] = service.sent("/api/engine/chat")
    assert body["messages"] == [
        {"role": "system", "content": "Be nice."},
        {"role": "user", "content": "Hi"},
    ]
    assert (body["model_id"], body["seed"], body["max_tokens"]) == ("m1", 7, 9)
    assert "temperature" not in body


def thoughtful() -> httpx2.Response:
    return events(frame(1, reasoning="Hm."), frame(2, text="Warm."), end(3))


def test_thinking_is_asked_for_apart_and_not_written_into_a_pipe() -> None:
    service = FakeService(**{CHAT: thoughtful()})
    result = mlxq(service, "chat", "Hi", "--effort", "high")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Warm.\n", "")
    [body] = service.sent("/api/engine/chat")
    assert (body["include_reasoning"], body["reasoning_effort"]) == (True, "high")


def test_thinking_that_is_asked_for_goes_to_standard_error_and_into_json() -> None:
    result = mlxq(FakeService(**{CHAT: thoughtful()}), "chat", "Hi", "--thinking")
    assert (result.stdout, result.stderr) == ("Warm.\n", "Hm.\n\n")
    result = mlxq(FakeService(**{CHAT: thoughtful()}), "chat", "Hi", "--thinking", "--json")
    told = json.loads(result.stdout)
    assert (told["text"], told["reasoning"], result.stderr) == ("Warm.", "Hm.", "")


def test_an_effort_that_is_none_ends_in_one_line() -> None:
    result = mlxq(FakeService(), "chat", "Hi", "--effort", "much")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--effort: one of none, minimal, low, medium, high is needed" in result.stderr


def test_every_sampling_option_is_a_field_of_the_request() -> None:
    service = FakeService(**{CHAT: hello()})
    options = {
        "temperature": 0.5,
        "max_tokens": -1,
        "top_p": 0.8,
        "top_k": -1,
        "min_p": 0.1,
        "repetition_penalty": 1.2,
        "repetition_context_size": 64,
        "presence_penalty": -1.5,
        "frequency_penalty": 0.0,
        "xtc_probability": 0.5,
        "xtc_threshold": 0.2,
        "min_tokens": 0,
        "seed": 7,
        "priority": "low",
        "max_queue_s": 5.0,
    }
    flags = [part for name, value in options.items() for part in (_flag(name), str(value))]
    more = ["--stop", "END", "--stop", "\n", "--stop-token-id", "3", "--ignore-eos"]
    more += ["--logit-bias", "17=-100", "--logit-bias", "5=2.5"]
    result = mlxq(service, "chat", "Hi", *flags, *more)
    assert result.exit_code == 0, result.stderr
    [body] = service.sent("/api/engine/chat")
    lists = {"stop": ["END", "\n"], "stop_token_ids": [3], "ignore_eos": True}
    expected = options | lists | {"logit_bias": {"17": -100.0, "5": 2.5}}
    assert {name: body.get(name) for name in expected} == expected
    native = set(ChatRequest.model_fields) - {"model_id", "messages", "stream_options"}
    without_flag = {"on_disconnect", "logprobs", "top_logprobs", "include_reasoning"}
    without_flag |= {"reasoning_effort", "chat_template_kwargs", "webhook"}
    without_flag |= {"not_before", "keep_alive"}
    assert native - without_flag == set(expected)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


@pytest.mark.parametrize("bias", ["17", "17=", "x=1", "-1=1", "17=nan", "=1", "²=1"])
def test_a_bias_that_is_none_ends_in_one_line(bias: str) -> None:
    service = FakeService(**{CHAT: hello()})
    result = mlxq(service, "chat", "Hi", "--logit-bias", bias)
    assert result.exit_code == 2
    assert result.stderr == (
        "mlxq: --logit-bias: a token id and a number are needed, such as 17=-100\n"
    )
    assert service.sent("/api/engine/chat") == []


def test_two_biases_of_one_token_end_in_one_line() -> None:
    service = FakeService(**{CHAT: hello()})
    twice = ["--logit-bias", "17=1", "--logit-bias", "17=2"]
    result = mlxq(service, "chat", "Hi", *twice)
    assert result.exit_code == 2
    assert result.stderr == "mlxq: --logit-bias: a token id is given twice\n"
    assert service.sent("/api/engine/chat") == []


@pytest.mark.parametrize("arguments", [["chat"], ["chat", "-"]])
def test_the_prompt_may_come_from_standard_input(arguments: list[str]) -> None:
    service = FakeService(**{CHAT: hello()})
    assert mlxq(service, *arguments, stdin="from a pipe\n").exit_code == 0
    assert service.sent("/api/engine/chat")[0]["messages"] == [
        {"role": "user", "content": "from a pipe"}
    ]


def test_json_holds_the_whole_answer() -> None:
    warned = events(frame(1, warning="Memory is short."), frame(2, text="Hello"), end(3))
    result = mlxq(FakeService(**{CHAT: warned}), "chat", "Hi", "--json")
    answer = json.loads(result.stdout)
    assert (answer["job_id"], answer["text"], answer["finish_reason"]) == ("j1", "Hello", "stop")
    assert result.stderr == "warning: Memory is short.\n"


def test_a_picture_goes_as_a_data_url_to_a_model_that_sees(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(plain())
    sees = MODEL | {"id": "m2", "is_vision": True, "loaded": False}
    service = FakeService(**{CHAT: hello(), "GET /api/engine/models": [MODEL, sees]})
    assert mlxq(service, "chat", "What is it?", "--image", str(tmp_path / "red.png")).exit_code == 0
    [body] = service.sent("/api/engine/chat")
    assert body["model_id"] == "m2"
    text, picture = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")


def test_a_lost_connection_goes_on_at_its_cursor_with_no_word_lost_or_twice() -> None:
    answers = {
        CHAT: events(frame(1, text="one "), frame(2, text="two "), b"id: 3\nda", breaks=True),
        RESUME: iter(
            [
                refusal(503, "redis_unavailable", "Not now."),
                events(frame(3, text="three "), breaks=True),
                events(),  # An API that stops ends its streams in order.
                events(frame(4, text="four"), end(5)),
            ]
        ),
    }
    service = FakeService(**answers)
    assert mlxq(service, "chat", "Hi").stdout == "one two three four\n"
    cursors = [r.url.params["after"] for r in service.requests if r.url.path.endswith("/events")]
    assert cursors == ["2", "2", "3", "3"]


def test_a_request_whose_answer_was_lost_is_sent_again_under_the_same_key() -> None:
    def lost(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError("gone")

    service = FakeService(**{CHAT: iter([lost, hello()])})
    assert mlxq(service, "chat", "Hi").stdout == "Hello there\n"
    keys = [
        r.headers["Idempotency-Key"] for r in service.requests if r.url.path == "/api/engine/chat"
    ]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_service_that_does_not_come_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxq.chat_client.PATIENCE_S", 0.05)

    def refused(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    result = mlxq(
        FakeService(**{CHAT: events(frame(1, text="one"), breaks=True), RESUME: refused}),
        "chat",
        "Hi",
    )
    assert result.exit_code == 3
    assert result.stdout == "one\n"
    assert "no service answers" in result.stderr


def test_an_error_in_the_stream_is_one_line_behind_the_text() -> None:
    failed = events(
        frame(1, text="Hel"), end(2, "error", error="The step failed.", code="engine_failed")
    )
    result = mlxq(FakeService(**{CHAT: failed}), "chat", "Hi")
    assert (result.exit_code, result.stdout, result.stderr) == (
        1,
        "Hel\n",
        "mlxq: The step failed.\n",
    )


class Interrupting(httpx2.SyncByteStream):
    """A stream in whose middle the user presses Ctrl-C; it goes on until the stop has arrived."""

    def __init__(self, service: FakeService) -> None:
        self._service = service

    def __iter__(self):  # type: ignore[no-untyped-def]
        yield frame(1, text="so far")
        os.kill(os.getpid(), signal.SIGINT)
        while not self._service.sent("/api/engine/chat/stop"):
            yield b": keep-alive\n\n"
        yield frame(2, text=" so good")
        yield end(3, "cancelled")


def test_ctrl_c_stops_the_chat_and_keeps_the_text() -> None:
    service = FakeService(**{STOP: {"status": "stopped"}})
    headers = {"Content-Type": "text/event-stream", "X-Job-Id": "j1"}
    service.answers[CHAT] = httpx2.Response(200, headers=headers, stream=Interrupting(service))
    before = signal.getsignal(signal.SIGINT)
    result = mlxq(service, "chat", "Hi")
    assert (result.exit_code, result.stdout) == (130, "so far so good\n")
    assert service.sent("/api/engine/chat/stop") == [{"job_id": "j1"}]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_chat_that_somebody_else_stopped_is_a_failure() -> None:
    stopped = events(frame(1, text="so far"), end(2, "cancelled"))
    result = mlxq(FakeService(**{CHAT: stopped}), "chat", "Hi")
    assert (result.exit_code, result.stdout) == (1, "so far\n")
    assert "somebody else" in result.stderr
