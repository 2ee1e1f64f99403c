"""Other programs at the service's address, invalid ids and endless files: one line each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from mlxq.commands.conversation import _path
from mlxq.commands.user_message import image_part
from mlxq.errors import WrongUse
from tests.support.cli_support import FakeService, mlxq

STRANGE: tuple[Any, ...] = ({"object": "list", "data": []}, [1], [{"id": "m1"}], "text", 5, {})
COMMANDS = ("chat hi", "models", "ps", "status", "batches", "batch {file}", "models download a/b")


@pytest.mark.parametrize("strange", STRANGE, ids=str)
@pytest.mark.parametrize("command", COMMANDS)
def test_json_of_another_program_is_recognised(command: str, strange: Any, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"prompt": "1"}\n')
    service = httpx2.MockTransport(lambda _: httpx2.Response(200, json=strange))
    result = mlxq(service, *command.format(file=tmp_path / "in.jsonl").split())
    assert result.exit_code == 3, result.exception
    assert "is not this service" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("job", ["", "a\udcff", "x" * 256, "a\nb"])
def test_an_id_that_nothing_can_have_is_refused_before_anything_is_sent(job: str) -> None:
    service = FakeService()
    result = mlxq(service, "stop", job)
    assert (result.exit_code, service.requests) == (2, [])
    assert result.stderr.startswith("mlxq: that is not the id of a chat or a batch")


def test_an_id_never_leads_to_another_address() -> None:
    service = FakeService(**{"GET /health": {"status": "ok"}})
    result = mlxq(service, "stop", "../../../health?a#b")
    assert result.exit_code == 1
    paths = [request.url.raw_path for request in service.requests]
    name = b"..%2F..%2F..%2Fhealth%3Fa%23b"
    assert paths == [b"/api/engine/jobs/" + name, b"/api/engine/batches/" + name]


def test_without_a_service_the_variable_is_named_as_it_is_written() -> None:
    def refused(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    output = mlxq(httpx2.MockTransport(refused)).stdout
    assert "No service answers at http://127.0.0.1:8000" in output
    assert "or name another address with --url or MLXQ_URL." in output


def test_an_image_without_an_end_is_read_up_to_the_limit(tmp_path: Path) -> None:
    endless = tmp_path / "huge.png"
    with endless.open("wb") as file:
        file.write(b"\x89PNG")
        file.truncate(1 << 40)
    result = mlxq(FakeService(), "chat", "hi", "--image", str(endless))
    assert result.exit_code == 2
    assert "is too large: an image must be under 20 MB" in result.stderr
    with pytest.raises(WrongUse, match="is not the name of a file"):
        image_part(Path("a\0b"))  # as it may be typed in a conversation


def test_a_home_folder_of_nobody_is_a_name_like_any_other() -> None:
    assert _path("~nobody-has-this-name/a.png") == Path("~nobody-has-this-name/a.png")
