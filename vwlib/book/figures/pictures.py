"""Pictures in rows and columns, plain or with boxes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from PIL import Image

from vwlib.book.figures.style import INK, TASK_COLOURS, WIDTH, Look, legend_below

DASHED = (0, (3, 2))
#: How the boxes of each kind look, and what the legend calls them.
BOX_LOOKS: dict[str, tuple[str, Look]] = {
    "label": ("largest box of the label", {"ls": "-", "lw": 1.6}),
    "other": ("other box of one of the ten concepts", {"ls": DASHED, "lw": 1.2}),
    "ignored": ("counts neither way", {"ls": (0, (1, 2)), "lw": 1.2}),
}


def image_grid(
    images: Sequence[Sequence[Image.Image | None]],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    below: Sequence[Sequence[str]] = (),
    extra_height: float = 0.0,
) -> Figure:
    """Pictures in rows and columns (None: an empty place) with labels; `extra_height` is room for a legend (inches)."""
    longest = max((len(line) for label in rows for line in label.split("\n")), default=0)
    across = max(map(len, images))
    side = min(1.5, (WIDTH - 0.1 - 0.085 * longest) / across - 0.06)
    height = len(images) * (side + (0.24 if below else 0.06)) + (0.25 if columns else 0) + extra_height
    figure = Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.02, wspace=0, hspace=0))
    axes = figure.subplots(len(images), across, squeeze=False)
    for place, ax in np.ndenumerate(axes):
        _strip(ax)
        row, column = place
        if column < len(images[row]) and (picture := images[row][column]) is not None:
            show_picture(ax, picture)
        if below and column < len(below[row]):
            ax.set_xlabel(below[row][column], fontsize=9, labelpad=2)
    for ax, text in zip(axes[:, 0], rows, strict=False):
        ax.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9.5)
    for ax, text in zip(axes[0], columns, strict=False):
        ax.set_title(text, fontsize=9.5)
    return figure


def draw_detections(
    images: Sequence[Image.Image] | Sequence[Sequence[Image.Image | None]],
    boxes: pd.DataFrame,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    below: Sequence[Sequence[str]] = (),
) -> Figure:
    """Found and true boxes on rows of images, or on the same images in every row.

    `boxes` has columns `row`, `image` (positions in the grid), `left`, `top`, `right`, `bottom` (px) and `score`. A box
    without a score is a true one and is dashed. Below each image stand the scores found, or what `below` says.
    """
    grid: Any = [images] * max(1, len(rows)) if isinstance(images[0], Image.Image) else images
    scores = [[_scores(boxes, row, column) for column in range(len(line))] for row, line in enumerate(grid)]
    texts = zip(grid, below or scores, strict=True)
    shown = [[text if image else "" for image, text in zip(*line, strict=True)] for line in texts]
    figure = image_grid(grid, rows, columns, shown, extra_height=0.35)
    across = max(map(len, grid))
    for box in boxes.itertuples():
        ax = figure.axes[across * box.row + box.image]
        if np.isnan(box.score):
            draw_box(ax, box, INK, 1.2, ls=DASHED, clip=False)
        else:
            draw_box(ax, box, TASK_COLOURS["detection"], 2, rim=1.4)
    found = {"color": TASK_COLOURS["detection"], "lw": 2}
    legend_below(figure, {"found" if below else "found (score below)": found, "true box": {"lw": 1.2, "ls": DASHED}})
    return figure


def labelled_grid(
    images: Sequence[Sequence[Image.Image | None]],
    boxes: pd.DataFrame,
    rows: Sequence[str],
    below: Sequence[Sequence[str]],
) -> Figure:
    """Rows of pictures with their boxes, and the label of each `below` it. `boxes` has columns `row`, `image`
    (positions in the grid), `left`, `top`, `right`, `bottom` (px) and `kind`, a key of `BOX_LOOKS`.
    """
    shown = {name: look for kind, (name, look) in BOX_LOOKS.items() if kind in set(boxes["kind"])}
    figure = image_grid(images, rows=rows, below=below, extra_height=0.3 if shown else 0)
    for box in boxes.itertuples():
        ax = figure.axes[max(map(len, images)) * box.row + box.image]
        draw_box(ax, box, INK, **BOX_LOOKS[box.kind][1], clip=False)
    legend_below(figure, shown)
    return figure


def draw_box(ax: Axes, box: Any, colour: str, lw: float, rim: float = 1, ls: Any = "-", clip: bool = True) -> None:
    """A box with `left`, `top`, `right`, `bottom` (px) on a picture; its white rim is wider by `rim` points."""
    corner, width, height = (box.left - 0.5, box.top - 0.5), box.right - box.left, box.bottom - box.top
    for look in ({"edgecolor": "white", "lw": lw + rim}, {"edgecolor": colour, "lw": lw, "ls": ls}):
        ax.add_patch(Rectangle(corner, width, height, fill=False, clip_on=clip, **look))


def show_picture(ax: Axes, picture: Image.Image) -> None:
    """A picture alone, without ticks or frame."""
    ax.imshow(np.asarray(picture), interpolation="bicubic" if max(picture.size) < 200 else "antialiased")
    _strip(ax)


def _strip(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


def _scores(boxes: pd.DataFrame, row: int, image: int, most: int = 3) -> str:
    """The scores of the boxes found on one image, as many as fit below it."""
    scores = boxes.loc[(boxes["row"] == row) & (boxes["image"] == image), "score"].dropna().sort_values(ascending=False)
    shown = ", ".join(f"{score:.2f}" for score in scores[:most]) or "none found"
    return shown + (" …" if len(scores) > most else "")
