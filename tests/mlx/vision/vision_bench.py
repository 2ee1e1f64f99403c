"""Runs chats with pictures on one vision backend."""

from __future__ import annotations

import hashlib
import io
import random
from typing import Any, Literal

from PIL import Image, ImageDraw

from tests.mlx.conftest import Bench
from wire.messages import ImagePart, Message, TextPart
from wire.model_registry import ModelRecord
from worker.sequence import Sequence

GREEDY = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 0.0}
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


class VisionBench(Bench):
    """A Bench for a vision model; its chats may show pictures."""

    def __init__(
        self, record: ModelRecord, kv: Literal[4, 8] | None = None, chunk: int = 32
    ) -> None:
        super().__init__(record, kv, chunk)
        self.images: dict[str, bytes] = {}

    def shown(self, text: str, *seeds: int) -> Message:
        """A user's message with pictures before its text."""
        parts: list[Any] = []
        for seed in seeds:
            name = hashlib.sha256(png(seed)).hexdigest()
            self.images[name] = png(seed)
            parts.append(ImagePart(sha256=name, width=112, height=84))
        return Message(role="user", content=(*parts, TextPart(text=text)))

    def chat(self, text: str | list[Message], **settings: Any) -> Sequence:
        chat = super().chat(text, **settings)
        chat.images = self.images
        return chat


def picture(seed: int) -> Image.Image:
    rng = random.Random(seed)
    image = Image.new("RGB", (112, 84), tuple(rng.randrange(256) for _ in range(3)))
    box = sorted(rng.randrange(112) for _ in range(2)), sorted(rng.randrange(84) for _ in range(2))
    ImageDraw.Draw(image).rectangle(
        [box[0][0], box[1][0], box[0][1], box[1][1]], fill=(seed * 40 % 256, 200, 10)
    )
    return image


def png(seed: int) -> bytes:
    kept = io.BytesIO()
    picture(seed).save(kept, "PNG")
    return kept.getvalue()
