"""The process that decodes images: each is answered with a clean picture or a reason.

Runs as a script with the standard library, Pillow and the loop of every child, so that a
decompression bomb or a crash in a decoder ends nothing but this process. The payload is base64; the
answer's head is ``{"width": …, "height": …, "length": …}``, and a PNG follows it.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import io
import math
import re
import signal
from collections.abc import Callable
from typing import TypeVar

from PIL import Image

from wire.processes.child import Head, run

T = TypeVar("T")

MEMORY = 1 << 30
"""Address space of this process, bytes: the largest WebP allowed takes two thirds of it."""
MAX_PIXELS = 40_000_000
STORED_PIXELS = 1 << 22
"""Larger pictures are scaled down to about this: vision models look at one to four megapixels."""
MAX_ASPECT = 200
"""The processors of the qwen2_vl family raise beyond it."""
ALARM_S = 45
"""The parent's limit is shorter; this one applies when the parent has died."""
SIGNATURES = {
    "png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "jpeg": re.compile(rb"\xff\xd8\xff"),
    "gif": re.compile(rb"GIF8[79]a"),
    "webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
_STANDARD = bytes.maketrans(b"-_", b"+/")
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Sizes are judged here, by the header; Pillow's own limit would be another one.
Image.MAX_IMAGE_PIXELS = None


class Refused(Exception):
    """The reason, one word; the parent has the sentence."""


def clean(payload: bytes) -> tuple[int, int, bytes]:
    """Width, height and PNG of an image in base64: first frame, upright, RGB on white, no metadata.

    Raises Refused.
    """
    data = _decoded(payload)
    # The declared type doesn't matter: clients name every picture alike.
    kind = next((name for name, signature in SIGNATURES.items() if signature.match(data)), None)
    if kind is None:
        raise Refused("unknown")
    if kind == "webp":
        # Pillow's reader makes room for two whole canvases before it tells their size.
        _judge(*_webp_size(data))
    with _tried(
        "unreadable", lambda: Image.open(io.BytesIO(data), formats=[kind.upper()])
    ) as image:
        _judge(*image.size)
        image.draft(None, _fitting(*image.size))
        _tried("broken", image.load)
        turn = _turn(image)
        picture = _rgb(image)
    picture = picture.resize(_fitting(*picture.size), Image.Resampling.LANCZOS, reducing_gap=1.5)
    if turn is not None:
        picture = picture.transpose(turn)
    picture.info = {}  # Whatever is left in it would be written: profiles, comments, transparency.
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=1)
    return picture.width, picture.height, stream.getvalue()


def _decoded(payload: bytes) -> bytes:
    try:
        data = binascii.a2b_base64(payload, strict_mode=True)
    except binascii.Error:
        data = _loosely_decoded(payload)
    if len(data) == 0:
        raise Refused("empty")
    return data


def _loosely_decoded(payload: bytes) -> bytes:
    """Base64 with line breaks, in the URL-safe alphabet or without its padding: there is one way
    to read it."""
    text = payload.translate(None, b" \t\r\n")
    if not re.search(rb"[+/]", text):
        text = text.translate(_STANDARD)
    bare = text.rstrip(b"=")
    if re.search(rb"[^A-Za-z0-9+/]", bare) or len(text) - len(bare) > 2:
        raise Refused("base64")
    if len(bare) % 4 == 1:
        raise Refused("length")
    return binascii.a2b_base64(bare + b"=" * (-len(bare) % 4))


def _tried(reason: str, step: Callable[[], T]) -> T:
    try:
        return step()
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise whatever they stumble over in a broken file
        raise Refused(
            "metadata" if "Decompressed data too large" in str(error) else reason
        ) from None


def _judge(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise Refused("unreadable")
    if width * height > MAX_PIXELS:
        raise Refused("pixels")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise Refused("aspect")


def _webp_size(data: bytes) -> tuple[int, int]:
    """The canvas that a WebP file's first chunk declares; (0, 0) if there is no such chunk."""
    chunk = data[12:16]
    if chunk == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if chunk == b"VP8L" and len(data) >= 25 and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 " and len(data) >= 30 and data[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(
            data[28:30], "little"
        ) & 0x3FFF
    return 0, 0


def _fitting(width: int, height: int) -> tuple[int, int]:
    """The size at which a picture is stored.

    The shorter side is rounded up: the aspect must not pass its limit.
    """
    if width * height <= STORED_PIXELS:
        return width, height
    scale = math.sqrt(STORED_PIXELS / (width * height))
    longer, shorter = math.floor(max(width, height) * scale), math.ceil(min(width, height) * scale)
    return (longer, shorter) if width >= height else (shorter, longer)


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Broken EXIF says nothing about how the picture stands.
        return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Sixteen bits of grey; Pillow's own conversion cuts at 255 instead of scaling.
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L").convert("RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    layer = image if image.mode == "RGBA" else image.convert("RGBA")
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(layer, mask=layer)
    return canvas


def warm_up() -> None:
    """Read and write one picture of each kind: what Pillow imports on the way can't be opened
    any more later."""
    for kind in SIGNATURES:
        stream = io.BytesIO()
        exif = Image.Exif()
        exif[_ORIENTATION] = 3
        Image.new("RGB", (2, 2)).save(
            stream, kind.upper(), **({} if kind == "gif" else {"exif": exif})
        )
        clean(base64.b64encode(stream.getvalue()))
    # What a JPEG with several pictures turns into, and what reads EXIF.
    for name in ("MpoImagePlugin", "TiffImagePlugin"):
        importlib.import_module(f"PIL.{name}")


def answer(_kind: str, payload: bytes) -> tuple[Head, bytes]:
    """The answer's line and what follows it. Raises MemoryError."""
    try:
        width, height, data = clean(payload)
    except Refused as refused:
        return {"refused": str(refused)}, b""
    return {"width": width, "height": height, "length": len(data)}, data


def limit_time() -> None:
    """The system ends this process when one image takes longer."""
    signal.alarm(ALARM_S)


if __name__ == "__main__":
    run(answer, warm_up, MEMORY, limit_time)
