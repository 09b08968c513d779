"""The solutions near an anchor: beside random offsets, from one to another, over data and starts, and between models."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vwlib.book.figures.style import GREY, INK, TASK_COLOURS, WIDTH, draw_means, task_panels
from vwlib.ledger.statistics import crossed_estimate

#: How the kinds of words of the experiment `perturbations` look, and what they are called; only learned words have
#: their task's colour.
OFFSETS: dict[str, tuple[str, dict[str, Any]]] = {
    "optimised": ("learned words", {"ls": "-", "marker": "o"}),
    "random": ("random offsets as long", {"ls": "--", "marker": "D", "mfc": "white"}),
    "random, vocabulary": ("random, spread like the vocabulary", {"ls": "-.", "marker": "v", "mfc": "white"}),
    "random, word": ("straight towards a random word", {"ls": ":", "marker": "s", "mfc": "white"}),
}


def random_curves(table: pd.DataFrame) -> Figure:
    """B4, control K5: the share of words whose output is still their anchor's, against the length of their offsets; a
    panel for each task.

    `table` is that of the experiment `perturbations`. Bars are 95 % intervals that resample concepts and anchors.
    """
    figure, panels = task_panels(table)
    radii = sorted(table["delta"].unique())
    kinds = [kind for kind in OFFSETS if kind in set(table["kind"])]
    for task, ax in panels.items():
        for number, kind in enumerate(kinds):
            own = table[(table["task"] == task) & (table["kind"] == kind)]
            look = {
                "color": TASK_COLOURS[task] if kind == "optimised" else GREY,
                "zorder": 4 if kind == "optimised" else 3,
            }
            places = {radius: place + 0.07 * (number - (len(kinds) - 1) / 2) for place, radius in enumerate(radii)}
            draw_means(
                ax, {places[radius]: rows for radius, rows in own.groupby("delta")}, "kept", OFFSETS[kind][1] | look
            )
        ax.set_xticks(range(len(radii)), [f"{radius:g}" for radius in radii])
        ax.set_xlabel("radius, delta")
        ax.set_ylim(-0.03, 1.05)
    next(iter(panels.values())).set_ylabel("share whose output\nis the anchor's")
    handles = [
        Line2D(
            [], [], color=INK if kind == "optimised" else GREY, ms=5, lw=1.4, label=OFFSETS[kind][0], **OFFSETS[kind][1]
        )
        for kind in kinds
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def segment_curves(table: pd.DataFrame) -> Figure:
    """Section 5.1: mean score on the way between two of a concept's words, straight and, where there is one, on a
    learned curve; a panel for each task.

    `table` is that of the experiment `segments`. Bars are 95 % intervals that resample concepts and the anchors of the
    pairs.
    """
    ways: dict[str, tuple[str, dict[str, Any]]] = {
        "segment": ("straight", {"ls": "-", "marker": "o"}),
        "curve": ("on a curve that is learned to avoid a dip", {"ls": "--", "marker": "s", "mfc": "white"}),
    }
    figure, panels = task_panels(table)
    for task, ax in panels.items():
        for kind, (_, look) in ways.items():
            own = table[(table["task"] == task) & (table["kind"] == kind)]
            if len(own):
                draw_means(ax, dict(tuple(own.groupby("t"))), "value", look | {"color": TASK_COLOURS[task]}, pairs=True)
        ax.set_xticks([0, 0.5, 1], ["one\nword", "half\nway", "other\nword"])
        ax.set_ylim(-0.03, 1.05)
    next(iter(panels.values())).set_ylabel("score on its own task")
    handles = [
        Line2D([], [], color=INK, ms=5, lw=1.4, label=name, **look)
        for kind, (name, look) in ways.items()
        if kind in set(table["kind"])
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def spread_points(table: pd.DataFrame) -> Figure:
    """E3: the standard deviation of scores over resampled training images and over anchors, for each dataset.

    `table` is that of the experiment `spreads`. Bars are 95 % intervals that resample concepts and anchors.
    """
    looks = {
        "data": ("over resampled training images", TASK_COLOURS["classification"]),
        "start": ("over anchors to start from", "white"),
    }
    datasets = list(table["dataset"].unique())
    figure = Figure(figsize=(WIDTH, 0.42 * len(datasets) + 1.3), layout="constrained")
    ax = figure.subplots()
    for shift, (kind, (_, face)) in zip((0.13, -0.13), looks.items(), strict=True):
        for place, dataset in enumerate(datasets):
            found = crossed_estimate(
                {"spread": table[(table["kind"] == kind) & (table["dataset"] == dataset)]}, "spread", measure="spread"
            )
            low, high = found.interval()
            ax.plot([max(low, 0), high], [shift - place] * 2, color=TASK_COLOURS["classification"], lw=1.4)
            ax.plot(
                found.value,
                shift - place,
                ls="",
                marker="o",
                ms=6,
                mfc=face,
                mec=TASK_COLOURS["classification"],
                zorder=3,
            )
    ax.set_yticks([-place for place in range(len(datasets))], datasets)
    ax.set_ylim(0.5 - len(datasets), 0.5)
    ax.set_xlim(left=0)
    ax.set_xlabel("standard deviation of the score")
    ax.grid(axis="y", visible=False)
    colour = TASK_COLOURS["classification"]
    handles = [
        Line2D([], [], ls="", marker="o", ms=6, mfc=face, mec=colour, label=name) for name, face in looks.values()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def offset_ranges(table: pd.DataFrame) -> Figure:
    """Section 1, control K2: cosines of what two models learned for a concept from one anchor; a line for each pair,
    with median and spread.

    `table` is that of the experiment `offsets`.
    """
    groups = list(table.groupby(["kind", "source", "target"], sort=False))
    figure = Figure(figsize=(WIDTH, 0.32 * len(groups) + 1.1), layout="constrained")
    ax = figure.subplots()
    labels = []
    for place, ((kind, source, target), rows) in enumerate(groups):
        ends = rows["cosine"].quantile([0.05, 0.25, 0.5, 0.75, 0.95]).tolist()
        for (low, high), width in (((ends[0], ends[4]), 1.0), ((ends[1], ends[3]), 5.0)):
            ax.plot(
                [low, high],
                [-place] * 2,
                color=TASK_COLOURS[source],
                lw=width,
                alpha=1 if width == 1 else 0.45,
                solid_capstyle="butt",
            )
        ax.plot(ends[2], -place, ls="", marker="o", ms=5.5, color=TASK_COLOURS[source], mec="white", mew=0.6)
        labels.append(f"{source} to {target}" if kind == "models" else f"two classifiers, {target}")
    ax.axvline(0, color=INK, ls="--", lw=1.2)
    ax.set_yticks([-place for place in range(len(groups))], labels)
    ax.set_ylim(0.5 - len(groups), 0.5)
    ax.set_xlabel("cosine of the two offsets")
    ax.grid(axis="y", visible=False)
    return figure
