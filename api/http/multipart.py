"""Multipart form data as it arrives: small fields whole, a file in chunks, never buffered whole.

Knows forms and nothing of their purpose.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.errors import ApiError

MOST_FIELD = 64 << 10
MOST_FIELDS = 32


@dataclass(frozen=True, slots=True)
class FileBegins:
    """The data that follows is this file's."""

    name: str
    filename: str


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    value: str


Part = FileBegins | Field | bytes


class _PartReader:
    """Collects what the parser calls back with, until the next chunk of the body is read."""

    def __init__(self, boundary: bytes) -> None:
        self.ended = False
        self._ready: list[Part] = []
        self._count = 0
        self._headers: dict[str, bytes] = {}
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._name = ""
        self._value = bytearray()
        self._is_file = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value_data,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    def read(self, chunk: bytes) -> list[Part]:
        """The parts that a chunk of the body completes, and the file's data in it."""
        self._parser.write(chunk)
        ready, self._ready = self._ready, []
        return ready

    def close(self) -> None:
        self._parser.finalize()

    def _part_begin(self) -> None:
        self._headers.clear()
        self._value.clear()
        self._count += 1
        if self._count > MOST_FIELDS:
            raise ApiError("invalid_request", "The form has too many fields.")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_value_data(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header_name.decode("latin-1").lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _headers_finished(self) -> None:
        # As bytes: the parser accepts text in Latin-1 only, and names are UTF-8.
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        self._name = _utf8(options.get(b"name", b""))
        self._is_file = b"filename" in options
        if self._is_file:
            self._ready.append(FileBegins(self._name, _utf8(options[b"filename"])))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._ready.append(bytes(data[start:end]))
            return
        self._value += data[start:end]
        if len(self._value) > MOST_FIELD:
            raise ApiError("too_large", "A field of the form is too large.")

    def _part_end(self) -> None:
        if not self._is_file:
            self._ready.append(Field(self._name, _utf8(self._value)))

    def _end(self) -> None:
        self.ended = True


def _utf8(data: bytes | bytearray) -> str:
    return data.decode("utf-8", "replace")


async def parts(content_type: str, chunks: AsyncIterable[bytes]) -> AsyncIterator[Part]:
    """The parts of a form, in order. Raises ApiError for a body that is not a form."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise ApiError("unsupported_media_type", "Send a form: Content-Type multipart/form-data.")
    try:
        reader = _PartReader(options[b"boundary"])
        async for chunk in chunks:
            for part in reader.read(chunk):
                yield part
        reader.close()
    except FormParserError:
        raise ApiError("bad_request", "The form could not be read.") from None
    if not reader.ended:
        raise ApiError("bad_request", "The form was cut off.")
