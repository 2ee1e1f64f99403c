"""Forms are parsed as they arrive: the fields and the file do not depend on the size of the chunks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from api.errors import ApiError
from api.http.multipart import Field, FileBegins, parts

KIND = "multipart/form-data; boundary=line"
FILE = b'{"a": 1}\r\n--lin\r\n{"b": 2}\n'
BODY = (
    b'--line\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--line\r\nContent-Disposition: form-data; name="file"; filename="p.jsonl"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n" + FILE + b"\r\n--line--\r\n"
)


def read(body: bytes, size: int, kind: str = KIND) -> tuple[list[Field | FileBegins], bytes]:
    """The fields and the file's data of a body that arrives in chunks of ``size`` bytes."""

    async def arriving() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    async def collect() -> tuple[list[Field | FileBegins], bytes]:
        named: list[Field | FileBegins] = []
        data = b""
        async for part in parts(kind, arriving()):
            if isinstance(part, bytes):
                data += part
            else:
                named.append(part)
        return named, data

    return asyncio.run(collect())


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 4096])
def test_a_form_is_the_same_in_chunks_of_any_size(size: int) -> None:
    assert read(BODY, size) == ([Field("purpose", "batch"), FileBegins("file", "p.jsonl")], FILE)


@pytest.mark.parametrize(
    ("sent", "name"),
    [("質問.jsonl".encode(), "質問.jsonl"), (b"\xd8\x98.jsonl\xff", "ؘ.jsonl\ufffd")],
)
def test_names_are_utf8_and_invalid_bytes_are_replaced(sent: bytes, name: str) -> None:
    assert read(BODY.replace(b"p.jsonl", sent), 7)[0][1] == FileBegins("file", name)


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (BODY, "application/json", "unsupported_media_type"),
        (BODY, "multipart/form-data", "unsupported_media_type"),
        (b"what is this?", KIND, "bad_request"),
        (BODY[:-20], KIND, "bad_request"),
        (BODY, KIND + "e" * 300, "bad_request"),
        (BODY.replace(b"batch", b"b" * 70_000), KIND, "too_large"),
        (
            b'--line\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n' * 40 + b"--line--",
            KIND,
            "invalid_request",
        ),
        (BODY.replace(b"Content-Type", b"X" * 5000), KIND, "bad_request"),
    ],
)
def test_a_body_that_is_not_a_form_is_refused_with_its_code(
    body: bytes, kind: str, code: str
) -> None:
    with pytest.raises(ApiError) as caught:
        read(body, 512, kind)
    assert caught.value.code == code
