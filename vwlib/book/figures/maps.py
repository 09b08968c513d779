"""How well transfer maps carry ordinary words, and kinds of map side by side."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from vwlib.book.figures import style
from vwlib.book.figures.style import ANCHOR_MARKERS, GREY, INK, TASK_COLOURS, TASK_MARKERS, Look
from vwlib.concepts import TASKS
from vwlib.ledger.statistics import two_way_clustered_estimate

SPREAD = 0.09  # between the points of one kind


def map_quality_bars(quality: pd.DataFrame) -> Figure:
    """How often a map takes a held-out word to its own embedding, for each ordered pair: the nearest, and among five.

    `quality` is the table of `held_out_quality`; intervals are over words.
    """
    figure, panel = style.panels([""], 3.4, ylabel="share of held-out words", ylim=(0, 1.05))
    ax, pairs = panel[""], quality.groupby(["source", "target"], sort=False)
    for place, ((source, _), words) in enumerate(pairs):
        colour, words = TASK_COLOURS[source], words.assign(word=range(len(words)))
        looks: dict[str, Look] = {"1": {"facecolor": colour}, "5": {"facecolor": style.lighter(colour), "hatch": ".."}}
        for (column, look), shift in zip(looks.items(), (-0.2, 0.2), strict=True):
            share = two_way_clustered_estimate(
                {"share": words}, "share", ("word",), None, f"top{column}", limits=(0, 1)
            )
            style.draw_bar(ax, place + shift, share.value, share.interval(), edgecolor=colour, **look)
            ends = [place + shift - 0.19, place + shift + 0.19]
            ax.plot(ends, [words[f"chance{column}"].iloc[0]] * 2, color=INK, lw=1.6, zorder=4)
    ax.set_xticks(range(pairs.ngroups), [f"{source}\nto {target}" for source, target in pairs.groups], fontsize=8.5)
    ax.grid(axis="x", visible=False)
    bars = [
        Patch(facecolor=GREY, edgecolor=GREY, label="its own embedding is the nearest"),
        Patch(facecolor=style.lighter(GREY), edgecolor=GREY, hatch="..", label="is among the nearest five"),
    ]
    style.legend_below(figure, {"chance": {"lw": 1.6}}, patches=bars)
    return figure


def distance_histogram(
    quality: pd.DataFrame,
    column: str = "error",
    xlabel: str = "distance to the true embedding (in distances to its nearest word)",
) -> Figure:
    """The distribution of `column` over words: a panel for each target, a line for each source; a mark at 1."""
    targets = [task for task in TASKS if task in set(quality["target"])]
    figure, panels = style.panels(targets, 2.9, "into {}", xlabel, "share of words", sharex=True)
    edges = np.linspace(0, float(quality[column].quantile(0.995)) * 1.05, 41)
    for target, ax in panels.items():
        for source, words in quality[quality["target"] == target].groupby("source", sort=False):
            share, _ = np.histogram(words[column], edges)
            look = {"color": TASK_COLOURS[str(source)], "marker": TASK_MARKERS[str(source)], "markevery": 4}
            ax.plot((edges[1:] + edges[:-1]) / 2, share / len(words), ms=5, lw=1.5, **look)
        ax.axvline(1, color=INK, ls="--", lw=1.2)
        ax.set_ylim(bottom=0)
    style.legend_below(figure, style.of_tasks("from {}", lw=1.5))
    return figure


def map_kind_points(quality: pd.DataFrame) -> Figure:
    """Each kind of map on words held out from it: variance explained, and how often the right word is the nearest; a
    point for each pair.

    `quality` is the table of `vwlib.experiments.map_quality.quality_of_kinds`. Colours are sources, markers targets.
    """
    measures = {"r2": "variance explained (r2)", "top1": "right word is the nearest (top1)"}
    kinds, pairs = list(quality["map"].unique()), quality.groupby(["source", "target"], sort=False)
    means = quality.groupby(["map", "source", "target"], sort=False)[[*measures, "chance1"]].mean()
    figure, panels = style.panels(list(measures), 3.5, sharey=False)
    for column, ax in panels.items():
        for number, (source, target) in enumerate(pairs.groups):
            places = np.arange(len(kinds)) + SPREAD * (number - (pairs.ngroups - 1) / 2)
            values = [means.loc[(kind, source, target), column] for kind in kinds]
            look = {"color": TASK_COLOURS[source], "marker": TASK_MARKERS[target], "ms": 5}
            ax.plot(places, values, ls="", zorder=3, clip_on=False, **look)
        ax.axhline(means["chance1"].mean() if column == "top1" else 0, **style.LEVEL)
        ax.set_xticks(range(len(kinds)), kinds, rotation=35, ha="right", rotation_mode="anchor")
        ax.set_title(measures[column])
        ax.grid(axis="x", visible=False)
    panels["top1"].set_ylim(bottom=0)
    targets = {f"into {task}": _shape(TASK_MARKERS[task]) for task in TASKS}
    guess = {"what guessing would give": {"ls": "--", "lw": 1.2}}
    style.legend_below(figure, _sources("from {}") | guess | targets, ncols=4)
    return figure


def map_gain_points(table: pd.DataFrame) -> Figure:
    """Mapped words' gain over their anchors against the variance that the map explains: table `map_kinds`.

    A point is a source and a kind of map, with its 95 % interval; a panel for each target.
    """
    kinds = dict(zip(table["map"].unique(), ANCHOR_MARKERS * 2, strict=False))
    xlabel, ylabel = "variance of held-out words explained (r2)", "gain over the anchor word"
    figure, panels = style.panels(TASKS, 3.6, "scored on\n{}", xlabel, ylabel, sharex=True)
    for target, ax in panels.items():
        for (source, kind), rows in table[table["evaluated_on"] == target].groupby(["trained_on", "map"], sort=False):
            arms, colour = {"value": rows, "floor": rows.assign(value=rows["floor"])}, TASK_COLOURS[source]
            gain, r2 = two_way_clustered_estimate(arms, "value - floor", limits=(0, 1)), rows["r2"].iloc[0]
            ax.plot([r2, r2], gain.interval(), color=colour, lw=1, alpha=0.6)
            look = {"ls": "", "color": colour, "marker": kinds[kind], "ms": 5.5, "mec": "white", "mew": 0.5}
            ax.plot(r2, gain.value, zorder=3, **look)
        ax.axhline(0, **style.LEVEL)
    style.legend_below(figure, _sources("{} words") | {kind: _shape(marker) for kind, marker in kinds.items()}, ncols=3)
    return figure


def _sources(label: str) -> dict[str, Look]:
    return {label.format(task): {"color": TASK_COLOURS[task], "lw": 4} for task in TASKS}


def _shape(marker: str) -> Look:
    return {"ls": "", "color": GREY, "marker": marker, "ms": 5.5}
