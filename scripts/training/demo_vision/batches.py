"""Batches of freshly drawn conversations: no picture is seen twice, and only the model's turns are learned."""

from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from transformers import PreTrainedTokenizerFast

from .conversations.dialogues import Dialogue, draw_dialogue
from .folder import CELL, LEAST_PIXELS, MERGE, MOST_PIXELS, PATCH
from .pictures.drawing import ASPECTS, draw_size, render, worn
from .pictures.scenes import Scene, draw_scene
from .probes import cell_labels, cell_masks
from .tokenizer import END, PICTURE, PICTURE_END, PICTURE_START, START

Grid = tuple[int, int]
# Conversations are cut at one of these lengths, so that nothing is padded. Short ones, of one question or two, teach
# most for their cost: what comes later can be read off the answers before. A few long ones teach to look far back.
_ROW_LENGTHS, _ROW_SHARES = (57, 97, 193), (0.5, 0.43, 0.07)
_USUAL_LENGTH = 97


@dataclass(frozen=True)
class Row:
    """A conversation as tokens, with the mask of those to learn."""

    tokens: list[int]
    learned: list[bool]


@dataclass(frozen=True)
class Batch:
    """Token rows and the pictures they show, all cut into the same grid of cells (rows, columns).

    `patches` is (pictures, patches, values), `labels` (all cells, kinds) and `masks` (all cells, squares). `positions`
    are the flat places whose next token is learned, `targets` those tokens; `cells` are the flat places of the picture
    tokens, in the order of the pictures' cells; `rotary` is (3, rows, length): each token's place in time, height and
    width.
    """

    tokens: NDArray[np.int32]
    rotary: NDArray[np.int32]
    patches: NDArray[np.float32]
    labels: NDArray[np.int32]
    masks: NDArray[np.float32]
    cells: NDArray[np.int32]
    positions: NDArray[np.int32]
    targets: NDArray[np.int32]
    grid: Grid


@dataclass
class _Bin:
    rows: list[Row]
    scenes: list[Scene]


class BatchSource:
    """An endless, seeded source of batches of `pictures` pictures or a few more."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int, pictures: int) -> None:
        self._rng = Random(seed)
        self._writer = RowWriter(tokenizer)
        self._pictures = pictures
        self._bins: dict[tuple[Grid, int], _Bin] = {}

    def next(self) -> Batch:
        """Draw until one kind of grid has enough pictures for a batch."""
        while True:
            size = draw_size(self._rng)
            grid = grid_of(*size)
            length = self._rng.choices(_ROW_LENGTHS, _ROW_SHARES)[0]
            found = self._bins.setdefault((grid, length), _Bin([], []))
            self._draw_into(found, size, grid, length)
            # Long rows come in smaller batches, so that a step costs about the same.
            if len(found.scenes) * length >= self._pictures * _USUAL_LENGTH:
                del self._bins[grid, length]
                return self._pack(found, grid)

    def _draw_into(self, found: _Bin, size: tuple[int, int], grid: Grid, length: int) -> None:
        rng, cells = self._rng, grid[0] * grid[1]

        def has_room(so_far: Dialogue) -> bool:
            return len(self._writer.write(so_far, cells).tokens) < length

        dialogue = draw_dialogue(rng, lambda: draw_scene(rng, *size), has_room)
        row = self._writer.write(dialogue, cells)
        row = Row(row.tokens[:length], row.learned[:length])
        if row.tokens[:-1].count(self._writer.picture) < cells * len(dialogue.scenes):
            return  # rare: long messages pushed a later picture over the end
        found.rows.append(row)
        found.scenes.extend(dialogue.scenes)

    def _pack(self, found: _Bin, grid: Grid) -> Batch:
        tokens = np.array([row.tokens for row in found.rows], np.int32)
        learned = np.array([row.learned for row in found.rows])
        inputs = tokens[:, :-1]
        positions = np.flatnonzero(learned[:, 1:]).astype(np.int32)
        return Batch(
            tokens=inputs,
            rotary=np.stack(
                [rotary_places(row, self._writer.picture, grid) for row in inputs], axis=1
            ),
            **draw_inputs(self._rng, found.scenes, grid),
            cells=np.flatnonzero(inputs == self._writer.picture).astype(np.int32),
            positions=positions,
            targets=tokens[:, 1:].reshape(-1)[positions],
            grid=grid,
        )


@dataclass(frozen=True)
class Pictures:
    """Pictures of one grid without any text; the fields are those of a batch."""

    patches: NDArray[np.float32]
    labels: NDArray[np.int32]
    masks: NDArray[np.float32]
    grid: Grid


def draw_pictures(rng: Random, count: int) -> Pictures:
    """Draw pictures of one size."""
    size = draw_size(rng)
    grid = grid_of(*size)
    return Pictures(
        **draw_inputs(rng, [draw_scene(rng, *size) for _ in range(count)], grid), grid=grid
    )


def draw_inputs(rng: Random, scenes: list[Scene], grid: Grid) -> dict[str, NDArray[Any]]:
    """Draw scenes; give the pictures' patches and what the probes shall read from them."""
    return {
        "patches": np.stack([cut_patches(worn(rng, render(rng, scene)), grid) for scene in scenes]),
        "labels": np.concatenate([cell_labels(scene, grid) for scene in scenes]),
        "masks": np.concatenate([cell_masks(scene, grid) for scene in scenes]),
    }


class RowWriter:
    """Joins a conversation as the chat template and the library's processor do."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        core = tokenizer.backend_tokenizer
        self.picture: int = tokenizer.convert_tokens_to_ids(PICTURE)
        # The same few thousand texts come again and again.
        self._encode = lru_cache(50_000)(
            lambda text: tuple(core.encode(text, add_special_tokens=False).ids)
        )

    def write(self, dialogue: Dialogue, cells: int) -> Row:
        """Give the tokens, with `cells` of them for each picture; the model's words and its end mark are learned."""
        row = Row([], [])
        if dialogue.system:
            self._add(row, f"{START}system\n{dialogue.system}{END}\n")
        for turn in dialogue.turns:
            self._add(row, f"{START}user\n")
            for _ in turn.scenes:
                self._add(row, PICTURE_START)
                row.tokens.extend([self.picture] * cells)
                row.learned.extend([False] * cells)
                self._add(row, PICTURE_END)
            self._add(row, f"{turn.text}{END}\n{START}assistant\n")
            self._add(row, f"{turn.answer}{END}", learned=True)
            self._add(row, "\n")
        return row

    def _add(self, row: Row, text: str, learned: bool = False) -> None:
        ids = self._encode(text)
        row.tokens.extend(ids)
        row.learned.extend([learned] * len(ids))


def grid_of(width: int, height: int) -> Grid:
    """Give the rows and columns of cells that the library's processor cuts a picture of this size into."""
    rows, columns = round(height / CELL), round(width / CELL)
    area = rows * columns * CELL**2
    if area > MOST_PIXELS:
        scale = (MOST_PIXELS / (width * height)) ** 0.5
        rows, columns = (max(1, int(side * scale / CELL)) for side in (height, width))
    elif area < LEAST_PIXELS:
        scale = (LEAST_PIXELS / (width * height)) ** 0.5
        rows, columns = (-int(-side * scale // CELL) for side in (height, width))
    return rows, columns


def cut_patches(image: Image.Image, grid: Grid) -> NDArray[np.float32]:
    """Give (patches, values) as the library's processor does, but each picture's frame once instead of twice."""
    rows, columns = grid
    sized = image.resize((columns * CELL, rows * CELL), Image.Resampling.BICUBIC)
    values = np.asarray(sized, np.float32) / 127.5 - 1
    # From pixels (height, width, channel) to cells, the four patches of each, and the channels' pixels of each patch.
    split = values.reshape(rows, MERGE, PATCH, columns, MERGE, PATCH, 3)
    return split.transpose(0, 3, 1, 4, 6, 2, 5).reshape(rows * columns * MERGE**2, -1)


def check_pictures(processor: Any) -> None:
    """Raise if the library's processor cuts pictures into another grid or into other patches."""
    rng = Random(0)
    for size in [size for _, sizes in ASPECTS.values() for size in sizes] + [
        (1280, 720),
        (40, 40),
        (97, 231),
    ]:
        image, grid = render(rng, draw_scene(rng, *size)), grid_of(*size)
        made = processor.image_processor(images=[image])
        frames = np.asarray(made["pixel_values"]).reshape(-1, 3, 2, PATCH * PATCH)
        same_grid = np.asarray(made["image_grid_thw"]).tolist() == [
            [1, MERGE * grid[0], MERGE * grid[1]]
        ]
        if (
            not same_grid
            or np.abs(frames[:, :, 0].reshape(len(frames), -1) - cut_patches(image, grid)).max()
            > 1e-5
        ):
            raise RuntimeError(f"the library's processor treats a picture of {size} in another way")


def rotary_places(tokens: NDArray[np.int32], picture: int, grid: Grid) -> NDArray[np.int32]:
    """Give each token's places in time, height and width (3, length), as the library's network numbers them.

    Text counts on in all three; the cells of a picture share the time, and the text after it goes on behind the
    picture's longer side.
    """
    rows, columns = grid
    places = np.zeros((3, len(tokens)), np.int32)
    height, width = np.divmod(np.arange(rows * columns), columns)
    following, i = 0, 0
    while i < len(tokens):
        if tokens[i] == picture:
            part = slice(i, i + rows * columns)
            places[:, part] = following + np.stack([np.zeros_like(height), height, width])
            following += max(rows, columns)
            i += rows * columns
        else:
            places[:, i] = following
            following += 1
            i += 1
    return places
