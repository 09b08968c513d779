"""The layers of text encoders.

Tables are those of `vwlib.experiments.layer_statistics` and `vwlib.layers`, with a column `task`, and `kind` if there
are several sets of words. There is a panel for each task; bands are 95 % intervals.
"""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vwlib.book.figures import style
from vwlib.book.figures.style import GREY, INK, POINT, TASK_COLOURS, Look
from vwlib.concepts import TASKS
from vwlib.ledger.statistics import mean_estimate

#: Scores as the concept are drawn solid, those as the anchor dashed.
LINES = {"concept": "-", "anchor": "--"}


def layer_map(points: pd.DataFrame, row: str) -> Figure:
    """Figures 7 and 12 to 18: a point for each word, coloured by concept and shaped by anchor, in a panel a layer.

    `points` is the table of `tsne_of_layers`; each value of the column `row` has its own row of panels. Raises
    ValueError for more than ten concepts or anchors, which could not be told apart.
    """
    concepts, anchors = (list(points[column].unique()) for column in ("concept", "anchor"))
    if max(len(concepts), len(anchors)) > (most := len(style.CONCEPT_COLOURS)):
        raise ValueError(
            f"At most {most} concepts and anchors can be told apart, not {len(concepts)} and {len(anchors)}."
        )
    colours = {concept: {"color": colour} for concept, colour in zip(concepts, style.CONCEPT_COLOURS, strict=False)}
    markers = {anchor: {"marker": marker} for anchor, marker in zip(anchors, style.ANCHOR_MARKERS, strict=False)}
    edge: Look = {"mec": INK, "mew": 0.3}
    groups = dict(tuple(points.groupby(row, sort=False)))
    columns = max(group["layer"].nunique() for group in groups.values())
    figure = Figure(figsize=(style.WIDTH, 1.75 * len(groups) + 1.3), layout="constrained")
    axes = figure.subplots(len(groups), columns, squeeze=False, subplot_kw={"xticks": [], "yticks": []})
    for line, (name, group) in zip(axes, groups.items(), strict=True):
        for ax, (layer, chosen) in zip(line, group.groupby("layer"), strict=False):
            for (concept, anchor), words in chosen.groupby(["concept", "anchor"], sort=False):
                ax.plot(words["x"], words["y"], ls="", ms=5, **colours[concept], **markers[anchor], **edge)
            ax.set_title(f"layer {layer}")
        for ax in line[group["layer"].nunique() :]:
            ax.set_visible(False)
        line[0].set_ylabel(textwrap.fill(str(name), 18))
    spacing: dict[str, Any] = {"ncols": 5, "columnspacing": 1.2, "handletextpad": 0.2}
    above = {concept: POINT | edge | look for concept, look in colours.items()}
    style.legend_below(figure, above, title="concept", loc="outside upper center", **spacing)
    below = {anchor: POINT | {"color": GREY} | look for anchor, look in markers.items()}
    style.legend_below(figure, below, title="anchor", **spacing)
    return figure


def agreement_curves(agreement: pd.DataFrame) -> Figure:
    """How well clusters of hidden states agree with concepts and anchors at each layer (`cluster_agreement`)."""
    curves = agreement[agreement["by"].isin(list(LINES))].rename(columns={"ari": "mean", "by": "line"})
    return _curves(curves, "layer", "adjusted Rand index", marks={0: "-"})


def truncation_curves(scores: pd.DataFrame) -> Figure:
    """Figure 7 in numbers: mean score with the first blocks only, off the diagonal (`truncation_scores`)."""
    means = _means(_off_diagonal(scores).rename(columns={"of": "line"}), "blocks", (0, 1))
    return _curves(means, "blocks", "mean score (table 1)", (0, 1.05))


def probe_curves(scores: pd.DataFrame) -> Figure:
    """How likely linear probes say the concept, off the diagonal (`probe_scores`); dotted: accuracy on real words."""
    means = _means(_off_diagonal(scores).assign(line="concept"), "layer", (0, 1))
    figure = _curves(means, "layer", "probability of the concept\nagainst the anchor", (-0.03, 1.05), {0.5: "-"})
    for task, ax in zip(style.tasks_in(scores), figure.axes, strict=True):
        accuracy = scores[scores["task"] == task].groupby("layer")["accuracy"].mean()
        ax.plot(accuracy.index, accuracy, color=INK, ls=":", lw=1.2)
    return figure


def projection_curves(projections: pd.DataFrame) -> Figure:
    """How far words have moved from anchor to concept at each layer (`projection_on_concept_direction`)."""
    means = _means(projections.assign(line="concept"), "layer")
    return _curves(means, "layer", "share of the way\nfrom anchor to concept", marks={0: "-", 0.5: ":", 1: "-"})


def flip_steps(flips: pd.DataFrame) -> Figure:
    """The share of words that have flipped from anchor to concept by each number of blocks (`flip_layers`)."""
    kinds = _kinds(flips)
    figure, panels = style.task_panels(flips, "layer", "share of words", (0, 1.05))
    for task, ax in panels.items():
        rows = flips[flips["task"] == task]
        blocks = np.arange(int(rows["depth"].max()) + 1)
        for number, kind in enumerate(kinds):
            layers = _of_kind(rows, kind)["crossing"].to_numpy()
            if len(layers):
                share = (layers <= blocks[:, None]).mean(axis=1)
                ax.plot(blocks, share, drawstyle="steps-post", lw=1.6, ms=4, **_kind_look(task, number))
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    style.legend_below(figure, _kind_legend(kinds))
    return figure


def disagreement_points(words: pd.DataFrame) -> Figure:
    """Claim 48: a word's mean score in the two other models against `disagreement`; unconstrained ones are filled."""
    figure, panels = style.task_panels(words, "disagreement", "mean score in the\nother two models", (-0.03, 1.05))
    edge = 0.05 * (np.ptp(words["disagreement"]) or 1.0)
    kinds = {"within a ball": False, "unconstrained": True}
    for task, ax in panels.items():
        for is_free in kinds.values():
            points = words[(words["task"] == task) & (words["delta"].isna() == is_free)]
            look = POINT | {"ms": 3.5, "mew": 0.8, **style.filled(TASK_COLOURS[task], is_free)}
            ax.plot(points["disagreement"], points["value"], **look)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4))
        ax.set_xlim(words["disagreement"].min() - edge, words["disagreement"].max() + edge)
    looks = {
        name: POINT | style.filled(INK, free) for name, free in kinds.items() if free in set(words["delta"].isna())
    }
    style.legend_below(figure, looks)
    return figure


def _off_diagonal(scores: pd.DataFrame) -> pd.DataFrame:
    return scores[scores["concept"] != scores["anchor_concept"]]


def _kinds(table: pd.DataFrame) -> list[str]:
    return list(table["kind"].unique()) if "kind" in table else [""]


def _of_kind(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    return table[table["kind"] == kind] if kind else table


def _means(table: pd.DataFrame, x: str, limits: tuple[float, float] = (-np.inf, np.inf)) -> pd.DataFrame:
    """Means with 95 % intervals for each task, kind of words, line and `x`, where they exist. Values without `limits`
    that are all equal are so by definition, such as every projection at layer 0.
    """
    keys = [column for column in ("task", "kind", "line", x) if column in table]
    rows = []
    for key, group in table.groupby(keys, sort=False):
        if limits[0] == -np.inf and np.ptp(group["value"]) < 1e-6:
            rows.append((*key, *[group["value"].mean()] * 3))
        else:
            mean = mean_estimate(group, limits=limits)
            rows.append((*key, mean.value, *mean.interval()))
    return pd.DataFrame(rows, columns=[*keys, "mean", "low", "high"])


def _curves(
    curves: pd.DataFrame,
    x: str,
    ylabel: str,
    ylim: tuple[float, float] | None = None,
    marks: Mapping[float, str] | None = None,
) -> Figure:
    """Lines with bands over layers or blocks, and horizontal `marks` by height. `curves` has columns `task`, `line`
    ("concept" or "anchor"), `x`, `mean`, `low`, `high`, perhaps `kind`.
    """
    kinds = _kinds(curves)
    figure, panels = style.task_panels(curves, x, ylabel, ylim)
    for task, ax in panels.items():
        for number, kind in enumerate(kinds):
            look = _kind_look(task, number)
            for line, dashes in LINES.items():
                rows = _of_kind(curves[(curves["task"] == task) & (curves["line"] == line)], kind).sort_values(x)
                ax.fill_between(rows[x], rows["low"], rows["high"], color=look["color"], alpha=0.15, lw=0)
                ax.plot(rows[x], rows["mean"], ls=dashes, lw=1.6, ms=4, **look)
        for height, dashes in (marks or {}).items():
            ax.axhline(height, color=INK, ls=dashes, lw=0.8)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    shown = {line: {"ls": dashes, "lw": 1.6} for line, dashes in LINES.items() if line in set(curves["line"])}
    looks = (shown if len(shown) > 1 else {}) | _kind_legend(kinds)
    style.legend_below(figure, looks, ncols=len(looks) if max(map(len, looks), default=0) < 12 else 3)
    return figure


def _kind_look(task: str, number: int) -> Look:
    """The first kind of words has its task's colour and lies on top; the second is grey, the third a lighter shade."""
    colour = (TASK_COLOURS[task], GREY, style.lighter(TASK_COLOURS[task], 0.45))[number % 3]
    face = "white" if number else colour
    return {"color": colour, "marker": ("o", "D", "v")[number % 3], "mfc": face, "zorder": 4 - number % 3}


def _kind_legend(kinds: list[str]) -> dict[str, Look]:
    ink = {"color": INK, "lw": 1.2}
    return {
        kind: _kind_look(TASKS[0], number) | ink | {"mfc": "white" if number else INK}
        for number, kind in enumerate(kinds)
        if kind
    }
