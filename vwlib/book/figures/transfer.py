"""Scores of words where they were learned and after transfer, and how well the maps carry ordinary words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from vwlib.book.figures.style import (
    GREY,
    INK,
    METRICS,
    PAPER_HATCH,
    POINT,
    TASK_COLOURS,
    TASK_MARKERS,
    WIDTH,
    draw_bar,
    filled,
    legend_below,
    lighter,
)
from vwlib.concepts import TASKS
from vwlib.ledger.statistics import two_way_clustered_estimate
from vwlib.ledger.summary import is_diagonal

#: Lines of the floor, the anchor word, and of the ceiling, the concept's own name.
REFERENCE_STYLES = {"anchor": ":", "name": "--"}
REFERENCES = {"concept's own name": {"ls": "--", "lw": 1.3}, "anchor word": {"ls": ":", "lw": 1.3}}
DIAMOND: dict[str, Any] = {"ls": "", "marker": "D", "ms": 5, "mfc": "white", "mec": INK}
PAPER_LINE: dict[str, Any] = {"ls": (0, (4, 2)), "lw": 1.1, "ms": 4, "mfc": "white"}


def of_tasks(label: str, **look: Any) -> dict[str, dict[str, Any]]:
    """Looks for a legend of the tasks, by a label with their name."""
    return {label.format(task): {"color": TASK_COLOURS[task], "marker": TASK_MARKERS[task], **look} for task in TASKS}


def _panels(datasets: list, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """A row of panels for each dataset, a panel for each target task."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(len(datasets), len(TASKS), sharey=True, squeeze=False, **options)
    for ax, target in zip(axes[0], TASKS, strict=True):
        ax.set_title(f"scored on {target}:\n{METRICS[target]}")
    for line, dataset in zip(axes, datasets, strict=True):
        line[0].set_ylabel("mean over trials" if dataset is None else f"{dataset}\nmean over trials")
        line[0].set_ylim(0, 1.05)
        for ax in line:
            ax.grid(axis="x", visible=False)
    return figure, axes


def transfer_bars(summary: pd.DataFrame, paper: pd.DataFrame, off_diagonal: pd.DataFrame | None = None) -> Figure:
    """Figure 3: a panel for each target task; for each source task our bar and, hatched, the paper's, with 95 %
    intervals.

    The tables have columns `evaluated_on`, `trained_on`, `mean`, `low`, `high`; with a column `dataset`, each dataset
    has a row of panels. Rows of `summary` trained on "anchor" and "name" become the lines of floor and ceiling;
    diamonds mark the means of `off_diagonal`.
    """
    datasets = list(summary["dataset"].unique()) if "dataset" in summary else [None]
    figure, axes = _panels(datasets, 3.7 if len(datasets) == 1 else 1.5 + 1.75 * len(datasets), sharex="col")
    for line, dataset in zip(axes, datasets, strict=True):
        tables = [
            None if table is None else table if dataset is None else table[table["dataset"] == dataset]
            for table in (summary, paper, off_diagonal)
        ]
        for ax, target in zip(line, TASKS, strict=True):
            _transfer_panel(
                ax, *(t if t is None else t[t["evaluated_on"] == target].set_index("trained_on") for t in tables)
            )
    for ax, target in zip(axes[-1], TASKS, strict=True):
        names = [f"{source} (own)" if source == target else source for source in TASKS]
        ax.set_xticks(range(len(TASKS)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes[-1, 1].set_xlabel("word learned for")
    bars = [
        Patch(facecolor=GREY, edgecolor=GREY, label="here"),
        Patch(facecolor=lighter(GREY), edgecolor=GREY, hatch=PAPER_HATCH, label="paper"),
    ]
    diamonds = {} if off_diagonal is None else {"here, off-diagonal": DIAMOND}
    legend_below(figure, diamonds | REFERENCES, patches=bars, columnspacing=1.2, handletextpad=0.5)
    return figure


def _transfer_panel(ax: Axes, ours: pd.DataFrame, theirs: pd.DataFrame, off_diagonal: pd.DataFrame | None) -> None:
    """The bars of one target task; the tables' index is the source."""
    for place, (source, colour) in enumerate(TASK_COLOURS.items()):
        if source in ours.index:
            draw_bar(ax, place - 0.2, ours.loc[source], facecolor=colour, edgecolor=colour)
        if source in theirs.index:
            look = {"facecolor": lighter(colour), "edgecolor": colour, "hatch": PAPER_HATCH}
            draw_bar(ax, place + 0.2, theirs.loc[source], **look)
    if off_diagonal is not None:
        means = off_diagonal["mean"].reindex(TASKS).dropna()
        ax.plot([TASKS.index(source) - 0.2 for source in means.index], means, zorder=4, **DIAMOND)
    _draw_references(ax, ours["mean"], lw=1.3, zorder=3)


def _draw_references(ax: Axes, means: pd.Series, **look: Any) -> None:
    for name, style in REFERENCE_STYLES.items():
        if name in means.index:
            ax.axhline(means[name], color=INK, ls=style, **look)


def delta_curves(summary: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """Figure 6: mean score against delta, a row of panels for each dataset and a panel for each target; for each source
    our curve and the paper's.

    The tables have columns `dataset`, `delta` (missing: unconstrained, the rightmost point), `evaluated_on`,
    `trained_on`, `mean`, `low` and `high`. Our curves have bands from `low` to `high`. Rows trained on "anchor" and
    "name" become the lines of floor and ceiling.
    """
    datasets = list(summary["dataset"].unique())
    radii = sorted({*summary["delta"].dropna(), *paper["delta"].dropna()})
    figure, axes = _panels(datasets, 1.5 + 1.7 * len(datasets), sharex=True)
    for line, dataset in zip(axes, datasets, strict=True):
        for ax, target in zip(line, TASKS, strict=True):
            ours, theirs = (
                table[(table["dataset"] == dataset) & (table["evaluated_on"] == target)] for table in (summary, paper)
            )
            _delta_panel(ax, ours, theirs, radii)
    for ax in axes[-1]:
        ax.set_xticks(range(len(radii) + 1), [*(f"{radius:g}" for radius in radii), "free"])
    axes[-1, 1].set_xlabel("radius of the ball, delta (distances from the anchor to its nearest word)")
    lines = {"here": {"color": GREY, "lw": 1.6}, "paper": {"color": GREY, "marker": "o", **PAPER_LINE}}
    legend_below(figure, of_tasks("{} words", lw=1.6) | lines | REFERENCES, ncols=4, columnspacing=1.4)
    return figure


def _delta_panel(ax: Axes, ours: pd.DataFrame, theirs: pd.DataFrame, radii: list[float]) -> None:
    for source in TASKS:
        look = {"color": TASK_COLOURS[source], "marker": TASK_MARKERS[source]}
        own, paper = (_by_radius(table[table["trained_on"] == source], radii) for table in (ours, theirs))
        ax.fill_between(own.index, own["low"], own["high"], color=look["color"], alpha=0.18, lw=0)
        ax.plot(paper.index, paper["mean"], zorder=3, **look, **PAPER_LINE)
        ax.plot(own.index, own["mean"], lw=1.6, ms=4.5, zorder=4, **look)
    _draw_references(ax, ours.set_index("trained_on")["mean"], lw=1.1, zorder=2)
    ax.set_xlim(-0.25, len(radii) + 0.25)


def _by_radius(table: pd.DataFrame, radii: list[float]) -> pd.DataFrame:
    """The table by place on the axis: radii in their order, then the unconstrained words."""
    places = table["delta"].map({radius: place for place, radius in enumerate(radii)}).fillna(len(radii))
    return table.set_index(places).sort_index()


def _target_panels(targets: Iterable[str], title: str, height: float, xlabel: str, ylabel: str) -> tuple[Figure, dict]:
    """A panel for each target task, which share their axes."""
    names = [task for task in TASKS if task in set(targets)]
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0]
    for ax, task in zip(axes, names, strict=True):
        ax.set_title(title.format(task))
    axes[0].set_ylabel(ylabel)
    axes[len(axes) // 2].set_xlabel(xlabel)
    return figure, dict(zip(names, axes, strict=True))


def frequency_points(table: pd.DataFrame) -> Figure:
    """What mapped words of a concept gain over their anchors, against how often captions name it; a panel for each
    target task.

    `table` is that of the experiment `frequency`. A point is the mean over anchors of a concept's words from one
    source; open: nouns that are no concept.
    """
    xlabel, ylabel = "share of training captions that name the thing", "gain over the anchor word"
    figure, panels = _target_panels(table["evaluated_on"], "scored on\n{}", 3.2, xlabel, ylabel)
    for target, ax in panels.items():
        own = table[table["evaluated_on"] == target]
        for (source, nouns, _), words in own.groupby(["trained_on", "nouns", "concept"], sort=False):
            look = filled(TASK_COLOURS[source], nouns == "concepts") | {"marker": TASK_MARKERS[source], "ms": 5}
            ax.plot(10 ** words["frequency"].mean(), words["gain"].mean(), ls="", **look)
        ax.axhline(0, color=INK, ls="--", lw=1.2)
        ax.set_xscale("log")
    kinds = {"concepts": ("the study's concepts", True), "rarer": ("other nouns", False)}
    nouns = {
        name: POINT | {"ms": 5} | filled(GREY, face)
        for kind, (name, face) in kinds.items()
        if kind in set(table["nouns"])
    }
    legend_below(figure, of_tasks("{} words", ls="") | nouns, ncols=3)
    return figure


def map_quality_bars(quality: pd.DataFrame) -> Figure:
    """How often the map takes a held-out word to its own embedding, for each ordered pair: nearest word, and among the
    nearest five, with 95 % intervals over words.

    `quality` is the table of `vwlib.experiments.map_quality.held_out_quality`, of one pair or several.
    """
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    ax = figure.subplots()
    pairs = quality.groupby(["source", "target"], sort=False)
    for place, ((source, _), words) in enumerate(pairs):
        colour = TASK_COLOURS[source]
        looks = {"1": {"facecolor": colour}, "5": {"facecolor": lighter(colour), "hatch": ".."}}
        for (column, look), shift in zip(looks.items(), (-0.2, 0.2), strict=True):
            share = two_way_clustered_estimate(
                {"share": words.assign(word=range(len(words)))}, "share", ("word",), None, f"top{column}", limits=(0, 1)
            )
            row = dict(zip(("mean", "low", "high"), (share.value, *share.interval()), strict=True))
            draw_bar(ax, place + shift, row, edgecolor=colour, **look)
            chance = words[f"chance{column}"].iloc[0]
            ax.plot([place + shift - 0.19, place + shift + 0.19], [chance, chance], color=INK, lw=1.6, zorder=4)
    ax.set_xticks(range(pairs.ngroups), [f"{source}\nto {target}" for source, target in pairs.groups], fontsize=8.5)
    ax.set_ylim(0, 1.05)
    ax.set_ylabel("share of held-out words")
    ax.grid(axis="x", visible=False)
    bars = [
        Patch(facecolor=GREY, edgecolor=GREY, label="its own embedding is the nearest"),
        Patch(facecolor=lighter(GREY), edgecolor=GREY, hatch="..", label="is among the nearest five"),
    ]
    legend_below(figure, {"chance": {"lw": 1.6}}, patches=bars)
    return figure


def distance_histogram(
    quality: pd.DataFrame,
    column: str = "error",
    xlabel: str = "distance to the true embedding (in distances to its nearest word)",
) -> Figure:
    """The distribution of `column` over words, a panel for each target task and a line for each source; a vertical line
    at 1.
    """
    figure, panels = _target_panels(quality["target"], "into {}", 2.9, xlabel, "share of words")
    edges = np.linspace(0, float(quality[column].quantile(0.995)) * 1.05, 41)
    for target, ax in panels.items():
        for source, words in quality[quality["target"] == target].groupby("source", sort=False):
            share, _ = np.histogram(words[column], edges)
            look = {"color": TASK_COLOURS[str(source)], "marker": TASK_MARKERS[str(source)], "markevery": 4}
            ax.plot((edges[1:] + edges[:-1]) / 2, share / len(words), ms=5, lw=1.5, **look)
        ax.axvline(1, color=INK, ls="--", lw=1.2)
        ax.set_ylim(bottom=0)
    legend_below(figure, of_tasks("from {}", lw=1.5))
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
    tick, point = {"ls": "", "marker": "|", "mec": INK, "ms": 7, "mew": 1.2}, POINT | {"ms": 5}
    for ax, (task, colour) in zip(axes, TASK_COLOURS.items(), strict=True):
        looks: list[tuple[pd.DataFrame, dict[str, Any]]] = [
            (floor, tick),
            (own[own["delta"] == near], point | filled(colour, False)),
            (own[own["delta"].isna()], point | filled(colour, True)),
        ]
        for words, look in looks:
            means = words[words["evaluated_on"] == task].groupby(["dataset", "concept"])["value"].mean()
            ax.plot(list(means), [height[row] for row in means.index], **look)
        ax.set(xlim=(-0.04, 1.04), xlabel=METRICS[task], title=task)
        ax.grid(axis="y", lw=0.5)
    axes[0].set_yticks(list(height.values()), [concept for _, concept in rows], fontsize=7)
    axes[0].set_ylim(min(height.values()) - 0.8, 1.6)
    for dataset in datasets:
        top = max(place for row, place in height.items() if row[0] == dataset)
        where = {"xycoords": ("axes fraction", "data"), "xytext": (-4, 0), "textcoords": "offset points"}
        axes[0].annotate(dataset, (0, top + 0.95), **where, ha="right", va="center", fontsize=8, fontweight="bold")
    words = {"unconstrained": point | filled(INK, True), f"within delta = {near:g}": point | filled(INK, False)}
    legend_below(figure, words | {"anchor word": tick})
    return figure
