"""Scores of words where they were learned and after transfer."""

from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from vwlib.book.figures import style
from vwlib.book.figures.style import GREY, INK, METRICS, PAPER_HATCH, POINT, TASK_COLOURS, TASK_MARKERS, Look
from vwlib.concepts import TASKS
from vwlib.ledger.summary import is_diagonal

#: Lines of the floor, the anchor word, and of the ceiling, the concept's own name.
REFERENCES = {"name": ("concept's own name", "--"), "anchor": ("anchor word", ":")}
REFERENCE_LOOKS: dict[str, Look] = {name: {"ls": dashes, "lw": 1.3} for name, dashes in REFERENCES.values()}
DIAMOND: Look = {"ls": "", "marker": "D", "ms": 5, "mfc": "white", "mec": INK}
TICK: Look = {"ls": "", "marker": "|", "ms": 9, "mew": 1.3}
PAPER_LINE: Look = {"ls": (0, (4, 2)), "lw": 1.1, "ms": 4, "mfc": "white"}


def _panels(datasets: list, height: float, sharex: Literal["col", "all"]) -> tuple[Figure, np.ndarray]:
    """A row of panels for each dataset, a panel for each target task."""
    figure = Figure(figsize=(style.WIDTH, height), layout="constrained")
    axes = figure.subplots(len(datasets), len(TASKS), sharey=True, sharex=sharex, squeeze=False)
    for ax, target in zip(axes[0], TASKS, strict=True):
        ax.set_title(f"scored on {target}:\n{METRICS[target]}")
    for line, dataset in zip(axes, datasets, strict=True):
        line[0].set(ylabel=f"{dataset}\nmean over trials".lstrip(), ylim=(0, 1.05))
        for ax in line:
            ax.grid(axis="x", visible=False)
    return figure, axes


def transfer_bars(summary: pd.DataFrame, paper: pd.DataFrame, off_diagonal: pd.DataFrame) -> Figure:
    """Figure 3: a panel a target; for each source our bar and, hatched, the paper's, with 95 % intervals.

    The tables have columns `evaluated_on`, `trained_on`, `mean`, `low`, `high`, perhaps `dataset`, each of which has a
    row of panels. Sources "anchor" and "name" of `summary` become lines; diamonds mark the means of `off_diagonal`.
    """
    datasets = list(summary["dataset"].unique()) if "dataset" in summary else [""]
    figure, axes = _panels(datasets, 3.7 if len(datasets) == 1 else 1.5 + 1.75 * len(datasets), "col")
    for line, dataset in zip(axes, datasets, strict=True):
        for ax, target in zip(line, TASKS, strict=True):
            tables = (
                table[(table["evaluated_on"] == target) & (table["dataset"] == dataset if dataset else True)]
                for table in (summary, paper, off_diagonal)
            )
            _transfer_panel(ax, *(table.set_index("trained_on") for table in tables))
    for ax, target in zip(axes[-1], TASKS, strict=True):
        names = [f"{source} (own)" if source == target else source for source in TASKS]
        ax.set_xticks(range(len(TASKS)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes[-1, 1].set_xlabel("word learned for")
    bars = [
        Patch(facecolor=GREY, edgecolor=GREY, label="here"),
        Patch(facecolor=style.lighter(GREY), edgecolor=GREY, hatch=PAPER_HATCH, label="paper"),
    ]
    looks = {"here, off-diagonal": DIAMOND} | REFERENCE_LOOKS
    style.legend_below(figure, looks, patches=bars, columnspacing=1.2, handletextpad=0.5)
    return figure


def _transfer_panel(ax: Axes, ours: pd.DataFrame, theirs: pd.DataFrame, off_diagonal: pd.DataFrame) -> None:
    """The bars of one target task; the tables' index is the source."""
    for place, (source, colour) in enumerate(TASK_COLOURS.items()):
        hatched: Look = {"facecolor": style.lighter(colour), "hatch": PAPER_HATCH}
        for table, shift, look in ((ours, -0.2, {"facecolor": colour}), (theirs, 0.2, hatched)):
            if source in table.index:
                mean, *ends = table.loc[source, ["mean", "low", "high"]]
                style.draw_bar(ax, place + shift, mean, ends, edgecolor=colour, **look)
    means = off_diagonal["mean"].reindex(TASKS).dropna()
    ax.plot([TASKS.index(source) - 0.2 for source in means.index], means, zorder=4, **DIAMOND)
    _draw_references(ax, ours["mean"], lw=1.3, zorder=3)


def _draw_references(ax: Axes, means: pd.Series, **look: float) -> None:
    for name, (_, dashes) in REFERENCES.items():
        if name in means.index:
            ax.axhline(means[name], color=INK, ls=dashes, **look)


def transfer_rows(table: pd.DataFrame) -> Figure:
    """Figure 3's means between floors and ceilings: a panel a target, a row for what is scored (`row_table`).

    A point with its 95 % interval is a source, by colour and shape; a tick what the target has itself in its place.
    """
    names = list(table["row"].unique())
    looks = style.of_tasks("from {}", ls="") | {"what the target has itself": TICK}
    figure, panels = style.panels(TASKS, 0.3 * len(names) + 1.4, "scored on\n{}", ylim=(0.5 - len(names), 0.5))
    for target, ax in panels.items():
        for row in table[table["evaluated_on"] == target].itertuples():
            source = TASKS.index(row.trained_on) if row.trained_on in TASKS else 1
            look = looks.get(f"from {row.trained_on}", {"color": INK, "marker": "D", "ls": ""})
            height = -names.index(row.row) + 0.25 * (1 - source)
            ax.plot([row.low, row.high], [height] * 2, color=look["color"], lw=1.2)
            ax.plot(row.mean, height, zorder=3, ms=4.5, **look)
            ax.plot(row.own, height, mec=INK, zorder=4, **TICK)
        ax.set(xlim=(-0.03, 1.03), xlabel=METRICS[target])
        ax.grid(axis="y", lw=0.5)
    figure.axes[0].set_yticks([-place for place in range(len(names))], names)
    style.legend_below(figure, looks, ncols=2)
    return figure


def delta_curves(summary: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """Figure 6: mean score against delta, our curves and the paper's, a row of panels a dataset and a panel a target.

    The tables have columns `dataset`, `delta` (missing: unconstrained, the rightmost point), `evaluated_on`,
    `trained_on`, `mean`, `low` and `high`. Sources "anchor" and "name" become lines.
    """
    datasets = list(summary["dataset"].unique())
    radii = sorted({*summary["delta"].dropna(), *paper["delta"].dropna()})
    figure, axes = _panels(datasets, 1.5 + 1.7 * len(datasets), "all")
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
    looks = style.of_tasks("{} words", lw=1.6) | lines | REFERENCE_LOOKS
    style.legend_below(figure, looks, ncols=4, columnspacing=1.4)
    return figure


def _delta_panel(ax: Axes, ours: pd.DataFrame, theirs: pd.DataFrame, radii: list[float]) -> None:
    place = {radius: place for place, radius in enumerate(radii)}
    for source in TASKS:
        look = {"color": TASK_COLOURS[source], "marker": TASK_MARKERS[source]}
        own, paper = (
            rows.set_index(rows["delta"].map(place).fillna(len(radii))).sort_index()
            for rows in (table[table["trained_on"] == source] for table in (ours, theirs))
        )
        ax.fill_between(own.index, own["low"], own["high"], color=look["color"], alpha=0.18, lw=0)
        ax.plot(paper.index, paper["mean"], zorder=3, **look, **PAPER_LINE)
        ax.plot(own.index, own["mean"], lw=1.6, ms=4.5, zorder=4, **look)
    _draw_references(ax, ours.set_index("trained_on")["mean"], lw=1.1, zorder=2)
    ax.set_xlim(-0.25, len(radii) + 0.25)


def frequency_points(table: pd.DataFrame) -> Figure:
    """Mapped words' gain over their anchors against how often captions name the thing: table `frequency`.

    A point is the mean over a concept's anchors, from one source; open: nouns that are no concept. A panel a target.
    """
    targets = [task for task in TASKS if task in set(table["evaluated_on"])]
    xlabel, ylabel = "share of training captions that name the thing", "gain over the anchor word"
    figure, panels = style.panels(targets, 3.2, "scored on\n{}", xlabel, ylabel, sharex=True)
    for target, ax in panels.items():
        own = table[table["evaluated_on"] == target]
        for (source, nouns, _), words in own.groupby(["trained_on", "nouns", "concept"], sort=False):
            look = style.filled(TASK_COLOURS[source], nouns == "concepts") | {"marker": TASK_MARKERS[source], "ms": 5}
            ax.plot(10 ** words["frequency"].mean(), words["gain"].mean(), ls="", **look)
        ax.axhline(0, color=INK, ls="--", lw=1.2)
        ax.set_xscale("log")
    names = {"concepts": "the study's concepts", "rarer": "other nouns"}
    looks = {
        name: POINT | {"ms": 5} | style.filled(GREY, nouns == "concepts")
        for nouns, name in names.items()
        if nouns in set(table["nouns"])
    }
    style.legend_below(figure, style.of_tasks("{} words", ls="") | looks, ncols=3)
    return figure


def concept_points(table: pd.DataFrame, world: str, near: float) -> Figure:
    """Claims 4 and 31: mean score of each concept's words on their own task, off the diagonal, in the study's `table`.

    Filled: unconstrained words; open: those within `near` of their anchor; ticks: the anchor words alone.
    """
    off = table[~is_diagonal(table, world)]
    floor, own = off[off["trained_on"] == "anchor"], off[off["trained_on"] == off["evaluated_on"]]
    rows = list(dict.fromkeys(zip(table["dataset"], table["concept"], strict=True)))
    datasets = list(dict.fromkeys(dataset for dataset, _ in rows))
    height = {row: -place - 1.2 * datasets.index(row[0]) for place, row in enumerate(rows)}
    figure, panels = style.panels(TASKS, 0.17 * (len(rows) + 1.2 * len(datasets)) + 1.2)
    tick, point = {"ls": "", "marker": "|", "mec": INK, "ms": 7, "mew": 1.2}, POINT | {"ms": 5}
    for task, ax in panels.items():
        looks: list[tuple[pd.DataFrame, Look]] = [
            (floor, tick),
            (own[own["delta"] == near], point | style.filled(TASK_COLOURS[task], False)),
            (own[own["delta"].isna()], point | style.filled(TASK_COLOURS[task], True)),
        ]
        for words, look in looks:
            means = words[words["evaluated_on"] == task].groupby(["dataset", "concept"])["value"].mean()
            ax.plot(list(means), [height[row] for row in means.index], **look)
        ax.set(xlim=(-0.04, 1.04), xlabel=METRICS[task])
        ax.grid(axis="y", lw=0.5)
    first = figure.axes[0]
    first.set_yticks(list(height.values()), [concept for _, concept in rows], fontsize=7)
    first.set_ylim(min(height.values()) - 0.8, 1.6)
    for dataset in datasets:
        top = max(place for row, place in height.items() if row[0] == dataset)
        where: Look = {"xycoords": ("axes fraction", "data"), "xytext": (-4, 0), "textcoords": "offset points"}
        first.annotate(dataset, (0, top + 0.95), **where, ha="right", va="center", fontsize=8, fontweight="bold")
    kinds = {"unconstrained": True, f"within delta = {near:g}": False}
    shown = {name: point | style.filled(INK, free) for name, free in kinds.items()}
    style.legend_below(figure, shown | {"anchor word": tick})
    return figure
