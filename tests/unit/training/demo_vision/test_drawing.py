"""The demo vision model's pictures: seeded, and drawn as their scenes say."""

import subprocess
import sys
from dataclasses import replace
from random import Random

import pytest

from scripts.training.demo_vision.conversations.cases import build_cases
from scripts.training.demo_vision.pictures.drawing import (
    ASPECTS,
    decode,
    draw_picture,
    draw_size,
    encode,
    render,
    silhouette,
)
from scripts.training.demo_vision.pictures.scenes import COLOURS, LARGE, PLACES, SMALL, Thing
from tests.support.paths import ROOT
from tests.unit.training.demo_vision.drawn_scenes import scenes


def test_needs_no_mlx() -> None:
    """Pictures, questions and checks import neither mlx nor numpy."""
    code = "import sys, scripts.training.demo_vision.conversations.cases; sys.exit('mlx' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_one_seed_gives_one_set_of_pictures() -> None:
    """Equal seeds give equal pixels, files and questions; other seeds give others."""

    def draw(seed: int) -> list[bytes]:
        rng = Random(seed)
        return [encode(draw_picture(rng, draw_size(rng))[0], "JPEG") for _ in range(12)]

    assert draw(4) == draw(4)
    assert draw(4) != draw(5)

    def questions(seed: int) -> list[tuple[str, str]]:
        return [(case.messages[-1].text, case.answer) for case in build_cases(seed, 8)]

    assert questions(4) == questions(4)
    assert questions(4) != questions(5)


def test_things_lie_inside_and_apart() -> None:
    """No thing touches the edge or another thing's box."""
    for scene in scenes(1500):
        boxes = []
        for thing in scene.things:
            across, down = scene.reach(thing)
            boxes.append((thing.x - across, thing.y - down, thing.x + across, thing.y + down))
            assert min(boxes[-1]) > 0
            assert max(boxes[-1]) < 1
        for i, one in enumerate(boxes):
            for other in boxes[:i]:
                assert (
                    one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
                )


def test_places_and_sizes_are_beyond_doubt() -> None:
    """A thing's named place is where its centre lies, away from the borders; no size is between
    small and large."""
    for scene in scenes(1500):
        for thing in scene.things:
            if not thing.place:
                assert scene.layout == "several"
                continue
            for word, low, high in (("left", 0.0, 0.36), ("right", 0.64, 1.0)):
                assert (word in thing.place) == (low < thing.x < high)
            for word, low, high in (("top", 0.0, 0.36), ("bottom", 0.64, 1.0)):
                assert (word in thing.place) == (low < thing.y < high)
            if scene.layout == "one":
                assert thing.size in ("small", "large")
    assert SMALL[1] < LARGE[0]


def test_the_picture_shows_the_scene() -> None:
    """The pixel at each thing's centre has its colour, and the colours at the thing's corners show
    its shape."""
    rng = Random(3)
    for scene in scenes(200, seed=3):
        image = render(rng, replace(scene, width=4 * scene.width, height=4 * scene.height))
        background = image.getpixel((0, 0))
        for thing in scene.things:
            across, down = scene.reach(thing)

            def at(right: float, below: float) -> object:
                x, y = thing.x + right * across, thing.y + below * down  # noqa: B023
                return image.getpixel((int(x * image.width), int(y * image.height)))  # noqa: B023

            filled = at(0, 0)
            assert filled != background
            assert (at(-0.9, -0.9) == filled) == (thing.shape == "square")
            assert (at(-0.9, 0.93) == filled) == (thing.shape in ("square", "triangle"))


def test_silhouettes_show_where_things_are() -> None:
    """White at the centres of things, black at the picture's corners, also when the picture is
    resized."""
    for scene in scenes(100, seed=5):
        drawn = silhouette(scene, 140, 112)
        assert {drawn.getpixel(corner) for corner in ((0, 0), (139, 0), (0, 111), (139, 111))} == {
            0
        }
        assert all(
            drawn.getpixel((int(thing.x * 140), int(thing.y * 112))) == 255
            for thing in scene.things
        )


@pytest.mark.parametrize("aspect", list(ASPECTS))
def test_aspects(aspect: str) -> None:
    """Sizes have the aspect they are listed under."""
    wide, high = (int(side) for side in aspect.split(":"))
    for width, height in ASPECTS[aspect][1]:
        assert abs(width * high - height * wide) <= max(wide, high)


def test_files_keep_the_picture() -> None:
    """PNG is exact; JPEG is close."""
    rng = Random(6)
    for _ in range(20):
        image, _ = draw_picture(rng, draw_size(rng))
        assert decode(encode(image, "PNG")).tobytes() == image.tobytes()
        again = decode(encode(image, "JPEG"))
        corner = zip(again.getpixel((0, 0)), image.getpixel((0, 0)), strict=True)
        assert max(abs(a - b) for a, b in corner) < 12


def test_tables_name_each_thing_once() -> None:
    """No colour is a background too, and no name is part of another, or the checks could not
    distinguish them."""
    assert len(set(COLOURS)) == len(COLOURS)
    assert len(set(PLACES)) == 9
    assert Thing("circle", "red", 0.5, 0.5, 0.1).size == "small"
    assert Thing("circle", "red", 0.5, 0.5, 0.16).size == ""
