"""Which images are refused, with which reason, how fast and at which cost."""

from __future__ import annotations

import base64
import time

import psutil
import pytest
from PIL import Image

from api.images import MOST_IMAGES, TOO_LARGE
from tests import picture_files as files
from tests.image_support import CHAT, ImageApi, body
from wire import keys

# --- limits -----------------------------------------------------------------------------------------------------------


def padded(size: int) -> bytes:
    return files.saved(files.corners()).ljust(size, b"\0")


def test_an_image_may_be_one_byte_under_20_mb(images: ImageApi) -> None:
    assert images.kept(padded(TOO_LARGE - 1)).size == (48, 32)


@pytest.mark.parametrize("size", [TOO_LARGE, TOO_LARGE + 1, TOO_LARGE + 2, TOO_LARGE + 3_000_000])
def test_an_image_of_20_mb_is_refused_with_the_limit(images: ImageApi, size: int) -> None:
    assert "20 MB" in images.refused(files.url(padded(size)))


def test_the_length_is_judged_before_anything_is_decoded(images: ImageApi) -> None:
    assert "20 MB" in images.refused("data:image/png;base64," + "%" * 30_000_000)


def test_a_request_holds_at_most_so_many_images(images: ImageApi) -> None:
    url = files.url(files.plain())
    assert len(images.messages(body(*[url] * MOST_IMAGES))[0].images()) == MOST_IMAGES
    response = images.client.post(CHAT, json=body(*[url] * (MOST_IMAGES + 1)))
    assert (response.status_code, response.json()["code"]) == (422, "invalid_image")
    assert str(MOST_IMAGES) in response.json()["detail"]


# --- what is refused --------------------------------------------------------------------------------------------------

PNG64 = base64.b64encode(files.plain()).decode()
URLS = {
    "data: URL": ["http://127.0.0.1/a.png", "https://example.com/a.png", "HTTP://EXAMPLE.COM/a.png", "file:///etc/passwd",
                  "FILE:///etc/passwd", "/etc/passwd", "../../etc/passwd", "~/a.png", "C:\\a.png", "ftp://host/a.png",
                  "//host/a.png", "gopher://host", "javascript:alert(1)", "blob:x", "", " ", "a.png", "s3://b/a.png",
                  f"DATA:image/png;base64,{PNG64}", f" data:image/png;base64,{PNG64}", "unix:/tmp/socket",
                  "\\\\host\\share\\a.png", "redis://127.0.0.1",
                  f"\ndata:image/png;base64,{PNG64}"],
    "of type": ["data:,x", "data:text/html;base64,PGI+", f"data:;base64,{PNG64}", "data:application/pdf;base64,JV==",
                f"data:IMAGE/PNG;base64,{PNG64}", "data:taken/0", "data:taken/99"],
    "must be in base64": ["data:image/png,QUJD", "data:image/png;charset=utf-8,QUJD", "data:image/png;base64"],
    "must begin with": ["data:image/svg+xml;base64,PHN2Zz4=", "data:image/tiff;base64,SUkqAA==",
                        f"data:image/jpg;base64,{PNG64}", f"data:image/png;charset=utf-8;base64,{PNG64}",
                        f"data:image/PNG;base64,{PNG64}", f"data:image/bmp;base64,{PNG64}"],
    "white space": [f"data:image/png;base64, {PNG64}", f"data:image/png;base64,{PNG64[:40]}\n{PNG64[40:]}",
                    f"data:image/png;base64,{PNG64}\n", f"data:image/png;base64,{PNG64[:8]}\t{PNG64[8:]}"],
    "URL-safe": ["data:image/png;base64,__--", "data:image/png;base64,iVBORw0KGgo_____"],
    "padding": ["data:image/png;base64,iVBORw0KGg", "data:image/png;base64,QQ=", "data:image/png;base64,Q",
                f"data:image/png;base64,{PNG64}A"],
    "not valid base64": ["data:image/png;base64,%%%%", "data:image/png;base64,QQ==QUJD", "data:image/png;base64,====",
                         "data:image/png;base64,é", "data:image/png;base64,iVBORw0KGgo%3D",
                         f"data:image/png;base64,{PNG64},"],
    "is empty": ["data:image/png;base64,"],
}  # fmt: skip


@pytest.mark.parametrize(("reason", "url"), [(reason, url) for reason, urls in URLS.items() for url in urls])
def test_a_foreign_or_broken_url_is_refused_with_its_reason(images: ImageApi, reason: str, url: str) -> None:
    assert reason in images.refused(url)


WHOLE = {kind: files.saved(files.noise((64, 64)), kind.upper()) for kind in ("png", "jpeg", "webp", "gif")}
FILES: list[tuple[str, str, bytes, str]] = [
    ("SVG", "png", b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", "is no PNG"),
    ("HTML", "jpeg", b"<!doctype html><img src=x>", "is no PNG"),
    ("TIFF", "png", files.plain("TIFF"), "is no PNG"),
    ("ICO", "png", files.plain("ICO", (16, 16)), "is no PNG"),
    ("BMP", "gif", files.plain("BMP"), "is no PNG"),
    ("PDF", "png", files.plain("PDF"), "is no PNG"),
    ("PSD", "png", b"8BPS\0\1" + bytes(40), "is no PNG"),
    ("EPS", "jpeg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no PNG"),
    ("AVIF", "webp", files.plain("AVIF", (16, 16)), "is no PNG"),
    ("JPEG 2000", "jpeg", files.plain("JPEG2000", (16, 16)), "is no PNG"),
    ("text", "png", b"hello", "is no PNG"),
    ("zeros", "png", bytes(1000), "is no PNG"),
    ("other RIFF", "webp", b"RIFF\x10\0\0\0WAVEfmt \0\0\0\0", "is no PNG"),
    ("signature not at the start", "png", b" " + WHOLE["png"], "is no PNG"),
    ("JPEG as PNG", "png", WHOLE["jpeg"], "another type"),
    ("PNG as JPEG", "jpeg", WHOLE["png"], "another type"),
    ("GIF as WebP", "webp", WHOLE["gif"], "another type"),
    ("WebP as GIF", "gif", WHOLE["webp"], "another type"),
    ("PNG signature alone", "png", WHOLE["png"][:8], "header"),
    ("PNG cut in its header", "png", WHOLE["png"][:20], "header"),
    ("JPEG signature alone", "jpeg", WHOLE["jpeg"][:3], "header"),
    ("JPEG cut before its size", "jpeg", WHOLE["jpeg"][:60], "header"),
    ("GIF signature alone", "gif", WHOLE["gif"][:6], "header"),
    ("WebP signature alone", "webp", WHOLE["webp"][:12], "header"),
    ("WebP of an unknown chunk", "webp", WHOLE["webp"][:12] + b"ABCD" + WHOLE["webp"][16:], "header"),
    ("PNG with a wrong checksum", "png", WHOLE["png"][:20] + b"\xff" + WHOLE["png"][21:], "header"),
    ("PNG 0 x 9", "png", files.png_of_size(0, 9), "header"),
    ("PNG cut in its pixels", "png", WHOLE["png"][: len(WHOLE["png"]) // 2], "cut short"),
    ("JPEG cut in its pixels", "jpeg", WHOLE["jpeg"][: len(WHOLE["jpeg"]) // 2], "cut short"),
    ("GIF cut in its pixels", "gif", WHOLE["gif"][: len(WHOLE["gif"]) // 2], "cut short"),
    ("PNG with broken pixels", "png", WHOLE["png"][:100] + b"\xff" * 50 + WHOLE["png"][150:], "cut short"),
    ("PNG with too few pixels", "png", files.png_of_size(64, 64), "cut short"),
    ("PNG of a wrong depth", "png", files.png(1, 1, 3, files.COLOUR, bytes(4)), ""),
    ("PNG of 64 megapixels", "png", files.png_of_size(8000, 8000), "40 megapixels"),
    ("PNG of 10^18 pixels", "png", files.png_of_size(2**31 - 1, 2**31 - 1), "40 megapixels"),
    ("GIF of 4 gigapixels", "gif", files.gif_of_size(65535, 65535), "40 megapixels"),
    ("WebP of 268 megapixels", "webp", files.webp_of_size(16384, 16384), "40 megapixels"),
    ("JPEG of 4 gigapixels", "jpeg", files.jpeg_of_size(65000, 65000), "40 megapixels"),
    ("one over 40 megapixels", "png", files.png_of_size(8000, 5001), "40 megapixels"),
    ("201 : 1", "png", files.plain(size=(201, 1)), "200 times"),
    ("1 : 201", "gif", files.plain("GIF", (1, 201)), "200 times"),
    ("30,000 : 1", "jpeg", files.plain("JPEG", (30_000, 1)), "200 times"),
    ("zTXt bomb", "png", files.text_bomb(b"zTXt"), "metadata"),
    ("iTXt bomb", "png", files.text_bomb(b"iTXt"), "metadata"),
    ("iCCP bomb", "png", files.text_bomb(b"iCCP"), "metadata"),
]


@pytest.mark.parametrize(("kind", "data", "reason"), [row[1:] for row in FILES], ids=[row[0] for row in FILES])
def test_a_hostile_or_broken_file_is_refused_with_its_reason(
    images: ImageApi, kind: str, data: bytes, reason: str
) -> None:
    before = psutil.Process().memory_info().rss
    started = time.monotonic()
    assert reason in images.refused(files.url(data, kind))
    # 100 ms on a machine of its own; tests share theirs.
    assert time.monotonic() - started < 0.5
    assert psutil.Process().memory_info().rss < before + 100_000_000


def test_nothing_is_kept_of_a_request_with_one_bad_image(images: ImageApi) -> None:
    bad = files.url(b"hello")
    good = files.url(files.saved(Image.new("RGB", (5, 5), "teal")))
    before = set(images.redis.hkeys(keys.IMAGES))
    assert images.client.post(CHAT, json=body(good, bad)).status_code == 422
    [sha256] = set(images.redis.hkeys(keys.IMAGES)) - before
    until = time.monotonic() + 5
    while images.redis.zscore(keys.IMAGES_IDLE, sha256) is None:
        assert time.monotonic() < until, "still held"
        time.sleep(0.01)
