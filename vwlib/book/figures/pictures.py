"""Pictures in rows and columns, plain or with boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from vwlib.book.figures.style import INK, TASK_COLOURS, WIDTH


def image_grid(
    images: Sequence[Sequence[Image.Image | None]],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    below: Sequence[Sequence[str]] = (),
) -> Figure:
    """Pictures in rows and columns, with a label before each row, above each column, and perhaps `below` each picture."""
    figure, axes = _grid(len(images), max(map(len, images)), rows, titled=bool(columns), captioned=bool(below))
    for row, pictures in enumerate(images):
        for column, picture in enumerate(pictures):
            if picture is not None:
                show_picture(axes[row, column], picture)
            if below:
                axes[row, column].set_xlabel(below[row][column], fontsize=9, labelpad=2)
    _label(axes, rows, columns)
    return figure


def draw_detections(
    images: Sequence[Image.Image | Sequence[Image.Image | None]],
    boxes: pd.DataFrame,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    below: Sequence[Sequence[str]] = (),
) -> Figure:
    """Found and true boxes on the same images in every row, or on rows of images (None: an empty place).

    `boxes` has columns `row`, `image` (positions in the grid), `left`, `top`, `right`, `bottom` (px) and `score`; a box
    without a score is a true one and is drawn dashed, a found one is drawn in the detector's colour. The scores found
    stand below, or what `below` says.
    """
    grid = _rows_of(images, max(1, len(rows)))
    figure, axes = _grid(len(grid), max(map(len, grid)), rows, titled=bool(columns), captioned=True, legend=True)
    for row, line in enumerate(grid):
        for column, image in enumerate(line):
            if image is None:
                continue
            ax = axes[row, column]
            show_picture(ax, image)
            chosen = boxes[(boxes["row"] == row) & (boxes["image"] == column)]
            for box in chosen.itertuples():
                _draw_box(ax, box)
            found = chosen["score"].dropna().sort_values(ascending=False)
            ax.set_xlabel(below[row][column] if below else _scores(list(found)), fontsize=9, labelpad=2)
    _label(axes, rows, columns)
    handles = [
        Line2D([], [], color=TASK_COLOURS["detection"], lw=2, label="found" if below else "found (score below)"),
        Line2D([], [], color=INK, lw=1.2, ls=(0, (3, 2)), label="true box"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _grid(
    rows: int, columns: int, labels: Sequence[str], *, titled: bool, captioned: bool, legend: bool = False
) -> tuple[Figure, np.ndarray]:
    longest = max((len(line) for label in labels for line in label.split("\n")), default=0)
    side = min(1.5, (WIDTH - 0.1 - 0.085 * longest) / columns - 0.06)
    height = rows * (side + (0.24 if captioned else 0.06)) + (0.25 if titled else 0) + (0.35 if legend else 0)
    figure = Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.02, wspace=0, hspace=0))
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        _strip(ax)
    return figure, axes


def show_picture(ax: Axes, picture: Image.Image) -> None:
    """A picture alone, without ticks or frame."""
    ax.imshow(np.asarray(picture), interpolation="bicubic" if max(picture.size) < 200 else "antialiased")
    _strip(ax)


def _strip(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _label(axes: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> None:
    for ax, text in zip(axes[:, 0], rows, strict=False):
        ax.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9.5)
    for ax, text in zip(axes[0], columns, strict=False):
        ax.set_title(text, fontsize=9.5)


def _rows_of(
    images: Sequence[Image.Image | Sequence[Image.Image | None]], count: int
) -> list[list[Image.Image | None]]:
    """Rows of images as they are; a single row `count` times."""
    single: list[Image.Image | None] = [image for image in images if isinstance(image, Image.Image)]
    return [single] * count if single else [list(line) for line in images if not isinstance(line, Image.Image)]


def _scores(found: Sequence[float], most: int = 3) -> str:
    """The scores of the boxes found, as many as fit below a picture."""
    shown = ", ".join(f"{score:.2f}" for score in found[:most]) or "none found"
    return shown + (" …" if len(found) > most else "")


def _draw_box(ax: Axes, box) -> None:
    place = {
        "xy": (box.left - 0.5, box.top - 0.5),
        "width": box.right - box.left,
        "height": box.bottom - box.top,
        "fill": False,
    }
    if np.isnan(box.score):
        ax.add_patch(Rectangle(**place, edgecolor="white", lw=2.2, clip_on=False))
        ax.add_patch(Rectangle(**place, edgecolor=INK, lw=1.2, ls=(0, (3, 2)), clip_on=False))
    else:
        ax.add_patch(Rectangle(**place, edgecolor="white", lw=3.4))
        ax.add_patch(Rectangle(**place, edgecolor=TASK_COLOURS["detection"], lw=2))
