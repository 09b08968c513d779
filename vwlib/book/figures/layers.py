"""The layers of text encoders."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from vwlib.book.figures.style import (
    ANCHOR_MARKERS,
    CONCEPT_COLOURS,
    GREY,
    INK,
    TASK_COLOURS,
    WIDTH,
    lighter,
    task_panels,
)
from vwlib.ledger.statistics import crossed_interval
from vwlib.models import TASKS


def layer_map(points: pd.DataFrame, row: str | None = None) -> Figure:
    """Figures 7 and 12 to 18: a point for each word, coloured by concept and shaped by anchor, in a panel for each
    layer.

    `points` is the table of `vwlib.experiments.layer_statistics.tsne_of_layers`; with `row`, each value of that column has a row of panels of
    its own.
    Raises ValueError for more than ten concepts or anchors, which could not be told apart.
    """
    concepts, anchors = list(points["concept"].unique()), list(points["anchor"].unique())
    if max(len(concepts), len(anchors)) > len(CONCEPT_COLOURS):
        raise ValueError(
            f"At most {len(CONCEPT_COLOURS)} concepts and anchors can be told apart; there are {len(concepts)} and {len(anchors)}."
        )
    colours, markers = (
        dict(zip(concepts, CONCEPT_COLOURS, strict=False)),
        dict(zip(anchors, ANCHOR_MARKERS, strict=False)),
    )
    groups = [("", points)] if row is None else [(str(name), group) for name, group in points.groupby(row, sort=False)]
    columns = max(group["layer"].nunique() for _, group in groups)
    figure = Figure(figsize=(WIDTH, 1.75 * len(groups) + 1.3), layout="constrained")
    axes = figure.subplots(len(groups), columns, squeeze=False)
    for line, (name, group) in zip(axes, groups, strict=True):
        for ax in line:
            ax.set(xticks=[], yticks=[])
            ax.grid(visible=False)
        for ax, (layer, chosen) in zip(line, group.groupby("layer"), strict=False):
            for (concept, anchor), words in chosen.groupby(["concept", "anchor"], sort=False):
                look = {"color": colours[concept], "marker": markers[anchor], "mec": INK, "mew": 0.3}
                ax.plot(words["x"], words["y"], ls="", ms=5, **look)
            ax.set_title(f"layer {layer}")
        for ax in line[group["layer"].nunique() :]:
            ax.set_visible(False)
        line[0].set_ylabel(textwrap.fill(name, 18))
    of_concepts = [
        Line2D([], [], ls="", marker="o", ms=6, color=colour, mec=INK, mew=0.3, label=concept)
        for concept, colour in colours.items()
    ]
    of_anchors = [
        Line2D([], [], ls="", marker=marker, ms=6, color=GREY, label=anchor) for anchor, marker in markers.items()
    ]
    spacing: dict[str, Any] = {"ncols": 5, "columnspacing": 1.2, "handletextpad": 0.2}
    figure.legend(handles=of_concepts, title="concept", loc="outside upper center", **spacing)
    figure.legend(handles=of_anchors, title="anchor", loc="outside lower center", **spacing)
    return figure


def agreement_curves(agreement: pd.DataFrame) -> Figure:
    """How far clusters of activations are the concepts and the anchors at each layer, a panel for each task, with 95 %
    intervals.

    `agreement` is the table of `vwlib.experiments.layer_statistics.cluster_agreement` with a column `task`, and `kind` where there are
    several sets of words.
    """
    curves = agreement[agreement["by"].isin(["concept", "anchor"])].rename(columns={"ari": "mean", "by": "line"})
    figure = _layer_panels(curves, "layer", "adjusted Rand index")
    for ax in figure.axes:
        ax.axhline(0, color=INK, lw=0.8)
    return figure


def truncation_curves(scores: pd.DataFrame) -> Figure:
    """Figure 7 as numbers: mean score of the concept and of the anchor against the number of blocks, a panel for each
    task.

    `scores` is the table of `vwlib.experiments.layer_statistics.truncation_scores`, with `kind` where there are several sets of words; the 95
    % intervals resample concepts and anchors. Words whose anchor is their concept's own are left out.
    """
    chosen = scores[scores["concept"] != scores["anchor_concept"]].rename(columns={"of": "line"})
    figure = _layer_panels(_crossed_means(chosen, "blocks"), "blocks", "mean score (table 1)")
    for ax in figure.axes:
        ax.set_ylim(0, 1.05)
    return figure


def probe_curves(scores: pd.DataFrame) -> Figure:
    """B8: how likely a linear probe of each layer finds the concept against the anchor, a panel for each task, with 95
    % crossed intervals.

    `scores` is the table of `vwlib.experiments.layer_statistics.probe_scores`, with `kind` where there are several sets of words; dotted: the
    probe's accuracy on real words. Words whose anchor is their concept's own are left out.
    """
    chosen = scores[scores["concept"] != scores["anchor_concept"]].assign(line="concept")
    figure = _layer_panels(_crossed_means(chosen, "layer"), "layer", "probability of the concept\nagainst the anchor")
    for task, ax in zip((task for task in TASKS if task in set(scores["task"])), figure.axes, strict=True):
        accuracy = scores[scores["task"] == task].groupby("layer")["accuracy"].mean()
        ax.plot(accuracy.index, accuracy, color=INK, ls=":", lw=1.2)
        ax.axhline(0.5, color=INK, lw=0.8)
        ax.set_ylim(-0.03, 1.05)
    return figure


def way_curves(ways: pd.DataFrame) -> Figure:
    """How much of the way from anchor to concept words have gone at each layer, a panel for each task, with 95 %
    crossed intervals.

    `ways` is the table of `vwlib.layers.projection_on_concept_direction` with a column `task`, and `kind` where there are several sets
    of words.
    """
    figure = _layer_panels(
        _crossed_means(ways.assign(line="concept"), "layer", trials=False),
        "layer",
        "share of the way\nfrom anchor to concept",
    )
    for ax in figure.axes:
        for height, style in ((0, "-"), (0.5, ":"), (1, "-")):
            ax.axhline(height, color=INK, ls=style, lw=0.8)
    return figure


def crossing_steps(crossings: pd.DataFrame, column: str = "crossing") -> Figure:
    """The share of words that have turned from anchor to concept by each layer (with as many blocks), a panel for each
    task and a line for each kind of word.

    `crossings` is the table of `vwlib.experiments.layer_statistics.flip_layers`, or of `half_projection_layer` with a column `task`; `column` holds
    the layer of the turn ("crossing" or "half"), empty for words that never turn.
    """
    kinds = list(crossings["kind"].unique()) if "kind" in crossings else [""]
    figure, panels = _block_panels(crossings)
    for task, ax in panels.items():
        own = crossings[crossings["task"] == task]
        blocks = np.arange(int(own["depth"].max()) + 1)
        for number, kind in enumerate(kinds):
            turns = own[own["kind"] == kind][column] if kind else own[column]
            if len(turns):
                share = [(turns <= block).mean() for block in blocks]
                ax.plot(blocks, share, drawstyle="steps-post", lw=1.6, ms=4, **_kind_look(task, number))
        ax.set_xlabel("layer")
        ax.set_ylim(0, 1.05)
    next(iter(panels.values())).set_ylabel("share of words")
    if any(kinds):
        figure.legend(handles=_kind_handles(kinds), loc="outside lower center", ncols=len(kinds))
    return figure


def disagreement_points(words: pd.DataFrame) -> Figure:
    """Claim 48: a word's mean score in the two other models against the disagreement of first and last layer about it,
    a panel for each task.

    `words` has columns `task`, `disagreement`, `value` and `delta` (missing: unconstrained words, whose points are
    filled).
    """
    figure, panels = task_panels(words)
    edge = 0.05 * (np.ptp(words["disagreement"]) or 1.0)
    limits = words["disagreement"].min() - edge, words["disagreement"].max() + edge
    for task, ax in panels.items():
        own = words[words["task"] == task]
        for free in (False, True):
            points = own[own["delta"].isna() == free]
            look = {"mfc": TASK_COLOURS[task] if free else "white", "mec": TASK_COLOURS[task]}
            ax.plot(points["disagreement"], points["value"], ls="", marker="o", ms=3.5, mew=0.8, **look)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4))
        ax.set_xlim(*limits)
        ax.set_xlabel("disagreement")
        ax.set_ylim(-0.03, 1.05)
    next(iter(panels.values())).set_ylabel("mean score in the\nother two models")
    names = [
        name
        for name, some in (
            ("within a ball", words["delta"].notna().any()),
            ("unconstrained", words["delta"].isna().any()),
        )
        if some
    ]
    handles = [
        Line2D([], [], ls="", marker="o", ms=5, color=INK, mfc=INK if name == "unconstrained" else "white", label=name)
        for name in names
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _block_panels(table: pd.DataFrame) -> tuple[Figure, dict[str, Axes]]:
    """`task_panels` whose axis counts layers or blocks."""
    figure, panels = task_panels(table)
    for ax in panels.values():
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    return figure, panels


def _layer_panels(curves: pd.DataFrame, x: str, ylabel: str) -> Figure:
    """Lines with bands over the layers; `curves` has columns `task`, `line` ("concept" or "anchor"), `x`, `mean`,
    `low`, `high`, perhaps `kind`.
    """
    kinds = list(curves["kind"].unique()) if "kind" in curves else [""]
    styles = {"concept": "-", "anchor": "--"}
    figure, panels = _block_panels(curves)
    for task, ax in panels.items():
        for number, kind in enumerate(kinds):
            for line, style in styles.items():
                own = curves[(curves["task"] == task) & (curves["line"] == line)]
                own = (own[own["kind"] == kind] if kind else own).sort_values(x)
                look = _kind_look(task, number)
                ax.fill_between(own[x], own["low"], own["high"], color=look["color"], alpha=0.15, lw=0)
                ax.plot(own[x], own["mean"], ls=style, lw=1.6, ms=4, **look)
        ax.set_xlabel(x)
    next(iter(panels.values())).set_ylabel(ylabel)
    handles = [
        Line2D([], [], color=INK, ls=style, lw=1.6, label=line)
        for line, style in styles.items()
        if line in set(curves["line"])
    ]
    handles = (handles if len(handles) > 1 else []) + (_kind_handles(kinds) if any(kinds) else [])
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _crossed_means(table: pd.DataFrame, x: str, trials: bool = True) -> pd.DataFrame:
    """Means with crossed intervals. Values that are no `trials` may be equal by definition, as where every way begins,
    and are then certain.
    """
    keys = [column for column in ("task", "kind", "line", x) if column in table]
    rows = []
    for key, group in table.groupby(keys, sort=False):
        certain = not trials and np.ptp(group["value"]) < 1e-6
        rows.append((*key, *([group["value"].mean()] * 3 if certain else crossed_interval(group))))
    return pd.DataFrame(rows, columns=[*keys, "mean", "low", "high"])


def _kind_look(task: str, number: int) -> dict[str, Any]:
    """The first kind of words has its task's colour and lies on top, the second is grey, the third a lighter shade;
    each has a marker.
    """
    colour = (TASK_COLOURS[task], GREY, lighter(TASK_COLOURS[task], 0.45))[number % 3]
    return {
        "color": colour,
        "marker": ("o", "D", "v")[number % 3],
        "mfc": "white" if number else colour,
        "zorder": 4 - number % 3,
    }


def _kind_handles(kinds: Sequence[str]) -> list[Line2D]:
    return [
        Line2D(
            [],
            [],
            marker=_kind_look(TASKS[0], n)["marker"],
            color=INK,
            mfc="white" if n else INK,
            ms=5,
            lw=1.2,
            label=k,
        )
        for n, k in enumerate(kinds)
    ]
