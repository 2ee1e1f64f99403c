"""Scenes of all aspects."""

from random import Random

from scripts.training.demo_vision.pictures.drawing import draw_size
from scripts.training.demo_vision.pictures.scenes import Scene, draw_scene


def scenes(count: int, seed: int = 1) -> list[Scene]:
    """Draw scenes of all aspects."""
    rng = Random(seed)
    return [draw_scene(rng, *draw_size(rng)) for _ in range(count)]
