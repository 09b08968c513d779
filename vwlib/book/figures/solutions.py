"""Solutions near an anchor, from the tables of the experiments. Bars are 95 % intervals."""

from math import inf

import pandas as pd
from matplotlib.figure import Figure

from vwlib.book.figures import style
from vwlib.book.figures.style import GREY, INK, POINT, TASK_COLOURS, Look
from vwlib.ledger.statistics import mean_estimate, two_way_clustered_estimate

#: Names and looks of the kinds of words in the table `perturbations`. Only learned words have their task's colour.
OFFSETS: dict[str, tuple[str, Look]] = {
    "optimised": ("learned words", {"ls": "-", "marker": "o"}),
    "random": ("random offsets of the same length", {"ls": "--", "marker": "D", "mfc": "white"}),
    "random, vocabulary": ("random, spread like the vocabulary", {"ls": "-.", "marker": "v", "mfc": "white"}),
    "random, word": ("straight towards a random word", {"ls": ":", "marker": "s", "mfc": "white"}),
}
#: The same of the paths in the table `segments`.
PATHS: dict[str, tuple[str, Look]] = {
    "segment": ("straight line", {"ls": "-", "marker": "o"}),
    "curve": ("curve learned to avoid a dip", {"ls": "--", "marker": "s", "mfc": "white"}),
}
#: What is shown of the table `compounds`: name, kind of words, column and marker.
COMPOUNDS = (
    ("a compound's learned word, by its two parts", "learned", "residual", "o"),
    ("the same, by its best two words", "learned", "best", "D"),
    ("a part's real word, by its best two others", "held-out", "residual", "s"),
)


def random_curves(table: pd.DataFrame) -> Figure:
    """A control: the share of words whose output is still their anchor's, against the length of their offsets."""
    figure, panels = style.task_panels(table, "radius, delta", "share whose output\nis the anchor's", (-0.03, 1.05))
    radii = sorted(table["delta"].unique())
    kinds = {kind: named for kind, named in OFFSETS.items() if kind in set(table["kind"])}
    for task, ax in panels.items():
        for number, (kind, (_, look)) in enumerate(kinds.items()):
            rows = table[(table["task"] == task) & (table["kind"] == kind)]
            shift = 0.07 * (number - (len(kinds) - 1) / 2)
            places = {radii.index(radius) + shift: part for radius, part in rows.groupby("delta")}
            colour = TASK_COLOURS[task] if kind == "optimised" else GREY
            style.draw_means(ax, places, "kept", look | {"color": colour, "zorder": 4 - number})
        ax.set_xticks(range(len(radii)), [f"{radius:g}" for radius in radii])
    colours = {kind: INK if kind == "optimised" else GREY for kind in kinds}
    style.legend_below(figure, {name: look | {"color": colours[kind]} for kind, (name, look) in kinds.items()}, ncols=2)
    return figure


def segment_curves(table: pd.DataFrame) -> Figure:
    """Section 5.1: mean score on the path between two of a concept's words, straight and on a learned curve."""
    figure, panels = style.task_panels(table, ylabel="score on its own task", ylim=(-0.03, 1.05))
    for task, ax in panels.items():
        for kind, (_, look) in PATHS.items():
            points = dict(tuple(table[(table["task"] == task) & (table["kind"] == kind)].groupby("t")))
            style.draw_means(ax, points, "value", look | {"color": TASK_COLOURS[task]}, pairs=True)
        ax.set_xticks([0, 0.5, 1], ["one\nword", "half\nway", "other\nword"])
    style.legend_below(figure, {name: look for kind, (name, look) in PATHS.items() if kind in set(table["kind"])})
    return figure


def spread_points(table: pd.DataFrame) -> Figure:
    """The standard deviation of scores over resampled training images and over anchors: the table `spreads`."""
    colour, datasets = TASK_COLOURS["classification"], list(table["dataset"].unique())
    figure, ax = style.row_panel(datasets, "standard deviation of the score", 0.42, 1.3)
    names = {"over resampled training images": ("data", 0.13), "over anchors to start from": ("start", -0.13)}
    looks = {name: style.filled(colour, kind == "data") for name, (kind, _) in names.items()}
    for name, (kind, shift) in names.items():
        for place, dataset in enumerate(datasets):
            rows = table[(table["kind"] == kind) & (table["dataset"] == dataset)]
            spread = mean_estimate(rows, "spread", limits=(-inf, inf))
            style.draw_estimate(ax, shift - place, spread, colour, looks[name])
    ax.set_xlim(left=0)
    style.legend_below(figure, {name: POINT | look for name, look in looks.items()})
    return figure


def offset_ranges(table: pd.DataFrame) -> Figure:
    """Section 1, table `offsets`: cosines of two models' offsets; the median, the middle half and nine tenths."""
    groups = {
        f"{source} to {target}" if kind == "models" else f"two classifiers, {target}": (TASK_COLOURS[source], rows)
        for (kind, source, target), rows in table.groupby(["kind", "source", "target"], sort=False)
    }
    figure, ax = style.row_panel(list(groups), "cosine of the two offsets", 0.32, 1.1)
    for place, (colour, rows) in enumerate(groups.values()):
        style.draw_quantiles(ax, -place, rows["cosine"], colour)
    ax.axvline(0, color=INK, ls="--", lw=1.2)
    return figure


def compound_points(table: pd.DataFrame) -> Figure:
    """The share of a compound's word that its parts, or the best two words, leave unexplained, beside real words."""
    tasks = style.tasks_in(table)
    figure, ax = style.row_panel(tasks, "share that is left unexplained", 0.5, 1.5)
    for place, task in enumerate(tasks):
        for (_, kind, measure, marker), shift in zip(COMPOUNDS, (0.22, 0, -0.22), strict=True):
            rows = table[(table["task"] == task) & (table["kind"] == kind)]
            share = two_way_clustered_estimate({"share": rows}, "share", ("concept",), None, measure, limits=(0, 1))
            look = {"marker": marker, **style.filled(TASK_COLOURS[task], marker == "o")}
            style.draw_estimate(ax, shift - place, share, TASK_COLOURS[task], look)
    ax.set_xlim(0, 1.02)
    looks = {name: POINT | {"marker": marker, **style.filled(INK, marker == "o")} for name, *_, marker in COMPOUNDS}
    style.legend_below(figure, looks, ncols=1)
    return figure
