"""Kinds of transfer map side by side."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from vwlib.book.figures.style import ANCHOR_MARKERS, GREY, INK, TASK_COLOURS, TASK_MARKERS, WIDTH, legend_below
from vwlib.concepts import TASKS
from vwlib.ledger.statistics import two_way_clustered_estimate

SPREAD = 0.09  # between the points of one kind


def _sources(label: str) -> dict[str, dict[str, Any]]:
    return {label.format(task): {"color": TASK_COLOURS[task], "lw": 4} for task in TASKS}


def _shape(marker: str) -> dict[str, Any]:
    return {"ls": "", "color": GREY, "marker": marker, "ms": 5.5}


def map_kind_points(quality: pd.DataFrame) -> Figure:
    """Each kind of map on words held out from it: variance explained, and how often the right word is the nearest; a
    point for each pair.

    `quality` is the table of `vwlib.transfer.quality_of_kinds`. Colours are sources, markers targets.
    """
    measures = {"r2": "variance explained (r2)", "top1": "right word is the nearest (top1)"}
    kinds, pairs = list(quality["map"].unique()), quality.groupby(["source", "target"], sort=False)
    means = quality.groupby(["map", "source", "target"], sort=False)[[*measures, "chance1"]].mean()
    figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
    for ax, (column, label) in zip(figure.subplots(1, len(measures)), measures.items(), strict=True):
        for number, (source, target) in enumerate(pairs.groups):
            places = [place + SPREAD * (number - (pairs.ngroups - 1) / 2) for place in range(len(kinds))]
            values = [means.loc[(kind, source, target), column] for kind in kinds]
            look = {"color": TASK_COLOURS[source], "marker": TASK_MARKERS[target], "ms": 5}
            ax.plot(places, values, ls="", zorder=3, clip_on=False, **look)
        ax.axhline(means["chance1"].mean() if column == "top1" else 0, color=INK, ls="--", lw=1.2, zorder=2)
        ax.set_xticks(range(len(kinds)), kinds, rotation=35, ha="right", rotation_mode="anchor")
        ax.set_title(label)
        ax.grid(axis="x", visible=False)
    figure.axes[1].set_ylim(bottom=0)
    guess = {"what guessing would give": {"ls": "--", "lw": 1.2}}
    targets = {f"into {task}": _shape(TASK_MARKERS[task]) for task in TASKS}
    legend_below(figure, _sources("from {}") | guess | targets, ncols=4)
    return figure


def map_gain_points(table: pd.DataFrame) -> Figure:
    """What mapped words gain over their anchors, against how well the map explains ordinary words held out from it; a
    panel for each target.

    `table` is that of the experiment `map_kinds`. A point is a source and a kind of map, with its 95 % interval.
    """
    kinds = dict(zip(table["map"].unique(), ANCHOR_MARKERS * 2, strict=False))
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    for ax, target in zip(figure.subplots(1, len(TASKS), sharex=True, sharey=True), TASKS, strict=True):
        for (source, kind), rows in table[table["evaluated_on"] == target].groupby(["trained_on", "map"], sort=False):
            arms, colour = {"value": rows, "floor": rows.assign(value=rows["floor"])}, TASK_COLOURS[source]
            gain, r2 = two_way_clustered_estimate(arms, "value - floor", limits=(0, 1)), rows["r2"].iloc[0]
            ax.plot([r2, r2], gain.interval(), color=colour, lw=1, alpha=0.6)
            look = {"ls": "", "color": colour, "marker": kinds[kind], "ms": 5.5, "mec": "white", "mew": 0.5}
            ax.plot(r2, gain.value, zorder=3, **look)
        ax.axhline(0, color=INK, ls="--", lw=1.2, zorder=2)
        ax.set_title(f"scored on\n{target}")
    figure.axes[0].set_ylabel("gain over the anchor word")
    figure.axes[1].set_xlabel("variance of held-out words explained (r2)")
    legend_below(figure, _sources("{} words") | {kind: _shape(marker) for kind, marker in kinds.items()}, ncols=3)
    return figure
