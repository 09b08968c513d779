"""Kinds of transfer map side by side."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vwlib.book.figures.style import ANCHOR_MARKERS, GREY, INK, TASK_COLOURS, TASK_MARKERS, WIDTH
from vwlib.concepts import TASKS
from vwlib.ledger.statistics import two_way_clustered_estimate

SPREAD = 0.09  # between the points of one kind


def map_kind_points(quality: pd.DataFrame) -> Figure:
    """Each kind of map on words held out from it: variance explained, and how often the right word is the nearest; a
    point for each pair.

    `quality` is the table of `vwlib.transfer.quality_of_kinds`. Colours are sources, markers targets.
    """
    kinds, measures = (
        list(quality["map"].unique()),
        {"r2": "variance explained (r2)", "top1": "right word is the nearest (top1)"},
    )
    pairs = quality.groupby(["source", "target"], sort=False)
    means = quality.groupby(["map", "source", "target"], sort=False)[[*measures, "chance1"]].mean()
    figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
    for ax, (column, label) in zip(figure.subplots(1, len(measures)), measures.items(), strict=True):
        for number, (source, target) in enumerate(pairs.groups):
            places = [place + SPREAD * (number - (pairs.ngroups - 1) / 2) for place in range(len(kinds))]
            values = [means.loc[(kind, source, target), column] for kind in kinds]
            ax.plot(
                places,
                values,
                ls="",
                color=TASK_COLOURS[source],
                marker=TASK_MARKERS[target],
                ms=5,
                zorder=3,
                clip_on=False,
            )
        ax.axhline(means["chance1"].mean() if column == "top1" else 0, color=INK, ls="--", lw=1.2, zorder=2)
        ax.set_xticks(range(len(kinds)), kinds, rotation=35, ha="right", rotation_mode="anchor")
        ax.set_title(label)
        ax.grid(axis="x", visible=False)
    figure.axes[1].set_ylim(bottom=0)
    figure.legend(handles=_pair_handles("what guessing would give"), loc="outside lower center", ncols=4)
    return figure


def _pair_handles(line: str) -> list[Line2D]:
    sources = [Line2D([], [], color=TASK_COLOURS[task], lw=4, label=f"from {task}") for task in TASKS]
    targets = [
        Line2D([], [], ls="", color=GREY, marker=TASK_MARKERS[task], ms=5, label=f"into {task}") for task in TASKS
    ]
    return [*sources, Line2D([], [], color=INK, ls="--", lw=1.2, label=line), *targets]


def map_gain_points(table: pd.DataFrame) -> Figure:
    """E1: what carried words gain over their anchors, against how well the map explains ordinary words held out from
    it; a panel for each target.

    `table` is that of the experiment `map_kinds`. A point is a source and a kind, with a 95 % interval that resamples
    concepts and anchors.
    """
    kinds = list(table["map"].unique())
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    for ax, target in zip(figure.subplots(1, len(TASKS), sharex=True, sharey=True), TASKS, strict=True):
        for (source, kind), rows in table[table["evaluated_on"] == target].groupby(["trained_on", "map"], sort=False):
            gain = two_way_clustered_estimate(
                {"value": rows, "floor": rows.assign(value=rows["floor"])}, "value - floor", limits=(0, 1)
            )
            r2, marker = rows["r2"].iloc[0], ANCHOR_MARKERS[kinds.index(kind) % len(ANCHOR_MARKERS)]
            ax.plot([r2, r2], gain.interval(), color=TASK_COLOURS[source], lw=1, alpha=0.6)
            ax.plot(
                r2, gain.value, ls="", color=TASK_COLOURS[source], marker=marker, ms=5.5, mec="white", mew=0.5, zorder=3
            )
        ax.axhline(0, color=INK, ls="--", lw=1.2, zorder=2)
        ax.set_title(f"scored on\n{target}")
    figure.axes[0].set_ylabel("gain over the anchor word")
    figure.axes[1].set_xlabel("variance of held-out words explained (r2)")
    sources = [Line2D([], [], color=TASK_COLOURS[task], lw=4, label=f"{task} words") for task in TASKS]
    shapes = [
        Line2D([], [], ls="", color=GREY, marker=ANCHOR_MARKERS[place % len(ANCHOR_MARKERS)], ms=5.5, label=kind)
        for place, kind in enumerate(kinds)
    ]
    figure.legend(handles=[*sources, *shapes], loc="outside lower center", ncols=3)
    return figure
