"""Examples of datasets, with what their annotations say."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from vwlib.book.figures.pictures import draw_box, image_grid
from vwlib.book.figures.style import INK, Look, legend_below

#: How the boxes of each kind look, and what the legend calls them.
BOX_LOOKS: dict[str, tuple[str, Look]] = {
    "label": ("largest box of the label", {"ls": "-", "lw": 1.6}),
    "other": ("other box of one of the ten concepts", {"ls": (0, (3, 2)), "lw": 1.2}),
    "ignored": ("counts neither way", {"ls": (0, (1, 2)), "lw": 1.2}),
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
    columns = max(map(len, images))
    for box in boxes.itertuples():
        draw_box(figure.axes[columns * box.row + box.image], box, INK, **BOX_LOOKS[box.kind][1], clip=False)
    shown = {name: look for kind, (name, look) in BOX_LOOKS.items() if kind in set(boxes["kind"])}
    if shown:
        figure.set_figheight(figure.get_figheight() + 0.3)
        legend_below(figure, shown)
    return figure
