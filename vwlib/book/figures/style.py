"""The book's look: sizes, colours, markers, and what several figures draw."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from vwlib.concepts import TASKS
from vwlib.ledger.estimate import Estimate
from vwlib.ledger.statistics import mean_estimate

WIDTH = 6.6  # inches: the text column of a page
Look = dict[str, Any]  # of a line or marker, in matplotlib's words

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
#: A marker without a line.
POINT: Look = {"ls": "", "marker": "o", "ms": 6}
#: The grey that guides the eye: half, chance, the edge of a ball.
LEVEL: Look = {"color": INK, "ls": "--", "lw": 1.2, "zorder": 2}

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


def of_tasks(label: str, **look: Any) -> dict[str, Look]:
    """Looks for a legend of the tasks, by a label with their name."""
    return {label.format(task): {"color": TASK_COLOURS[task], "marker": TASK_MARKERS[task], **look} for task in TASKS}


def draw_bar(ax: Axes, place: float, mean: float, interval: Sequence[float], **look: Any) -> None:
    """A bar with its 95 % interval."""
    ax.bar(place, mean, width=0.38, lw=1, zorder=2, **look)
    ax.plot([place, place], interval, color=INK, lw=1.4, zorder=3, solid_capstyle="butt")


def lighter(colour: str, amount: float = 0.72) -> tuple[float, float, float]:
    """A colour mixed with white."""
    red, green, blue = (1 - (1 - part) * (1 - amount) for part in to_rgb(colour))
    return red, green, blue


def tasks_in(table: pd.DataFrame) -> list[str]:
    """The tasks in the column `task`, in the usual order."""
    return [task for task in TASKS if task in set(table["task"])]


def panels(
    names: Sequence[str],
    height: float = 2.9,
    title: str = "{}",
    xlabel: str = "",
    ylabel: str = "",
    ylim: tuple[float, float] | None = None,
    sharex: bool = False,
    sharey: bool = True,
) -> tuple[Figure, dict[str, Axes]]:
    """A row of panels by name, `height` inches high."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False, sharex=sharex, sharey=sharey)[0]
    for ax, name in zip(axes, names, strict=True):
        ax.set_title(title.format(name))
    axes[0].set(ylabel=ylabel, **({"ylim": ylim} if ylim else {}))
    axes[len(axes) // 2].set_xlabel(xlabel)
    return figure, dict(zip(names, axes, strict=True))


def task_panels(table: pd.DataFrame, xlabel: str = "", ylabel: str = "", ylim: Any = None) -> tuple[Figure, dict]:
    """A panel for each task in the column `task`; empty panels for all tasks where the table has no rows."""
    return panels(tasks_in(table) or list(TASKS), xlabel=xlabel, ylabel=ylabel, ylim=ylim)


def row_panel(names: Sequence[str], xlabel: str, row_height: float, margin: float) -> tuple[Figure, Axes]:
    """One panel with a named row at each of the heights 0, -1, -2, ...; `row_height` and `margin` are in inches."""
    figure = Figure(figsize=(WIDTH, row_height * len(names) + margin), layout="constrained")
    ax = figure.subplots()
    ax.set_yticks([-place for place in range(len(names))], names)
    ax.set_ylim(0.5 - max(len(names), 1), 0.5)
    ax.set_xlabel(xlabel)
    ax.grid(axis="y", visible=False)
    return figure, ax


def legend_below(
    figure: Figure, looks: Mapping[str, Mapping[str, Any]], patches: Sequence[Patch] = (), **options: Any
) -> None:
    """A legend below the panels, in one row: first `patches`, then for each label the look of its line, or of its
    marker where `ls` is "". `options` go to `Figure.legend`. Without labels there is no legend.
    """
    usual: Look = {"color": INK, "ms": 5, "lw": 1.4}
    lines = [Line2D([], [], label=label, **usual | dict(look)) for label, look in looks.items()]
    handles = [*patches, *lines]
    place: Look = {"loc": "outside lower center", "ncols": len(handles)}
    if handles:
        figure.legend(handles=handles, **place | options)


def filled(colour: str, is_filled: bool) -> Look:
    """The look of a marker whose edge has a colour, and whose face has it too or is white."""
    return {"mec": colour, "mfc": colour if is_filled else "white"}


def draw_means(
    ax: Axes, points: Mapping[float, pd.DataFrame], measure: str, look: dict[str, Any], pairs: bool = False
) -> None:
    """A line of mean shares or scores with 95 % intervals; `points` has a table of trials, or of pairs, by place."""
    found = {place: mean_estimate(rows, measure, pairs=pairs) for place, rows in points.items()}
    for place, estimate in found.items():
        ax.plot([place] * 2, estimate.interval(), color=look["color"], lw=1, alpha=0.7, zorder=2)
    if found:
        ax.plot(list(found), [estimate.value for estimate in found.values()], lw=1.4, ms=4.5, **look)


def draw_estimate(ax: Axes, height: float, estimate: Estimate, colour: str, look: Mapping[str, Any]) -> None:
    """An estimate in a row at some height: a marker on its 95 % interval."""
    ax.plot(estimate.interval(), [height] * 2, color=colour, lw=1.4)
    ax.plot(estimate.value, height, **{**POINT, "zorder": 3, **look})


def draw_quantiles(
    ax: Axes, place: float, values: pd.Series, colour: str, marker: str = "o", upright: bool = False
) -> None:
    """The median, the middle half (thick) and nine tenths (thin) of some values, in a row or upright in a column."""
    ends = values.quantile([0.05, 0.95, 0.25, 0.75, 0.5]).tolist()
    wide = {"lw": 5, "alpha": 0.45, "solid_capstyle": "butt"}
    median = {"ls": "", "marker": marker, "ms": 5.5, "mec": "white", "mew": 0.6}
    for along, look in ((ends[:2], {"lw": 1}), (ends[2:4], wide), (ends[4:], median)):
        across = [place] * len(along)
        ax.plot(*((across, along) if upright else (along, across)), color=colour, **look)
