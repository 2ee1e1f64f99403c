"""Image files for tests, including malformed and hostile ones that are built byte by byte."""

from __future__ import annotations

import base64
import io
import random
import struct
import zlib
from typing import Any

from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CORNERS = {
    "top left": (255, 0, 0),
    "top right": (0, 255, 0),
    "bottom left": (0, 0, 255),
    "bottom right": (255, 255, 0),
}
GREY, COLOUR, PALETTE, GREY_ALPHA = 0, 2, 3, 4


def saved(image: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **more)
    return stream.getvalue()


def plain(
    kind: str = "PNG", size: tuple[int, int] = (4, 2), mode: str = "RGB", **more: Any
) -> bytes:
    return saved(Image.new(mode, size), kind, **more)


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(size[0] * size[1] * 3))


def corners(width: int = 48, height: int = 32) -> Image.Image:
    """A picture with another colour in each quarter."""
    image = Image.new("RGB", (width, height))
    for colour, x, y in zip(
        CORNERS.values(), (0, width // 2) * 2, (0, 0, height // 2, height // 2), strict=True
    ):
        image.paste(colour, (x, y, x + width // 2, y + height // 2))
    return image


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG of raw rows, each with its filter byte; ``extra`` chunks come before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return SIGNATURE + chunk(b"IHDR", header) + b"".join(extra) + pixels + chunk(b"IEND", b"")


def chunks(data: bytes) -> list[bytes]:
    """The names of a PNG's chunks."""
    names, at = [], len(SIGNATURE)
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        names.append(name)
        at += length + 12
    return names


def png_of_size(width: int, height: int) -> bytes:
    """A header that declares more pixels than follow."""
    return png(width, height, 8, COLOUR, b"\0" * 100)


def gif_of_size(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + plain("GIF")[10:]


def webp_of_size(width: int, height: int) -> bytes:
    """A canvas that is larger than its only frame."""
    frame = plain("WEBP")[12:]
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4)
    canvas += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 4 + len(canvas) + len(frame)) + b"WEBP" + canvas + frame


def jpeg_of_size(width: int, height: int) -> bytes:
    data = bytearray(plain("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def text_bomb(kind: bytes = b"zTXt", size: int = 64 << 20) -> bytes:
    """A PNG whose compressed text, comment or profile is a thousand times its length."""
    name = b"icc\0\0" if kind == b"iCCP" else b"Comment\0\0"
    if kind == b"iTXt":
        name = b"Comment\0\1\0\0\0"
    return png(1, 1, 8, COLOUR, bytes(4), chunk(kind, name + zlib.compress(bytes(size), 9)))


def frames(kind: str, *colours: str, size: tuple[int, int] = (8, 8)) -> bytes:
    """An animation with one frame of each colour."""
    first, *others = (Image.new("RGB", size, colour) for colour in colours)
    return saved(first, kind, save_all=True, append_images=others, duration=40, lossless=True)


def frame_bomb() -> bytes:
    """A GIF with a frame every few bytes."""
    whole = frames("GIF", "red", "blue", size=(500, 500))
    second = whole.index(b"\x21\xf9\x04", whole.index(b"\x21\xf9\x04") + 1)
    return whole[:second] + whole[second:-1] * 2000 + b";"


def url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
