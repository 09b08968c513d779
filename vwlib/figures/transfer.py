"""Maps between word tables, and scores of words before and after them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from vwlib.figures.style import GREY, INK, METRICS, PAPER_HATCH, TASK_COLOURS, TASK_MARKERS, WIDTH, draw_bar, lighter
from vwlib.models import TASKS
from vwlib.statistics import summarise


def transfer_bars(summary: pd.DataFrame, paper: pd.DataFrame, off_diagonal: pd.DataFrame | None = None) -> Figure:
    """Figure 3 for one dataset: a panel for each target task; for each source task our bar and, hatched, the paper's, with 95 % intervals.

    The tables have columns `evaluated_on`, `trained_on`, `mean`, `low`, `high`. Rows of `summary` trained on "anchor" and "name" become the
    lines of floor and ceiling; diamonds mark the means of `off_diagonal`.
    """
    figure = Figure(figsize=(WIDTH, 3.7), layout="constrained")
    axes = figure.subplots(1, len(TASKS), sharey=True)
    for ax, target in zip(axes, TASKS, strict=True):
        ours, theirs = (table[table["evaluated_on"] == target].set_index("trained_on") for table in (summary, paper))
        for place, source in enumerate(TASKS):
            colour = TASK_COLOURS[source]
            if source in ours.index:
                draw_bar(ax, place - 0.2, ours.loc[source], facecolor=colour, edgecolor=colour)
            if source in theirs.index:
                draw_bar(ax, place + 0.2, theirs.loc[source], facecolor=lighter(colour), edgecolor=colour, hatch=PAPER_HATCH)
        if off_diagonal is not None:
            points = off_diagonal[(off_diagonal["evaluated_on"] == target) & off_diagonal["trained_on"].isin(TASKS)]
            ax.plot([TASKS.index(s) - 0.2 for s in points["trained_on"]], points["mean"], ls="", marker="D", ms=5, mfc="white", mec=INK, zorder=4)
        for row, style in (("anchor", ":"), ("name", "--")):
            if row in ours.index:
                ax.axhline(ours.loc[row, "mean"], color=INK, ls=style, lw=1.3, zorder=3)
        ax.set_xticks(
            range(len(TASKS)), [f"{source} (own)" if source == target else source for source in TASKS], rotation=30, ha="right", rotation_mode="anchor"
        )
        ax.set_title(f"scored on {target}:\n{METRICS[target]}")
        ax.grid(axis="x", visible=False)
        ax.set_ylim(0, 1.05)
    axes[1].set_xlabel("word learned for")
    axes[0].set_ylabel("mean over trials")
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


def map_quality_bars(quality: pd.DataFrame) -> Figure:
    """How often the map takes a held-out word to its own embedding, for each ordered pair: nearest word, and among the nearest five.

    `quality` is the table of `vwlib.transfer.held_out_quality`, of one pair or several.
    """
    pairs = quality[["source", "target"]].drop_duplicates().itertuples(index=False)
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    ax = figure.subplots()
    labels = []
    for place, (source, target) in enumerate(pairs):
        words = quality[(quality["source"] == source) & (quality["target"] == target)]
        colour = TASK_COLOURS[source]
        for shift, column, look in ((-0.2, "1", {"facecolor": colour}), (0.2, "5", {"facecolor": lighter(colour), "hatch": ".."})):
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
    quality: pd.DataFrame, column: str = "error", xlabel: str = "distance to the true embedding (in distances to its nearest word)"
) -> Figure:
    """The distribution of `column` over words, a panel for each target task and a line for each source; a vertical line at 1."""
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
    handles = [Line2D([], [], color=TASK_COLOURS[task], marker=TASK_MARKERS[task], ms=5, lw=1.5, label=f"from {task}") for task in TASKS]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure
