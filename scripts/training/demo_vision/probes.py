"""Small extra heads that exist only in training: they read, at every picture token, what its cell shows.

Left to the answers alone, a small network needs many hundred steps before it looks at outlines, places and counts at
all. The probes tell it from the first step which shape and colour a cell holds, whether a thing's centre lies in it,
the outline of what it holds and (where one thing is alone) its place and size.
"""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from .arithmetic import cross_entropy
from .pictures.drawing import silhouette
from .pictures.scenes import COLOURS, PLACES, SHAPES, Scene

# Answers of each probe; the first one of each is "nothing here".
PROBES = {
    "shape": 1 + len(SHAPES),
    "colour": 1 + len(COLOURS),
    "centre": 2,
    "place": 1 + len(PLACES),
    "size": 3,
}
NO_LABEL = -1
MASK_SIDE = 7
_OVERSAMPLED = 4
_LEAST_COVER = 0.15
_MASK_WEIGHT = 20.0


def cell_labels(scene: Scene, grid: tuple[int, int]) -> NDArray[np.int32]:
    """Give the right answers of the probes at each cell: (cells, probes)."""
    rows, columns = grid
    labels = np.zeros((rows, columns, len(PROBES)), np.int32)
    most = np.zeros((rows, columns))
    for thing in scene.things:
        half_width, half_height = scene.reach(thing)
        cover = np.outer(_cover(thing.y, half_height, rows), _cover(thing.x, half_width, columns))
        here = (cover > np.maximum(most, _LEAST_COVER)) & (cover > most)
        most = np.maximum(most, cover)
        centre = min(rows - 1, int(thing.y * rows)), min(columns - 1, int(thing.x * columns))
        here[centre] = True
        labels[here, 0] = 1 + SHAPES.index(thing.shape)
        labels[here, 1] = 1 + COLOURS.index(thing.colour)
        labels[(*centre, 2)] = 1
        if thing.place:
            labels[here, 3] = 1 + PLACES.index(thing.place)
        if thing.size:
            labels[here, 4] = 1 if thing.size == "small" else 2
    if scene.layout == "several":
        labels[..., 3] = NO_LABEL
    if scene.layout != "one":
        labels[..., 4] = NO_LABEL
    return labels.reshape(rows * columns, len(PROBES))


def _cover(centre: float, half: float, cells: int) -> NDArray[np.float64]:
    """Give the share of each of a line of cells that a thing covers along one axis."""
    starts = np.arange(cells) / cells
    overlap = np.minimum(centre + half, starts + 1 / cells) - np.maximum(centre - half, starts)
    shares: NDArray[np.float64] = np.clip(overlap, 0, None) * cells
    return shares


def cell_masks(scene: Scene, grid: tuple[int, int]) -> NDArray[np.float32]:
    """Give how much of each small square of each cell is covered by things: (cells, squares)."""
    rows, columns = grid
    drawn = silhouette(scene, columns * MASK_SIDE * _OVERSAMPLED, rows * MASK_SIDE * _OVERSAMPLED)
    squares = np.asarray(drawn.reduce(_OVERSAMPLED), np.float32) / 255
    split = squares.reshape(rows, MASK_SIDE, columns, MASK_SIDE).transpose(0, 2, 1, 3)
    return split.reshape(rows * columns, MASK_SIDE**2).astype(np.float32)


class Probes(nn.Module):  # type: ignore[misc]
    """Linear readers: of kinds and of masks at the tower's output, of kinds before the text model's last layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        kinds = sum(PROBES.values())
        self.seen, self.masks, self.early = (
            nn.Linear(width, kinds),
            nn.Linear(width, MASK_SIDE**2),
            nn.Linear(width, kinds),
        )

    def look(self, seen: mx.array, labels: mx.array, masks: mx.array) -> mx.array:
        """Give the loss at the tower's output. Places are left out: to the tower, all empty cells
        are alike."""
        outline = mx.square(self.masks(seen) - masks).mean()
        return _kinds_loss(self.seen(seen), labels, skipped="place") + _MASK_WEIGHT * outline

    def think(self, early: mx.array, labels: mx.array) -> mx.array:
        """Give the loss inside the text model."""
        return _kinds_loss(self.early(early), labels)


def _kinds_loss(answers: mx.array, labels: mx.array, skipped: str = "") -> mx.array:
    """Give the summed loss of all kinds; `answers` are (cells, all kinds' values), `labels` (cells, kinds)."""
    total, start = mx.array(0.0), 0
    for i, (kind, count) in enumerate(PROBES.items()):
        if kind != skipped:
            known = (labels[:, i] != NO_LABEL).astype(mx.float32)
            losses = cross_entropy(answers[:, start : start + count], mx.maximum(labels[:, i], 0))
            total = total + (losses * known).sum() / mx.maximum(known.sum(), 1)
        start += count
    return total
