"""Generated scenes: drawings placed on varied backgrounds, with exact boxes. Everything follows from a seed."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from vwlib.miniature import WORLD
from vwlib.miniature.sprites import STYLES, Sprites, cut_to_visible, recolour

HELD_OUT_STYLE = "twemoji"  # no model sees it in pretraining; test images use it
PRETRAINING_STYLES = tuple(style for style in STYLES if style != HELD_OUT_STYLE)

COLOURS: dict[str, tuple[int, int, int]] = WORLD["colours"]  # RGB
PATTERN_CONTRAST = 0.5  # of the contrast between the two colours: a pattern is a background, not camouflage
_FAINTEST = 96  # alpha, 0 to 255: what is fainter belongs to no object
BACKGROUNDS = ("plain", "gradient", "striped", "checkered", "dotted", "cloudy")


@dataclass(frozen=True)
class Layout:
    """How many objects a scene holds, how large (as shares of the image's side), where, on what and how drawn."""

    objects: tuple[int, int]  # fewest and most objects
    main: tuple[float, float]  # longer side of the first object, which is the largest
    others: tuple[float, float]  # longer side of all other objects
    tilt: float = 7.0  # standard deviation of an object's angle, in degrees
    fallen: float = 0.1  # share of objects at any angle up to 45 degrees
    mirrored: float = 0.5  # share of objects
    wander: float = 1.0  # how far the first object's middle may lie from the image's, as a share of the side
    backgrounds: tuple[str, ...] = BACKGROUNDS
    grounds: tuple[str, ...] = tuple(COLOURS)  # colours of backgrounds
    vivid: float = 1.0  # how strong these are: at 0 every background is white
    tinted: float = 0.12  # share of objects in one named colour
    styles: tuple[str, ...] = PRETRAINING_STYLES


#: Scenes to learn to see from, the datasets, and portraits.
LAYOUTS = {name: Layout(**layout) for name, layout in WORLD["layouts"].items()}


@dataclass(frozen=True)
class Drawing:
    """What to draw: a noun in a style, perhaps tinted in a named colour or turned to another hue."""

    noun: str
    style: str
    colour: str | None = None
    hue: float = 0.0  # share of the colour circle; 0 leaves the drawing as it is


@dataclass(frozen=True)
class Placed:
    """A drawing in a scene."""

    drawing: Drawing
    box: tuple[int, int, int, int]  # (left, top, right, bottom) of its visible pixels, right and bottom exclusive
    angle: float  # degrees, anticlockwise
    share: float  # longer side over the image's side

    @property
    def area(self) -> int:
        """Area of the box in square px."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


@dataclass(frozen=True)
class Scene:
    """An RGB image and what it shows; `objects[0]` is the main object, the largest."""

    image: Image.Image
    background: str
    colours: tuple[str, str]
    objects: list[Placed] = field(default_factory=list)


def tint(sprite: Image.Image, colour: str) -> Image.Image:
    """Redraw a sprite in shades of one named colour."""
    grey = np.asarray(sprite.convert("L"), np.float32)[..., None] / 255
    base = np.asarray(COLOURS[colour], np.float32)
    # Dark parts go to black, light parts to white, the middle to the colour: lines and highlights stay visible.
    shade = np.where(grey < 0.6, base * grey / 0.6, base + (255 - base) * (grey - 0.6) / 0.4)
    tinted = Image.fromarray(shade.astype(np.uint8), "RGB")
    tinted.putalpha(sprite.getchannel("A"))
    return tinted


def transform(sprite: Image.Image, side: float, angle: float, mirror: bool) -> Image.Image:
    """Scale a sprite's longer side to `side` px, mirror and turn it, and cut it to its visible pixels."""
    scale = side / max(sprite.size)
    size = (max(2, round(scale * sprite.width)), max(2, round(scale * sprite.height)))
    picture = sprite.convert("RGBa").resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    if mirror:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if angle:
        # Pillow rotates premultiplied pictures only as RGBA; the edge is safe because the outside is (0, 0, 0, 0).
        picture = picture.convert("RGBA").rotate(angle, Image.Resampling.BICUBIC, expand=True)
    return cut_to_visible(picture.convert("RGBA"), _FAINTEST)


def draw_background(rng: np.random.Generator, size: int, kind: str, colours: tuple[str, str]) -> np.ndarray:
    """One background as uint8 (size, size, 3): `kind` in two named colours, each a little off its name."""
    first, second = (np.clip(np.asarray(COLOURS[name]) + rng.normal(0, 14, 3), 0, 255) for name in colours)
    y, x = np.mgrid[0:size, 0:size] / size
    turn = rng.uniform(0, 2 * np.pi)
    across = x * np.cos(turn) + y * np.sin(turn)
    if kind == "plain":
        weight = np.zeros((size, size))
    elif kind == "gradient":
        weight = (across - across.min()) / (across.max() - across.min())
    elif kind == "striped":
        weight = (np.floor(across * rng.uniform(5, 12)) % 2).astype(float)
    elif kind in ("checkered", "dotted"):
        cells = rng.uniform(4, 9)
        odd = (np.floor(x * cells) + np.floor(y * cells)) % 2
        dots = (x * cells % 1 - 0.5) ** 2 + (y * cells % 1 - 0.5) ** 2 < 0.08
        weight = (odd if kind == "checkered" else dots).astype(float)
    else:  # cloudy: smooth noise
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8), "L")
        weight = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) / 255
    return (first + PATTERN_CONTRAST * weight[..., None] * (second - first)).clip(0, 255).astype(np.uint8)


def compose(rng: np.random.Generator, sprites: Sprites, drawings: list[Drawing], layout: Layout, size: int) -> Scene:
    """Place `drawings` (the first is the main object) on a random background of `size` × `size` px.

    Later drawings hide at most a tenth of each object; one that fits nowhere in twenty random places is left out.
    """
    kind = str(rng.choice(layout.backgrounds))
    first, second = np.resize(rng.permutation(len(layout.grounds)), 2)
    colours = (layout.grounds[first], layout.grounds[second])
    background = 255 - layout.vivid * (255 - draw_background(rng, size, kind, colours).astype(np.float64))
    canvas = Image.fromarray(background.round().astype(np.uint8), "RGB")
    owner = np.full((size, size), -1, np.int16)  # which object each pixel shows
    placed: list[tuple[Drawing, float, float]] = []
    for index, drawing in enumerate(drawings):
        share = rng.uniform(*(layout.main if index == 0 else layout.others))
        angle = float(rng.normal(0, layout.tilt) if rng.random() < 1 - layout.fallen else rng.uniform(-45, 45))
        sprite = sprites.images[drawing.noun][drawing.style]
        if drawing.hue:
            sprite = recolour(sprite, drawing.hue)
        if drawing.colour:
            sprite = tint(sprite, drawing.colour)
        picture = transform(sprite, share * size, angle, bool(rng.random() < layout.mirrored))
        mask = np.asarray(picture.getchannel("A")) > _FAINTEST
        places = (_try_place(rng, mask, owner, len(placed), layout.wander) for _ in range(20))
        if place := next(filter(None, places), None):
            canvas.paste(picture, place, picture)
            window, inside = _window(owner, mask, *place)
            window[inside] = len(placed)
            placed.append((drawing, angle, share))
    objects = [Placed(drawing, _box(owner == index), *how) for index, (drawing, *how) in enumerate(placed)]
    return Scene(canvas, kind, colours, objects)


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _window(owner: np.ndarray, mask: np.ndarray, left: int, top: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the image `owner` (y, x) under a `mask` (y, x) at a place, as a view, and the mask inside it."""
    window = owner[max(top, 0) : top + mask.shape[0], max(left, 0) : left + mask.shape[1]]
    return window, mask[max(-top, 0) :, max(-left, 0) :][: window.shape[0], : window.shape[1]]


def _try_place(
    rng: np.random.Generator, mask: np.ndarray, owner: np.ndarray, objects: int, wander: float
) -> tuple[int, int] | None:
    """A random place (left, top), up to a tenth outside the image; None if it hides too much of another object."""
    size = owner.shape[0]
    spans = []
    for length in mask.shape[::-1]:
        rest, slack = size - length, length // 10
        if objects:
            spans.append((min(-slack, rest), max(rest + slack, 0)))
        else:  # the main object stays inside the image where it fits, and near the middle
            far = round(wander * size)
            spans.append((max(min(0, rest), rest // 2 - far), min(max(0, rest), rest // 2 + far)))
    left, top = (int(rng.integers(low, high + 1)) for low, high in spans)
    window, inside = _window(owner, mask, left, top)
    covered = window[inside]
    hidden = np.bincount(covered[covered >= 0], minlength=objects)
    shown = np.bincount(owner[owner >= 0], minlength=objects)
    return None if objects and np.any(hidden > 0.1 * shown) else (left, top)


def random_drawing(rng: np.random.Generator, nouns: list[str], styles: tuple[str, ...], tinted: float) -> Drawing:
    """A random noun in a random style, tinted in a random colour with probability `tinted`."""
    colour = str(rng.choice(list(COLOURS))) if rng.random() < tinted else None
    return Drawing(nouns[rng.integers(len(nouns))], styles[rng.integers(len(styles))], colour)


def random_scene(
    rng: np.random.Generator, sprites: Sprites, layout: Layout, size: int, weights: np.ndarray | None = None
) -> Scene:
    """A scene of distinct random nouns, `size` × `size` px; `weights` (noun,) are their probabilities."""
    count = int(rng.integers(layout.objects[0], layout.objects[1] + 1))
    nouns = [sprites.nouns[i] for i in rng.choice(len(sprites.nouns), count, replace=False, p=weights)]
    drawings = [random_drawing(rng, [noun], layout.styles, layout.tinted) for noun in nouns]
    return compose(rng, sprites, drawings, layout, size)
