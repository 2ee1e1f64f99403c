"""An image between the request and its job: checked, turned upright, scaled and stored."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from PIL import Image

from api.images.decoder_process import STORED_PIXELS
from api.images.urls import TOO_LARGE
from tests.support import picture_files as files
from tests.support.api_support import chat_body
from tests.support.image_support import ImageApi, body, computed_s
from wire import keys
from wire.messages import TextPart


def near(pixel: Any, wanted: tuple[int, ...], by: int = 8) -> bool:
    return all(abs(a - b) <= by for a, b in zip(pixel, wanted, strict=True))


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif"])
def test_an_image_becomes_a_reference(images: ImageApi, kind: str) -> None:
    picture = files.corners()
    [kept] = images.messages(body(files.url(files.saved(picture, kind.upper(), quality=95), kind)))
    [part] = kept.images()
    assert kept.content == (TextPart(text="see"), part)
    image = images.picture(part)
    for place in ((4, 4), (43, 4), (4, 27), (43, 27)):
        assert near(image.getpixel(place), picture.getpixel(place), by=12)
    assert 0 < images.redis.ttl(keys.image(part.sha256)) <= keys.IMAGE_LIFETIME_S


PNG64 = base64.b64encode(files.saved(files.corners())).decode()
LINES = "\n".join(PNG64[at : at + 76] for at in range(0, len(PNG64), 76))
AS_CLIENTS_WRITE_THEM = {
    "no type": f"data:;base64,{PNG64}",
    "image/jpg": f"data:image/jpg;base64,{PNG64}",
    "upper case": f"data:IMAGE/PNG;BASE64,{PNG64}",
    "upper case, all of it": f"DATA:IMAGE/PNG;BASE64,{PNG64}",
    "a name": f"data:image/png;name=a.png;base64,{PNG64}",
    "a charset": f"data:image/png;charset=utf-8;base64,{PNG64}",
    "lines": f"data:image/png;base64,{LINES}",
    "lines of Windows": "data:image/png;base64,\r\n" + LINES.replace("\n", "\r\n") + "\r\n",
    "spaces": f"data:image/png;base64, {PNG64[:40]} {PNG64[40:]}\t",
    "no padding": f"data:image/png;base64,{PNG64.rstrip('=')}",
    "URL-safe": f"data:image/png;base64,{PNG64.translate(str.maketrans('+/', '-_'))}",
    "URL-safe without padding": f"data:image/png;base64,{PNG64.rstrip('=').translate(str.maketrans('+/', '-_'))}",
}


@pytest.mark.parametrize("url", AS_CLIENTS_WRITE_THEM.values(), ids=list(AS_CLIENTS_WRITE_THEM))
def test_a_url_is_read_as_clients_write_it(images: ImageApi, url: str) -> None:
    assert set("+/") & set(PNG64), "the alphabets would be the same"
    [part] = images.messages(body(url))[0].images()
    assert images.picture(part).tobytes() == files.corners().tobytes()


@pytest.mark.parametrize("called", ["png", "jpeg", "webp", "gif", "jpg"])
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif"])
def test_a_picture_is_what_it_is_whatever_it_is_called(
    images: ImageApi, kind: str, called: str
) -> None:
    assert images.kept(files.saved(files.corners(), kind.upper()), called).size == (48, 32)


@pytest.mark.parametrize("size", [(4, 4), (300, 300)], ids=["short", "long"])
@pytest.mark.parametrize("path", ["/api/engine/chat", "/v1/chat/completions"])
def test_a_url_may_stand_by_itself(images: ImageApi, path: str, size: tuple[int, int]) -> None:
    picture = files.noise(size)
    part = {"type": "image_url", "image_url": files.url(files.saved(picture))}
    asked = {
        "messages": [{"role": "user", "content": [part]}],
        "model" if "v1" in path else "model_id": "model-1",
    }
    assert images.client.post(path, json=asked).status_code == 200
    [kept] = images.worker.seen[-1].messages[0].images()  # type: ignore[union-attr]
    assert images.picture(kept).tobytes() == picture.tobytes()


def test_the_limit_of_20_mb_is_not_reached_by_line_breaks(images: ImageApi) -> None:
    payload = base64.encodebytes(files.saved(files.corners()).ljust(TOO_LARGE - 1, b"\0")).decode()
    assert len(payload) // 4 * 3 > TOO_LARGE
    [part] = images.messages(body(f"data:image/png;base64,{payload}"))[0].images()
    assert images.picture(part).size == (48, 32)


def test_the_same_picture_is_stored_once_whatever_file_it_came_in(images: ImageApi) -> None:
    picture = files.corners(10, 10)
    urls = [files.url(files.saved(picture, kind.upper(), **more), kind) for kind, more in
            [("png", {}), ("png", {"compress_level": 1}), ("webp", {"lossless": True})]]  # fmt: skip
    before = images.redis.hlen(keys.IMAGES)
    [kept] = images.messages(body(*urls, urls[0]))
    assert len({part.sha256 for part in kept.images()}) == 1
    assert len(kept.images()) == 4
    assert images.redis.hlen(keys.IMAGES) == before + 1


def test_images_keep_their_places_among_the_texts(images: ImageApi) -> None:
    red, blue = (
        files.url(files.saved(Image.new("RGB", (3, 3), colour))) for colour in ("red", "blue")
    )
    parts = [{"type": "image_url", "image_url": {"url": red}}, {"type": "text", "text": "and"},
             {"type": "image_url", "image_url": {"url": blue}}]  # fmt: skip
    [kept] = images.messages(chat_body(messages=[{"role": "user", "content": parts}]))
    first, text, last = kept.content
    assert text == TextPart(text="and")
    assert [images.picture(part).getpixel((1, 1)) for part in (first, last)] == [
        (255, 0, 0),
        (0, 0, 255),
    ]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_a_photograph_is_turned_upright(images: ImageApi, orientation: int, kind: str) -> None:
    # How a camera stores an upright picture that it saw under each orientation: the inverse of what
    # must be done.
    stored = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    upright = files.corners(64, 32)
    turned = upright if stored is None else upright.transpose(Image.Transpose(stored))
    exif = Image.Exif()
    exif[0x0112] = orientation
    more: dict[str, Any] = {"lossless": True} if kind == "webp" else {"quality": 95}
    image = images.kept(files.saved(turned, kind.upper(), exif=exif, **more), kind)
    assert image.size == (64, 32)
    for place in ((8, 8), (56, 8), (8, 24), (56, 24)):
        assert near(image.getpixel(place), upright.getpixel(place), by=12)


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"x"],
)
def test_broken_exif_turns_nothing(images: ImageApi, exif: bytes) -> None:
    assert images.kept(files.saved(files.corners(), "JPEG", exif=exif), "jpeg").size == (48, 32)


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_the_first_frame_of_an_animation_counts(images: ImageApi, kind: str) -> None:
    image = images.kept(files.frames(kind.upper(), "red", "lime", "blue"), kind)
    assert near(image.getpixel((4, 4)), (255, 0, 0))


def test_thousands_of_frames_cost_no_more_than_the_first(images: ImageApi) -> None:
    data = files.frame_bomb()
    before = computed_s()
    assert near(images.kept(data, "gif").getpixel((4, 4)), (255, 0, 0))
    assert computed_s() - before < 2


def _palette() -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    return files.saved(image, "PNG", transparency=bytes([255, 0]))


def _pixels(mode: str, *pixels: Any) -> Image.Image:
    image = Image.new(mode, (len(pixels), 1))
    image.putdata(pixels)
    return image


MODES: list[tuple[str, bytes, str, list[tuple[int, int, int]]]] = [
    ("16-bit grey", files.png(2, 1, 16, files.GREY, b"\0\x40\x00\xff\xff"), "png", [(64,) * 3, (255,) * 3]),
    ("16-bit colour", files.png(1, 1, 16, files.COLOUR, b"\0\x00\x00\x80\x00\xff\xff"), "png", [(0, 128, 255)]),
    ("16-bit grey, alpha", files.png(1, 1, 16, files.GREY_ALPHA, b"\0\0\0\x80\0"), "png", [(127,) * 3]),
    ("1-bit", files.saved(_pixels("1", 0, 255)), "png", [(0,) * 3, (255,) * 3]),
    ("grey", files.saved(_pixels("L", 7, 99)), "png", [(7,) * 3, (99,) * 3]),
    ("grey, alpha", files.saved(_pixels("LA", (0, 255), (0, 0))), "png", [(0,) * 3, (255,) * 3]),
    ("alpha", files.saved(_pixels("RGBA", (255, 0, 0, 128), (9, 9, 9, 0))), "png", [(255, 127, 127), (255,) * 3]),
    ("transparent colour", files.saved(_pixels("RGB", (1, 2, 3), (9, 9, 9)), transparency=(1, 2, 3)), "png",
     [(255,) * 3, (9,) * 3]),
    ("palette with transparency", _palette(), "png", [(255, 0, 0), (255,) * 3]),
    ("CMYK", files.saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), "jpeg", [(255, 0, 0)]),
    ("grey JPEG", files.saved(Image.new("L", (8, 8), 99), "JPEG"), "jpeg", [(99,) * 3]),
    ("transparent GIF", files.saved(_pixels("P", 0, 1), "GIF", transparency=0), "gif", [(255,) * 3]),
    ("transparent WebP", files.saved(_pixels("RGBA", (0, 0, 0, 0)), "WEBP", lossless=True), "webp", [(255,) * 3]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "kind", "wanted"), [row[1:] for row in MODES], ids=[row[0] for row in MODES]
)
def test_every_mode_becomes_rgb_on_white(
    images: ImageApi, data: bytes, kind: str, wanted: list[tuple[int, int, int]]
) -> None:
    image = images.kept(data, kind)
    assert all(near(image.getpixel((x, 0)), pixel) for x, pixel in enumerate(wanted))


def test_metadata_is_left_behind(images: ImageApi) -> None:
    exif = Image.Exif()
    exif[0x010E] = exif[0x8298] = "canary"
    photograph = files.saved(
        files.corners(), "JPEG", exif=exif, comment=b"canary", icc_profile=b"canary" * 100
    )
    commented = files.png(
        1,
        1,
        8,
        files.COLOUR,
        bytes(4),
        *(files.chunk(kind, b"canary\0canary") for kind in (b"tEXt", b"eXIf", b"prVt")),
    )
    for data, kind in (
        (photograph, "jpeg"),
        (commented, "png"),
        (commented + b"canary" * 9, "png"),
    ):
        [part] = images.messages(body(files.url(data, kind)))[0].images()
        images.picture(part)
        assert b"canary" not in images.redis.get(keys.image(part.sha256))


@pytest.mark.parametrize(
    "tail", [b"PK\x03\x04zip", b"<script>alert(1)</script>", b"%PDF-1.7", files.plain("JPEG")]
)
def test_of_a_file_that_is_two_only_the_picture_is_kept(images: ImageApi, tail: bytes) -> None:
    [part] = images.messages(body(files.url(files.saved(files.corners()) + tail)))[0].images()
    images.picture(part)
    assert tail not in images.redis.get(keys.image(part.sha256))


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (200, 1), (1, 200), (2000, 10)])
def test_small_and_narrow_pictures_are_taken_as_they_are(
    images: ImageApi, size: tuple[int, int]
) -> None:
    assert images.kept(files.plain(size=size)).size == size


@pytest.mark.parametrize("size", [(4000, 2500), (40_000, 200), (200, 40_000)])
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_large_picture_is_scaled_down(images: ImageApi, size: tuple[int, int], kind: str) -> None:
    image = images.kept(files.plain(kind.upper(), size=size), kind)
    assert 0.95 * STORED_PIXELS < image.width * image.height < 1.05 * STORED_PIXELS
    assert max(image.size) <= 200 * min(image.size)
    assert image.width / image.height == pytest.approx(size[0] / size[1], rel=0.01)
