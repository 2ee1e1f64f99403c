"""Draws scenes with Pillow, at the sizes and in the file formats that pictures come in."""

import io
from dataclasses import replace
from random import Random

from PIL import Image, ImageDraw

from .scenes import LAYOUT_SHARES, Scene, Thing, draw_scene

Colour = tuple[int, int, int]

_TINTS: dict[str, tuple[Colour, ...]] = {
    "red": ((255, 0, 0), (220, 20, 40), (200, 10, 10)),
    "orange": ((255, 165, 0), (255, 140, 0), (245, 130, 25)),
    "yellow": ((255, 255, 0), (250, 230, 30), (240, 225, 60)),
    "green": ((0, 128, 0), (0, 200, 0), (40, 160, 70)),
    "blue": ((0, 0, 255), (30, 80, 220), (0, 70, 190)),
    "purple": ((128, 0, 128), (145, 40, 190), (100, 20, 150)),
    "pink": ((255, 192, 203), (255, 150, 190), (255, 105, 180)),
    "brown": ((139, 69, 19), (120, 70, 30), (101, 55, 20)),
}
_BACKGROUND_TINTS: dict[str, tuple[Colour, ...]] = {
    "white": ((255, 255, 255), (250, 248, 245)),
    "grey": ((128, 128, 128), (200, 200, 200), (170, 170, 175)),
    "black": ((0, 0, 0), (15, 15, 18)),
}
_JITTER, _BACKGROUND_JITTER = 10, 4
_STRETCH = (0.92, 1.08)

# Sizes in pixels by aspect, with the share of each aspect in training. Small and large ones are there because the
# library's processor enlarges or shrinks them, which makes edges soft or hard.
ASPECTS: dict[str, tuple[float, tuple[tuple[int, int], ...]]] = {
    "1:1": (
        0.20,
        (
            (64, 64),
            (96, 96),
            (112, 112),
            (128, 128),
            (160, 160),
            (200, 200),
            (224, 224),
            (256, 256),
        ),
    ),
    "4:3": (0.13, ((120, 90), (160, 120), (200, 150), (240, 180), (320, 240))),
    "3:4": (0.10, ((90, 120), (120, 160), (150, 200), (180, 240), (240, 320))),
    "3:2": (0.10, ((150, 100), (240, 160), (300, 200), (180, 120))),
    "2:3": (0.08, ((100, 150), (160, 240), (200, 300))),
    "16:9": (0.10, ((160, 90), (240, 135), (192, 108), (320, 180))),
    "9:16": (0.08, ((90, 160), (108, 192), (180, 320))),
    "2:1": (0.07, ((160, 80), (200, 100), (280, 140))),
    "3:1": (0.08, ((240, 80), (300, 100), (180, 60))),
    "1:3": (0.06, ((80, 240), (100, 300), (60, 180))),
}


def draw_size(rng: Random, aspect: str | None = None) -> tuple[int, int]:
    """Choose a picture's width and height."""
    aspect = aspect or rng.choices(list(ASPECTS), [share for share, _ in ASPECTS.values()])[0]
    width, height = rng.choice(ASPECTS[aspect][1])
    if rng.random() < 0.4:
        return round(width * rng.uniform(*_STRETCH)), round(height * rng.uniform(*_STRETCH))
    return width, height


def draw_other_size(rng: Random, aspect: str) -> tuple[int, int]:
    """Choose a size of a known aspect that training need not know: up to four times as large."""
    width, height = rng.choice(ASPECTS[aspect][1])
    scale = rng.uniform(0.8, 4.0)
    return round(width * scale), round(height * scale)


def draw_picture(
    rng: Random, size: tuple[int, int], layouts: tuple[str, ...] = tuple(LAYOUT_SHARES)
) -> tuple[Image.Image, Scene]:
    """Make up a scene and draw it."""
    scene = draw_scene(rng, *size, layouts)
    return render(rng, scene), scene


def render(rng: Random, scene: Scene) -> Image.Image:
    """Draw a scene; the tints of its colours vary."""
    ground = _tint(rng, _BACKGROUND_TINTS[scene.background], _BACKGROUND_JITTER)
    image = Image.new("RGB", (scene.width, scene.height), ground)
    pen = ImageDraw.Draw(image)
    for thing in scene.things:
        _draw_thing(
            pen, scene, thing, _tint(rng, _TINTS[thing.colour], _JITTER), scene.reach(thing)
        )
    return image


def silhouette(scene: Scene, width: int, height: int) -> Image.Image:
    """Draw only where things are, white on black, for a picture resized to width and height."""
    image = Image.new("L", (width, height))
    pen = ImageDraw.Draw(image)
    for thing in scene.things:
        _draw_thing(pen, replace(scene, width=width, height=height), thing, 255, scene.reach(thing))
    return image


def _draw_thing(
    pen: ImageDraw.ImageDraw,
    scene: Scene,
    thing: Thing,
    fill: Colour | int,
    reach: tuple[float, float],
) -> None:
    x, y = thing.x * scene.width, thing.y * scene.height
    across, down = reach[0] * scene.width, reach[1] * scene.height
    box = (x - across, y - down, x + across, y + down)
    if thing.shape == "circle":
        pen.ellipse(box, fill=fill)
    elif thing.shape == "square":
        pen.rectangle(box, fill=fill)
    else:
        pen.polygon([(x, y - down), (x - across, y + down), (x + across, y + down)], fill=fill)


def _tint(rng: Random, tints: tuple[Colour, ...], jitter: int) -> Colour:
    red, green, blue = (
        max(0, min(255, channel + rng.randint(-jitter, jitter))) for channel in rng.choice(tints)
    )
    return red, green, blue


def encode(image: Image.Image, kind: str, quality: int = 80) -> bytes:
    """Give the bytes of a PNG or JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": quality} if kind == "JPEG" else {}))
    return buffer.getvalue()


def decode(data: bytes) -> Image.Image:
    """Read a picture back."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def worn(rng: Random, image: Image.Image) -> Image.Image:
    """Give the picture as it comes in training: often through JPEG, at any usual quality."""
    return decode(encode(image, "JPEG", rng.randint(55, 95))) if rng.random() < 0.35 else image
