"""Examples of datasets, with what their annotations say."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from vwlib.book.figures.pictures import image_grid
from vwlib.book.figures.style import INK

#: How the boxes of each kind are drawn, and what the legend calls them.
_KINDS = {
    "label": ("-", 1.6, "largest box of the label"),
    "other": ((0, (3, 2)), 1.2, "other box of one of the ten concepts"),
    "ignored": ((0, (1, 2)), 1.2, "counts neither way"),
}


def labelled_grid(
    images: Sequence[Sequence[Image.Image | None]],
    boxes: pd.DataFrame,
    rows: Sequence[str],
    below: Sequence[Sequence[str]],
) -> Figure:
    """Rows of pictures with their boxes, and the label of each `below` it.

    `boxes` has columns `row`, `image` (positions in the grid), `left`, `top`, `right`, `bottom` (px) and `kind`:
    "label", "other" or "ignored".
    """
    figure = image_grid(images, rows=rows, below=below)
    axes = [
        figure.axes[start : start + max(map(len, images))]
        for start in range(0, len(figure.axes), max(map(len, images)))
    ]
    for box in boxes.itertuples():
        style, width, _ = _KINDS[box.kind]
        place = {
            "xy": (box.left - 0.5, box.top - 0.5),
            "width": box.right - box.left,
            "height": box.bottom - box.top,
            "fill": False,
        }
        axes[box.row][box.image].add_patch(Rectangle(**place, edgecolor="white", lw=width + 1, clip_on=False))
        axes[box.row][box.image].add_patch(Rectangle(**place, edgecolor=INK, lw=width, ls=style, clip_on=False))
    shown = [
        Line2D([], [], color=INK, lw=width, ls=style, label=label)
        for kind, (style, width, label) in _KINDS.items()
        if kind in set(boxes["kind"])
    ]
    if shown:
        figure.set_figheight(figure.get_figheight() + 0.3)
        figure.legend(handles=shown, loc="outside lower center", ncols=len(shown))
    return figure
