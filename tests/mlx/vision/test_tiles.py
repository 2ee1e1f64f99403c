"""Pictures in several tiles: every token that stands for a piece of one has its feature, and the
list of pictures has an end."""

from __future__ import annotations

import io
from hashlib import sha256
from typing import Any

import mlx.core as mx
import mlx_vlm
import numpy as np
import pytest
from mlx_lm.utils import load_tokenizer
from PIL import Image

from tests.model_kinds.kinds import make_folder
from wire.messages import ImagePart, Message, OutputFormat, TextPart
from worker.backends.vision.prompt import VisionText
from worker.backends.vision.tiles import complete_tiles

TILE = 56


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The model, and its prompts."""
    folder = make_folder("llama4+vision", tmp_path_factory.mktemp("llama4") / "m")
    model, processor = mlx_vlm.load(str(folder))
    complete_tiles(processor)
    return model, VisionText(processor, load_tokenizer(folder), model.config)


def gradient(width: int, height: int) -> Image.Image:
    across = np.linspace(0, 255, width)[None, :, None] * np.ones((height, 1, 3))
    return Image.fromarray(across.astype(np.uint8))


def encoded(loaded: tuple[Any, Any], *pictures: Image.Image) -> Any:
    _, text = loaded
    parts, kept = [], {}
    for picture in pictures:
        png = io.BytesIO()
        picture.save(png, "PNG")
        name = sha256(png.getvalue()).hexdigest()
        kept[name] = png.getvalue()
        parts.append(ImagePart(sha256=name, width=picture.width, height=picture.height))
    message = Message(role="user", content=(*parts, TextPart(text="what?")))
    return text.encode([message], OutputFormat(), kept)


@pytest.mark.parametrize(
    ("sizes", "tiles"),
    [
        ([(TILE, TILE)], 1),
        ([(2 * TILE, TILE)], 2 + 1),
        ([(TILE, 4 * TILE)], 4 + 1),
        ([(2 * TILE, TILE), (TILE, TILE), (TILE, 3 * TILE)], 3 + 1 + 4),
    ],
)
def test_there_is_a_feature_for_each_token(
    loaded: tuple[Any, Any], sizes: list[tuple[int, int]], tiles: int
) -> None:
    model, _ = loaded
    prompt = encoded(loaded, *(gradient(*size) for size in sizes))
    pixels = prompt.arrays["pixel_values"]
    assert pixels.shape == (tiles, 3, TILE, TILE)
    features = model.get_image_features(mx.array(pixels), -1, "default")
    places = prompt.token_ids.count(model.config.image_token_index)
    assert features.reshape(-1, features.shape[-1]).shape[0] == places


def test_the_whole_picture_is_behind_its_tiles(loaded: tuple[Any, Any]) -> None:
    first, second, whole = encoded(loaded, gradient(2 * TILE, TILE)).arrays["pixel_values"]
    assert first[0, 0, -1] < 0 < second[0, 0, 0] + 0.1
    assert (whole[0, 0, 0], whole[0, 0, -1]) == pytest.approx(
        (first[0, 0, 0], second[0, 0, -1]), abs=0.1
    )


def test_the_list_of_pictures_has_room_for_as_many_as_there_are_tiles() -> None:
    class DeepseekVLV2Processor:
        def batchify(self, _samples: object) -> dict[str, mx.array]:
            return {
                "images": mx.zeros((1, 3, 3, TILE, TILE)),
                "images_spatial_crop": mx.array([[[2, 1]]]),
            }

    processor = DeepseekVLV2Processor()
    complete_tiles(processor)
    made = processor.batchify([])
    assert made["images_spatial_crop"].tolist() == [[[2, 1], [0, 0], [0, 0]]]
