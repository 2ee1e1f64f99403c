"""Pictures that a processor cuts into tiles: what its prompts say of them is made complete."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np


def add_overviews(processor: Any) -> None:
    """Have Llama 4's processor make all that its prompts say of a picture in several tiles.

    Behind the tiles they have tokens for the whole picture in one tile. mlx_vlm's processor makes
    no such tile, and its model then reads features from beyond the end of an array.
    """
    if type(processor).__name__ != "Llama4Processor":
        return
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
