"""A multipart body as it arrives: its small fields, and its file in pieces that nobody has to hold.

Knows forms and nothing of what they are for.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.errors import ApiError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

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


@dataclass
class _Parts:
    """What the parser tells, collected until it is asked for."""

    found: list[Part] = field(default_factory=list)
    headers: dict[str, bytes] = field(default_factory=dict)
    fields: int = 0
    ended: bool = False
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _data: bytearray = field(default_factory=bytearray)
    _name: str = ""
    _is_file: bool = False

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self.on_part_begin,
            "on_header_field": self.on_header_field,
            "on_header_value": self.on_header_value,
            "on_header_end": self.on_header_end,
            "on_headers_finished": self.on_headers_finished,
            "on_part_data": self.on_part_data,
            "on_part_end": self.on_part_end,
            "on_end": self.on_end,
        }

    def on_part_begin(self) -> None:
        self.headers.clear()
        self._data.clear()
        self.fields += 1
        if self.fields > MOST_FIELDS:
            raise ApiError("invalid_request", "The form has too many fields.")

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self.headers[self._header.decode("latin-1").lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def on_headers_finished(self) -> None:
        # As bytes: of a text the parser wants Latin-1 alone, and names are UTF-8.
        _, options = parse_options_header(self.headers.get("content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = b"filename" in options
        if self._is_file:
            self.found.append(
                FileBegins(self._name, options[b"filename"].decode("utf-8", "replace"))
            )

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.found.append(bytes(data[start:end]))
            return
        self._data += data[start:end]
        if len(self._data) > MOST_FIELD:
            raise ApiError("too_large", "A field of the form is too large.")

    def on_part_end(self) -> None:
        if not self._is_file:
            self.found.append(Field(self._name, self._data.decode("utf-8", "replace")))

    def on_end(self) -> None:
        self.ended = True


async def parts(content_type: str, pieces: AsyncIterable[bytes]) -> AsyncIterator[Part]:
    """The parts of a form, in their order. Raises ApiError for a body that is none."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise ApiError("unsupported_media_type", "Send a form: Content-Type multipart/form-data.")
    told = _Parts()
    try:
        parser = MultipartParser(options[b"boundary"], told.callbacks())
        async for piece in pieces:
            parser.write(piece)
            for part in told.found:
                yield part
            told.found.clear()
        parser.finalize()
    except FormParserError:
        raise ApiError("bad_request", "The form could not be read.") from None
    if not told.ended:
        raise ApiError("bad_request", "The form was cut off.")
