"""Maps between word tables, and scores of words before and after them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from vwlib.book.figures.style import (
    GREY,
    INK,
    METRICS,
    PAPER_HATCH,
    TASK_COLOURS,
    TASK_MARKERS,
    WIDTH,
    draw_bar,
    lighter,
)
from vwlib.concepts import TASKS
from vwlib.ledger.statistics import summarise
from vwlib.ledger.summary import is_diagonal

#: Lines of the floor, the anchor word, and of the ceiling, the concept's own name.
REFERENCE_STYLES = {"anchor": ":", "name": "--"}


def transfer_bars(summary: pd.DataFrame, paper: pd.DataFrame, off_diagonal: pd.DataFrame | None = None) -> Figure:
    """Figure 3: a panel for each target task; for each source task our bar and, hatched, the paper's, with 95 %
    intervals.

    The tables have columns `evaluated_on`, `trained_on`, `mean`, `low`, `high`; with a column `dataset`, each dataset
    has a row of panels. Rows of `summary` trained on "anchor" and "name" become the lines of floor and ceiling;
    diamonds mark the means of `off_diagonal`.
    """
    datasets = list(summary["dataset"].unique()) if "dataset" in summary else [None]
    figure = Figure(figsize=(WIDTH, 3.7 if len(datasets) == 1 else 1.5 + 1.75 * len(datasets)), layout="constrained")
    axes = figure.subplots(len(datasets), len(TASKS), sharex="col", sharey=True, squeeze=False)
    for line, dataset in zip(axes, datasets, strict=True):
        ours, theirs = _of_dataset(summary, dataset), _of_dataset(paper, dataset)
        off = None if off_diagonal is None else _of_dataset(off_diagonal, dataset)
        for ax, target in zip(line, TASKS, strict=True):
            _transfer_panel(ax, target, ours, theirs, off)
        line[0].set_ylabel("mean over trials" if dataset is None else f"{dataset}\nmean over trials")
    for ax, target in zip(axes[0], TASKS, strict=True):
        ax.set_title(f"scored on {target}:\n{METRICS[target]}")
    for ax, target in zip(axes[-1], TASKS, strict=True):
        names = [f"{source} (own)" if source == target else source for source in TASKS]
        ax.set_xticks(range(len(TASKS)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes[-1, 1].set_xlabel("word learned for")
    handles: list[Patch | Line2D] = [
        Patch(facecolor=GREY, edgecolor=GREY, label="here"),
        Patch(facecolor=lighter(GREY), edgecolor=GREY, hatch=PAPER_HATCH, label="paper"),
        Line2D([], [], color=INK, ls="--", lw=1.3, label="concept's own name"),
        Line2D([], [], color=INK, ls=":", lw=1.3, label="anchor word"),
    ]
    if off_diagonal is not None:
        handles.insert(1, Line2D([], [], ls="", marker="D", ms=5, mfc="white", mec=INK, label="here, off-diagonal"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.2, handletextpad=0.5)
    return figure


def _of_dataset(table: pd.DataFrame, dataset: str | None) -> pd.DataFrame:
    return table if dataset is None else table[table["dataset"] == dataset]


def _transfer_panel(
    ax: Axes, target: str, ours: pd.DataFrame, theirs: pd.DataFrame, off_diagonal: pd.DataFrame | None
) -> None:
    ours, theirs = (table[table["evaluated_on"] == target].set_index("trained_on") for table in (ours, theirs))
    for place, source in enumerate(TASKS):
        colour = TASK_COLOURS[source]
        if source in ours.index:
            draw_bar(ax, place - 0.2, ours.loc[source], facecolor=colour, edgecolor=colour)
        if source in theirs.index:
            draw_bar(
                ax, place + 0.2, theirs.loc[source], facecolor=lighter(colour), edgecolor=colour, hatch=PAPER_HATCH
            )
    if off_diagonal is not None:
        points = off_diagonal[(off_diagonal["evaluated_on"] == target) & off_diagonal["trained_on"].isin(TASKS)]
        ax.plot(
            [TASKS.index(s) - 0.2 for s in points["trained_on"]],
            points["mean"],
            ls="",
            marker="D",
            ms=5,
            mfc="white",
            mec=INK,
            zorder=4,
        )
    for row, style in REFERENCE_STYLES.items():
        if row in ours.index:
            ax.axhline(ours.loc[row, "mean"], color=INK, ls=style, lw=1.3, zorder=3)
    ax.grid(axis="x", visible=False)
    ax.set_ylim(0, 1.05)


def delta_curves(summary: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """Figure 6: mean score against delta, a row of panels for each dataset and a panel for each target; for each source
    our curve and the paper's.

    The tables have columns `dataset`, `delta` (missing: unconstrained, the rightmost point), `evaluated_on`,
    `trained_on`, `mean`, `low` and `high`. Our curves have bands from `low` to `high`. Rows trained on "anchor" and
    "name" become the lines of floor and ceiling.
    """
    datasets = list(summary["dataset"].unique())
    radii = sorted({*summary["delta"].dropna(), *paper["delta"].dropna()})
    figure = Figure(figsize=(WIDTH, 1.5 + 1.7 * len(datasets)), layout="constrained")
    axes = figure.subplots(len(datasets), len(TASKS), sharex=True, sharey=True, squeeze=False)
    for line, dataset in zip(axes, datasets, strict=True):
        for ax, target in zip(line, TASKS, strict=True):
            own, theirs = (
                table[(table["dataset"] == dataset) & (table["evaluated_on"] == target)] for table in (summary, paper)
            )
            _delta_panel(ax, own, theirs, radii)
        line[0].set_ylabel(f"{dataset}\nmean over trials")
    for ax, target in zip(axes[0], TASKS, strict=True):
        ax.set_title(f"scored on {target}:\n{METRICS[target]}")
    for ax in axes[-1]:
        ax.set_xticks(range(len(radii) + 1), [*(f"{radius:g}" for radius in radii), "free"])
    axes[-1, 1].set_xlabel("radius of the ball, delta (distances from the anchor to its nearest word)")
    sources = [
        Line2D([], [], color=TASK_COLOURS[task], marker=TASK_MARKERS[task], ms=5, lw=1.6, label=f"{task} words")
        for task in TASKS
    ]
    rest = [
        Line2D([], [], color=GREY, lw=1.6, label="here"),
        Line2D([], [], color=GREY, lw=1.1, ls=(0, (4, 2)), marker="o", ms=4, mfc="white", label="paper"),
        Line2D([], [], color=INK, ls="--", lw=1.1, label="own name"),
        Line2D([], [], color=INK, ls=":", lw=1.3, label="anchor word"),
    ]
    figure.legend(handles=sources + rest, loc="outside lower center", ncols=4, columnspacing=1.4, handletextpad=0.6)
    return figure


def _delta_panel(ax: Axes, ours: pd.DataFrame, theirs: pd.DataFrame, radii: list[float]) -> None:
    for source in TASKS:
        colour, marker = TASK_COLOURS[source], TASK_MARKERS[source]
        own, paper = (_by_radius(table[table["trained_on"] == source], radii) for table in (ours, theirs))
        ax.fill_between(own.index, own["low"], own["high"], color=colour, alpha=0.18, lw=0)
        ax.plot(
            paper.index, paper["mean"], color=colour, ls=(0, (4, 2)), lw=1.1, marker=marker, ms=4, mfc="white", zorder=3
        )
        ax.plot(own.index, own["mean"], color=colour, lw=1.6, marker=marker, ms=4.5, zorder=4)
    for row, style in REFERENCE_STYLES.items():
        for mean in ours.loc[ours["trained_on"] == row, "mean"]:
            ax.axhline(mean, color=INK, ls=style, lw=1.1, zorder=2)
    ax.grid(axis="x", visible=False)
    ax.set_xlim(-0.25, len(radii) + 0.25)
    ax.set_ylim(0, 1.05)


def _by_radius(table: pd.DataFrame, radii: list[float]) -> pd.DataFrame:
    """The table by place on the axis: radii in their order, then the unconstrained words."""
    return table.set_index(
        table["delta"].map({radius: place for place, radius in enumerate(radii)}).fillna(len(radii))
    ).sort_index()


def frequency_points(table: pd.DataFrame) -> Figure:
    """B10: what carried words of a concept gain over their anchors, against how often captions name it; a panel for
    each target task.

    `table` is that of the experiment `frequency`. A point is the mean over anchors of a concept's words from one
    source; open: nouns that are no concept.
    """
    targets = [task for task in TASKS if task in set(table["evaluated_on"])]
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots(1, len(targets), sharex=True, sharey=True, squeeze=False)[0]
    for ax, target in zip(axes, targets, strict=True):
        own = table[table["evaluated_on"] == target]
        for (source, nouns, _), words in own.groupby(["trained_on", "nouns", "concept"], sort=False):
            look = {"mfc": TASK_COLOURS[source] if nouns == "concepts" else "white", "mec": TASK_COLOURS[source]}
            ax.plot(
                10 ** words["frequency"].mean(), words["gain"].mean(), ls="", marker=TASK_MARKERS[source], ms=5, **look
            )
        ax.axhline(0, color=INK, ls="--", lw=1.2)
        ax.set_xscale("log")
        ax.set_title(f"scored on\n{target}")
    axes[0].set_ylabel("gain over the anchor word")
    axes[len(axes) // 2].set_xlabel("share of training captions that name the thing")
    handles = [
        Line2D([], [], ls="", color=TASK_COLOURS[task], marker=TASK_MARKERS[task], ms=5, label=f"{task} words")
        for task in TASKS
    ]
    kinds = [("concepts", "the study's concepts", GREY), ("rarer", "other nouns", "white")]
    handles += [
        Line2D([], [], ls="", marker="o", ms=5, mfc=face, mec=GREY, label=name)
        for kind, name, face in kinds
        if kind in set(table["nouns"])
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def map_quality_bars(quality: pd.DataFrame) -> Figure:
    """How often the map takes a held-out word to its own embedding, for each ordered pair: nearest word, and among the
    nearest five.

    `quality` is the table of `vwlib.experiments.map_quality.held_out_quality`, of one pair or several.
    """
    pairs = quality[["source", "target"]].drop_duplicates().itertuples(index=False)
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    ax = figure.subplots()
    labels = []
    for place, (source, target) in enumerate(pairs):
        words = quality[(quality["source"] == source) & (quality["target"] == target)]
        colour = TASK_COLOURS[source]
        for shift, column, look in (
            (-0.2, "1", {"facecolor": colour}),
            (0.2, "5", {"facecolor": lighter(colour), "hatch": ".."}),
        ):
            low_high = summarise(words, ["source"], f"top{column}").iloc[0]
            draw_bar(ax, place + shift, low_high, edgecolor=colour, **look)
            chance = words[f"chance{column}"].iloc[0]
            ax.plot([place + shift - 0.19, place + shift + 0.19], [chance, chance], color=INK, lw=1.6, zorder=4)
        labels.append(f"{source}\nto {target}")
    ax.set_xticks(range(len(labels)), labels, fontsize=8.5)
    ax.set_ylim(0, 1.05)
    ax.set_ylabel("share of held-out words")
    ax.grid(axis="x", visible=False)
    handles = [
        Patch(facecolor=GREY, edgecolor=GREY, label="its own embedding is the nearest"),
        Patch(facecolor=lighter(GREY), edgecolor=GREY, hatch="..", label="is among the nearest five"),
        Line2D([], [], color=INK, lw=1.6, label="chance"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def distance_histogram(
    quality: pd.DataFrame,
    column: str = "error",
    xlabel: str = "distance to the true embedding (in distances to its nearest word)",
) -> Figure:
    """The distribution of `column` over words, a panel for each target task and a line for each source; a vertical line
    at 1.
    """
    targets = [task for task in TASKS if task in set(quality["target"])]
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    axes = figure.subplots(1, len(targets), sharey=True, sharex=True, squeeze=False)[0]
    edges = np.linspace(0, float(quality[column].quantile(0.995)) * 1.05, 41)
    for ax, target in zip(axes, targets, strict=True):
        for source, words in quality[quality["target"] == target].groupby("source", sort=False):
            share, _ = np.histogram(words[column], edges)
            centres = (edges[1:] + edges[:-1]) / 2
            ax.plot(
                centres,
                share / len(words),
                color=TASK_COLOURS[str(source)],
                marker=TASK_MARKERS[str(source)],
                markevery=4,
                ms=5,
                lw=1.5,
            )
        ax.axvline(1, color=INK, ls="--", lw=1.2)
        ax.set_title(f"into {target}")
        ax.set_ylim(bottom=0)
    axes[0].set_ylabel("share of words")
    axes[len(axes) // 2].set_xlabel(xlabel)
    handles = [
        Line2D([], [], color=TASK_COLOURS[task], marker=TASK_MARKERS[task], ms=5, lw=1.5, label=f"from {task}")
        for task in TASKS
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def concept_points(table: pd.DataFrame, world: str, near: float) -> Figure:
    """Claims 4 and 31: mean scores of each concept's words on their own task, a panel for each task and a row for each
    concept of each dataset.

    `table` is the study's. Filled: unconstrained words; open: those within `near` of their anchor; ticks: the anchor
    words alone. All off the diagonal.
    """
    off = table[~is_diagonal(table, world)]
    floor, own = off[off["trained_on"] == "anchor"], off[off["trained_on"] == off["evaluated_on"]]
    rows = list(dict.fromkeys(zip(table["dataset"], table["concept"], strict=True)))
    datasets = list(dict.fromkeys(dataset for dataset, _ in rows))
    height = {row: -place - 1.2 * datasets.index(row[0]) for place, row in enumerate(rows)}
    figure = Figure(figsize=(WIDTH, 0.17 * (len(rows) + 1.2 * len(datasets)) + 1.2), layout="constrained")
    axes = figure.subplots(1, len(TASKS), sharey=True)
    for ax, task in zip(axes, TASKS, strict=True):
        colour = TASK_COLOURS[task]
        looks: list[tuple[pd.DataFrame, dict[str, Any]]] = [
            (floor, {"marker": "|", "mec": INK, "ms": 7, "mew": 1.2}),
            (own[own["delta"] == near], {"marker": "o", "mfc": "white", "mec": colour, "ms": 5}),
            (own[own["delta"].isna()], {"marker": "o", "mfc": colour, "mec": colour, "ms": 5}),
        ]
        for words, look in looks:
            means = words[words["evaluated_on"] == task].groupby(["dataset", "concept"])["value"].mean()
            ax.plot(list(means), [height[row] for row in means.index], ls="", **look)
        ax.set(xlim=(-0.04, 1.04), xlabel=METRICS[task], title=task)
        ax.grid(axis="y", lw=0.5)
    axes[0].set_yticks(list(height.values()), [concept for _, concept in rows], fontsize=7)
    axes[0].set_ylim(min(height.values()) - 0.8, 1.6)
    for dataset in datasets:
        top = max(place for row, place in height.items() if row[0] == dataset)
        place = {"xycoords": ("axes fraction", "data"), "xytext": (-4, 0), "textcoords": "offset points"}
        axes[0].annotate(dataset, (0, top + 0.95), **place, ha="right", va="center", fontsize=8, fontweight="bold")
    handles = [
        Line2D([], [], ls="", marker="o", ms=5, mfc=INK, mec=INK, label="unconstrained"),
        Line2D([], [], ls="", marker="o", ms=5, mfc="white", mec=INK, label=f"within delta = {near:g}"),
        Line2D([], [], ls="", marker="|", ms=7, mew=1.2, mec=INK, label="anchor word"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure
