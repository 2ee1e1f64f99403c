"""Models are opened on one thread and run on another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import mlx.nn as nn

from worker.backends.loading import evaluate


class Frequencies:
    """No module, as in mlx_vlm's Pixtral."""

    def __init__(self) -> None:
        self.by_pair = [mx.arange(4) * 2.0]


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rotation = Frequencies()


def test_arrays_in_plain_objects_of_a_model_are_computed_where_it_is_loaded() -> None:
    def loaded() -> Tower:
        tower = Tower()
        evaluate(tower, lambda _: None)
        return tower

    with ThreadPoolExecutor(1) as loads:
        tower = loads.submit(loaded).result()
    assert tower.rotation.by_pair[0].tolist() == [0.0, 2.0, 4.0, 6.0]
