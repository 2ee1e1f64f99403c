"""``mlxq embed``: texts of the command line and of standard input."""

from __future__ import annotations

import json

import httpx2
from typer.testing import CliRunner, Result

from mlxq.cli import app
from mlxq.commands.texts import embed
from tests.support.cli_support import FakeService


def answer(request: httpx2.Request) -> httpx2.Response:
    texts = json.loads(request.content)["input"]
    data = [{"index": n, "embedding": [float(len(text)), 0.5]} for n, text in enumerate(texts)]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return httpx2.Response(200, json={"model": "minilm", "data": data, "usage": usage})


def run(service: FakeService, *arguments: str, piped: str = "") -> Result:
    runner = CliRunner(env={"MLXQ_URL": None, "MLXQ_API_KEY": None})
    return runner.invoke(app, ["embed", *arguments], input=piped, obj=service, prog_name="mlxq")


def test_a_vector_is_a_line() -> None:
    service = FakeService(**{f"POST {embed.ROUTE}": answer})
    result = run(service, "a", "bbb", "-m", "minilm", "--dimensions", "2")
    assert result.output.splitlines() == ["[1.0, 0.5]", "[3.0, 0.5]"]
    assert service.sent(embed.ROUTE) == [
        {"input": ["a", "bbb"], "model": "minilm", "dimensions": 2}
    ]


def test_lines_of_standard_input_are_texts_and_many_take_several_requests(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(embed, "MOST_TEXTS", 2)
    service = FakeService(**{f"POST {embed.ROUTE}": answer})
    told = json.loads(run(service, "--json", piped="a\nbb\nccc\n").output)
    assert [row["text"] for row in told["data"]] == ["a", "bb", "ccc"]
    assert (told["model"], told["prompt_tokens"]) == ("minilm", 3)
    assert [body["input"] for body in service.sent(embed.ROUTE)] == [["a", "bb"], ["ccc"]]


def test_without_a_text_nothing_is_sent() -> None:
    service = FakeService()
    for piped in ("", "a\n\nb\n"):
        result = run(service, piped=piped)
        assert result.exit_code == 2
    assert not service.requests
