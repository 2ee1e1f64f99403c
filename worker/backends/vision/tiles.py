"""Pictures that a processor cuts into tiles: what its prompts say of them is made complete."""

from __future__ import annotations

import copy
from typing import Any

import mlx.core as mx
import numpy as np


def complete_tiles(processor: Any) -> None:
    """Have a processor make all that its model reads of pictures in tiles."""
    name = type(processor).__name__
    if name == "Llama4Processor":
        _add_overviews(processor)
    elif name == "DeepseekVLV2Processor":
        _end_crops(processor)


def _end_crops(processor: Any) -> None:
    """Have DeepSeek-VL2's processor end its list of pictures.

    The model looks for a picture's number of tiles as often as there are tiles, up to one of zero.
    There is none in mlx_vlm's list, and it then reads from beyond the end of an array.
    """
    batchify = processor.batchify

    def ended(*args: Any, **options: Any) -> dict[str, Any]:
        made: dict[str, Any] = batchify(*args, **options)
        crops = made["images_spatial_crop"]
        rest = made["images"].shape[1] - crops.shape[1]
        return {**made, "images_spatial_crop": mx.pad(crops, [(0, 0), (0, rest), (0, 0)])}

    processor.batchify = ended


def _add_overviews(processor: Any) -> None:
    """Have Llama 4's processor make all that its prompts say of a picture in several tiles.

    Behind the tiles they have tokens for the whole picture in one tile. mlx_vlm's processor makes
    no such tile, and its model then reads features from beyond the end of an array.
    """
    tiler = processor.image_processor
    cut_up, whole = tiler.preprocess, copy.copy(tiler)
    whole.max_patches = 1

    def preprocess(images: Any, **options: Any) -> dict[str, Any]:
        """The pixels, [tiles, channels, height, width], and each picture's rows and columns."""
        tiles, ratios = [], []
        for image in images if isinstance(images, list) else [images]:
            made = cut_up([image], **options)
            tiles.append(made["pixel_values"])
            ratios += made["aspect_ratios"]
            if len(made["pixel_values"]) > 1:
                tiles.append(whole.preprocess([image], **options)["pixel_values"])
        return {"pixel_values": np.concatenate(tiles), "aspect_ratios": ratios}

    tiler.preprocess = preprocess
