"""The book's look: sizes, colours, markers, and what several figures draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from vwlib.ledger.statistics import crossed_estimate
from vwlib.models import TASKS

WIDTH = 6.6  # inches: the text column of a page

TASK_COLOURS = dict(zip(TASKS, sns.color_palette("colorblind").as_hex(), strict=False))

TASK_MARKERS = dict(zip(TASKS, ("o", "s", "^"), strict=True))

CONCEPT_COLOURS = sns.color_palette("colorblind", 10).as_hex()

ANCHOR_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")

PAPER_HATCH = "////"

METRICS = {
    "generation": "generation accuracy",
    "detection": "mean average precision",
    "classification": "classifier accuracy",
}

INK, GREY = "#333333", "#767676"

_RC = {
    "figure.dpi": 160,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#999999",
    "axes.linewidth": 0.9,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": "#e4e4e4",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.7,
}


def theme() -> None:
    """Give every figure of a notebook the book's look, and its tables room for whole sentences."""
    sns.set_theme(style="whitegrid", palette="colorblind", rc=_RC)
    pd.set_option("display.max_colwidth", None, "display.precision", 3)


def draw_bar(ax: Axes, place: float, row: pd.Series, **look) -> None:
    """A bar of a table's row, with its 95 % interval."""
    ax.bar(place, row["mean"], width=0.38, lw=1, zorder=2, **look)
    ax.plot([place, place], [row["low"], row["high"]], color=INK, lw=1.4, zorder=3, solid_capstyle="butt")


def lighter(colour: str, amount: float = 0.72) -> tuple[float, float, float]:
    """A colour mixed with white."""
    red, green, blue = (1 - (1 - part) * (1 - amount) for part in to_rgb(colour))
    return red, green, blue


def task_panels(table: pd.DataFrame) -> tuple[Figure, dict[str, Axes]]:
    """A row of panels, one for each task in the column `task`, with one axis of heights; empty panels for all tasks
    where the table has no row.
    """
    tasks = [task for task in TASKS if task in set(table["task"])] or list(TASKS)
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    axes = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for ax, task in zip(axes, tasks, strict=True):
        ax.set_title(task)
    return figure, dict(zip(tasks, axes, strict=True))


def draw_means(
    ax: Axes, points: Mapping[float, pd.DataFrame], measure: str, look: dict[str, Any], pairs: bool = False
) -> None:
    """A line of the means of shares or scores, given as tables of trials (or of pairs) by place on the axis, with
    crossed 95 % intervals.
    """
    found = {
        place: crossed_estimate({"mean": rows}, "mean", measure=measure, limits=(0, 1), pairs=pairs)
        for place, rows in points.items()
    }
    for place, estimate in found.items():
        ax.plot([place] * 2, estimate.interval(), color=look["color"], lw=1, alpha=0.7, zorder=2)
    ax.plot(list(found), [estimate.value for estimate in found.values()], lw=1.4, ms=4.5, **look)
