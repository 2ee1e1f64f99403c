"""Which images are refused, with which reason, how fast, and with how much memory."""

from __future__ import annotations

import base64

import psutil
import pytest
from PIL import Image

from api.images.intake import MOST_IMAGES
from api.images.urls import TOO_LARGE
from tests.support import picture_files as files
from tests.support.api_support import chat_body, message, wait_for
from tests.support.image_support import CHAT, ImageApi, body, computed_s
from wire import keys

# --- limits ---------------------------------------------------------------------------------------


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


# --- what is refused ------------------------------------------------------------------------------

PNG64 = base64.b64encode(files.plain()).decode()
URLS = {
    "data: URL": ["file:///etc/passwd", "FILE:///etc/passwd", "/etc/passwd", "../../etc/passwd", "~/a.png",
                  "C:\\a.png", "ftp://host/a.png", "//host/a.png", "gopher://host", "javascript:alert(1)", "blob:x",
                  "", " ", "a.png", "s3://b/a.png", f" data:image/png;base64,{PNG64}", "unix:/tmp/socket",
                  "\\\\host\\share\\a.png", "redis://127.0.0.1", f"\ndata:image/png;base64,{PNG64}",
                  " http://127.0.0.1/a.png", "http:/a.png", "https:a.png"],
    "of type": ["data:text/html;base64,PGI+", "data:application/pdf;base64,JV==", "data:taken/0", "data:taken/99",
                "data:image/svg+xml;base64,PHN2Zz4=", "data:image/tiff;base64,SUkqAA==",
                f"data:image/bmp;base64,{PNG64}", f"data:png;base64,{PNG64}", f"data:image/*;base64,{PNG64}"],
    "must be in base64": ["data:,x", "data:image/png,QUJD", "data:image/png;charset=utf-8,QUJD",
                          "data:image/png;base64",
                          f"data:image/png;base64;name=a,{PNG64}", f"data:image/png;{'a' * 600};base64,{PNG64}"],
    "wrong length": ["data:image/png;base64,Q", "data:image/png;base64,iVBOR"],
    "not valid base64": ["data:image/png;base64,%%%%", "data:image/png;base64,QQ==QUJD", "data:image/png;base64,====",
                         "data:image/png;base64,é", "data:image/png;base64,iVBORw0KGgo%3D",
                         f"data:image/png;base64,{PNG64},", "data:image/png;base64,+_+_", "data:image/png;base64,/-/-",
                         f"data:image/png;base64,{PNG64}\v", f"data:image/png;base64,{PNG64}A",
                         "data:image/png;base64,QQ==="],
    "not a PNG": ["data:image/png;base64,QQ=", "data:image/png;base64,__--", "data:;base64,QUJD"],
    "is empty": ["data:image/png;base64,", "data:;base64,", "data:image/png;base64,\n"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "url"), [(reason, url) for reason, urls in URLS.items() for url in urls]
)
def test_a_foreign_or_broken_url_is_refused_with_its_reason(
    images: ImageApi, reason: str, url: str
) -> None:
    assert reason in images.refused(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.png",
        "https://example.com/a.png",
        "HTTP://EXAMPLE.COM/a.png",
        "https://",
        "http://[",
    ],
)
@pytest.mark.parametrize("plain", [False, True])
def test_an_address_of_an_image_is_refused_by_name(images: ImageApi, url: str, plain: bool) -> None:
    image = {"type": "image_url", "image_url": url if plain else {"url": url}}
    messages = [message(), {"role": "user", "content": [{"type": "text", "text": "see"}, image]}]
    native = images.client.post(CHAT, json=chat_body(messages=messages))
    assert (native.status_code, native.json()["code"]) == (400, "unsupported")
    assert native.json()["errors"] == ["body -> messages -> 1 -> content -> 1 -> image_url"]
    openai = images.client.post(
        "/v1/chat/completions", json={"model": "model-1", "messages": messages}
    )
    error = openai.json()["error"]
    assert (openai.status_code, error["code"], error["param"]) == (
        400,
        "unsupported",
        "messages[1].content[1].image_url",
    )
    assert "MLXQ_IMAGE_HOSTS" in error["message"]
    assert "->" not in error["message"]
    assert not images.worker.seen


def test_of_several_images_the_one_that_is_refused_is_named(images: ImageApi) -> None:
    good, bad = files.url(files.plain()), files.url(b"hello")
    answer = images.client.post(CHAT, json=body(good, good, bad))
    assert answer.json()["errors"] == ["body -> messages -> 0 -> content -> 3 -> image_url"]


WHOLE = {
    kind: files.saved(files.noise((64, 64)), kind.upper())
    for kind in ("png", "jpeg", "webp", "gif")
}
FILES: list[tuple[str, str, bytes, str]] = [
    (
        "SVG",
        "png",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "not a PNG",
    ),
    ("HTML", "jpeg", b"<!doctype html><img src=x>", "not a PNG"),
    ("TIFF", "png", files.plain("TIFF"), "not a PNG"),
    ("ICO", "png", files.plain("ICO", (16, 16)), "not a PNG"),
    ("BMP", "gif", files.plain("BMP"), "not a PNG"),
    ("PDF", "png", files.plain("PDF"), "not a PNG"),
    ("PSD", "png", b"8BPS\0\1" + bytes(40), "not a PNG"),
    ("EPS", "jpeg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a PNG"),
    ("AVIF", "webp", files.plain("AVIF", (16, 16)), "not a PNG"),
    ("JPEG 2000", "jpeg", files.plain("JPEG2000", (16, 16)), "not a PNG"),
    ("text", "png", b"hello", "not a PNG"),
    ("zeros", "png", bytes(1000), "not a PNG"),
    ("other RIFF", "webp", b"RIFF\x10\0\0\0WAVEfmt \0\0\0\0", "not a PNG"),
    ("signature not at the start", "png", b" " + WHOLE["png"], "not a PNG"),
    ("PNG signature alone", "png", WHOLE["png"][:8], "header"),
    ("PNG cut in its header", "png", WHOLE["png"][:20], "header"),
    ("JPEG signature alone", "jpeg", WHOLE["jpeg"][:3], "header"),
    ("JPEG cut before its size", "jpeg", WHOLE["jpeg"][:60], "header"),
    ("GIF signature alone", "gif", WHOLE["gif"][:6], "header"),
    ("WebP signature alone", "webp", WHOLE["webp"][:12], "header"),
    (
        "WebP of an unknown chunk",
        "webp",
        WHOLE["webp"][:12] + b"ABCD" + WHOLE["webp"][16:],
        "header",
    ),
    ("PNG with a wrong checksum", "png", WHOLE["png"][:20] + b"\xff" + WHOLE["png"][21:], "header"),
    ("PNG 0 x 9", "png", files.png_of_size(0, 9), "header"),
    ("PNG cut in its pixels", "png", WHOLE["png"][: len(WHOLE["png"]) // 2], "cut short"),
    ("JPEG cut in its pixels", "jpeg", WHOLE["jpeg"][: len(WHOLE["jpeg"]) // 2], "cut short"),
    ("GIF cut in its pixels", "gif", WHOLE["gif"][: len(WHOLE["gif"]) // 2], "cut short"),
    (
        "PNG with broken pixels",
        "png",
        WHOLE["png"][:100] + b"\xff" * 50 + WHOLE["png"][150:],
        "cut short",
    ),
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


@pytest.mark.parametrize(
    ("kind", "data", "reason"), [row[1:] for row in FILES], ids=[row[0] for row in FILES]
)
def test_a_hostile_or_broken_file_is_refused_with_its_reason(
    images: ImageApi, kind: str, data: bytes, reason: str
) -> None:
    before = psutil.Process().memory_info().rss
    began = computed_s()
    assert reason in images.refused(files.url(data, kind))
    # 100 ms on a machine of its own; on a busy one the same computing takes longer.
    assert computed_s() - began < 0.5
    assert psutil.Process().memory_info().rss < before + 100_000_000


def test_nothing_is_kept_of_a_request_with_one_bad_image(images: ImageApi) -> None:
    bad = files.url(b"hello")
    good = files.url(files.saved(Image.new("RGB", (5, 5), "teal")))
    before = set(images.redis.hkeys(keys.IMAGES))
    assert images.client.post(CHAT, json=body(good, bad)).status_code == 422
    [sha256] = set(images.redis.hkeys(keys.IMAGES)) - before
    wait_for(lambda: images.redis.zscore(keys.IMAGES_IDLE, sha256) is not None)
