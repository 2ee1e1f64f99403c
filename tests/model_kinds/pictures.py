"""Pictures of two sizes, and messages that show them."""

from __future__ import annotations

import functools
import hashlib
import io
import random

from PIL import Image, ImageDraw

from wire.messages import ImagePart, Message, TextPart

SIZES = ((112, 84), (60, 120))


@functools.cache
def picture(seed: int) -> Image.Image:
    """A picture; even seeds are wide, odd ones tall."""
    rng, size = random.Random(seed), SIZES[seed % 2]
    image = Image.new("RGB", size, tuple(rng.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(3):
        xs, ys = (sorted(rng.randrange(side) for _ in range(2)) for side in size)
        colour = tuple(rng.randrange(256) for _ in range(3))
        draw.rectangle([xs[0], ys[0], xs[1], ys[1]], fill=colour)
    return image


@functools.cache
def png(seed: int) -> bytes:
    kept = io.BytesIO()
    picture(seed).save(kept, "PNG")
    return kept.getvalue()


def name(seed: int) -> str:
    return hashlib.sha256(png(seed)).hexdigest()


IMAGES = {name(seed): png(seed) for seed in range(12)}
BY_NAME = {name(seed): picture(seed) for seed in range(12)}


def shown(text: str, *seeds: int) -> Message:
    """A user's message with pictures before its text."""
    parts = [
        ImagePart(sha256=name(seed), width=picture(seed).width, height=picture(seed).height)
        for seed in seeds
    ]
    return Message(role="user", content=(*parts, TextPart(text=text)))
