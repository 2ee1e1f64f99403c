"""What a picture shows: random scenes of plain shapes, and the words for what is in them."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

SHAPES = ("circle", "square", "triangle")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
BACKGROUNDS = ("white", "grey", "black")
NUMBERS = ("no", "one", "two", "three", "four")
PLACES = (
    "top left",
    "top",
    "top right",
    "left",
    "middle",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
)
MOST_THINGS = 3

# Centres as shares of the picture's width or height. The gaps between them keep every place beyond doubt.
_LOW, _CENTRE, _HIGH = (0.16, 0.31), (0.44, 0.56), (0.69, 0.84)
# Half the width of a thing as a share of the picture's shorter side, with a gap between small and large.
SMALL, LARGE = (0.07, 0.13), (0.19, 0.28)
_LARGE_IN_THE_MIDDLE = (0.19, 0.42)
_ONE_OF_TWO, _ONE_OF_SEVERAL = (0.10, 0.17), (0.07, 0.12)
_EDGE = 0.02
_APART = 0.05
# Pairs are few: which colour belongs to which shape is hard for a network of this size to learn, and is beyond what
# the model has to know.
LAYOUT_SHARES = {"one": 0.5, "pair": 0.05, "several": 0.45}
IN_SCOPE, TRIED = ("one", "several"), ("pair",)
_SAME_SHAPE, _SAME_COLOUR = 0.2, 0.1  # of the pairs
_OPPOSITE = (
    ("left", "right"),
    ("top", "bottom"),
    ("top left", "bottom right"),
    ("bottom left", "top right"),
)


@dataclass(frozen=True)
class Thing:
    """One shape: its centre as shares of width and height, its half width as a share of the shorter side."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float
    place: str = ""

    @property
    def size(self) -> str:
        """The word for its size; empty if it is neither clearly small nor clearly large."""
        return "small" if self.radius <= SMALL[1] else "large" if self.radius >= LARGE[0] else ""


@dataclass(frozen=True)
class Scene:
    """A picture's size in pixels, its background and its things.

    `layout` is "one" (one thing at a place), "pair" (two things that differ in shape, colour or both, at opposite
    places; the one further left comes first or, in the middle, the one further up) or "several" (two or three alike
    things anywhere).
    """

    width: int
    height: int
    background: str
    layout: str
    things: tuple[Thing, ...]

    def reach(self, thing: Thing) -> tuple[float, float]:
        """Give a thing's half width and half height as shares of the picture's."""
        shorter = min(self.width, self.height)
        return thing.radius * shorter / self.width, thing.radius * shorter / self.height


def draw_scene(
    rng: Random, width: int, height: int, layouts: tuple[str, ...] = tuple(LAYOUT_SHARES)
) -> Scene:
    """Make up a scene in one of some layouts."""
    background = rng.choice(BACKGROUNDS)
    layout = rng.choices(layouts, [LAYOUT_SHARES[layout] for layout in layouts])[0]
    if layout == "one":
        things: tuple[Thing, ...] = (_one(rng, width, height),)
    elif layout == "pair":
        things = tuple(_pair(rng))
    else:
        things = tuple(_several(rng, width, height, rng.randint(2, MOST_THINGS)))
    return Scene(width, height, background, layout, things)


def _one(rng: Random, width: int, height: int) -> Thing:
    place = rng.choice(PLACES)
    radius = rng.uniform(*rng.choice((SMALL, _LARGE_IN_THE_MIDDLE if place == "middle" else LARGE)))
    shorter = min(width, height)
    x, y = _centre(rng, place, radius * shorter / width, radius * shorter / height)
    return Thing(rng.choice(SHAPES), rng.choice(COLOURS), x, y, radius, place)


def _pair(rng: Random) -> Iterator[Thing]:
    shapes, colours = rng.sample(SHAPES, 2), rng.sample(COLOURS, 2)
    alike = rng.random()
    if alike < _SAME_SHAPE:
        shapes = [shapes[0]] * 2
    elif alike < _SAME_SHAPE + _SAME_COLOUR:
        colours = [colours[0]] * 2
    for shape, colour, place in zip(shapes, colours, rng.choice(_OPPOSITE), strict=True):
        radius = rng.uniform(*_ONE_OF_TWO)
        x, y = _centre(rng, place, radius, radius)
        yield Thing(shape, colour, x, y, radius, place)


def _several(rng: Random, width: int, height: int, count: int) -> Iterator[Thing]:
    shape, colour = rng.choice(SHAPES), rng.choice(COLOURS)
    shorter = min(width, height)
    spots: list[tuple[float, float, float]] = []
    while len(spots) < count:
        radius = rng.uniform(*_ONE_OF_SEVERAL)
        margin_x, margin_y = radius * shorter / width + _EDGE, radius * shorter / height + _EDGE
        x, y = rng.uniform(margin_x, 1 - margin_x), rng.uniform(margin_y, 1 - margin_y)
        # Bounding boxes stay apart, which leaves a background stripe between any two things.
        if all(
            max(abs(x - u) * width, abs(y - v) * height) > (radius + other + _APART) * shorter
            for u, v, other in spots
        ):
            spots.append((x, y, radius))
    for x, y, radius in spots:
        yield Thing(shape, colour, x, y, radius)


def _centre(rng: Random, place: str, half_width: float, half_height: float) -> tuple[float, float]:
    x = _along(rng, "left" in place, "right" in place, half_width)
    y = _along(rng, "top" in place, "bottom" in place, half_height)
    return x, y


def _along(rng: Random, low: bool, high: bool, reach: float) -> float:
    """Give a centre in one of the three bands, moved inwards if the thing would touch the edge."""
    if low:
        return max(rng.uniform(*_LOW), reach + _EDGE)
    if high:
        return min(rng.uniform(*_HIGH), 1 - reach - _EDGE)
    return rng.uniform(*_CENTRE)
