"""Single words: how images and texts compare, how a loss falls, where a learned word lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image

from vwlib.book.figures.pictures import show_picture
from vwlib.book.figures.style import GREY, INK, TASK_COLOURS, TASK_MARKERS, WIDTH, draw_means, lighter, task_panels
from vwlib.ledger.statistics import crossed_estimate, mean_interval
from vwlib.models import TASKS

#: How curves of the task's own learning rate look, and then of the others.
RATE_STYLES: tuple[dict[str, Any], ...] = (
    {"ls": "-", "marker": "o"},
    {"ls": ":", "marker": "v", "mfc": "white"},
    {"ls": "--", "marker": "^", "mfc": "white"},
    {"ls": "-.", "marker": "s"},
)


def score_bars(
    images: Sequence[Image.Image],
    scores: pd.DataFrame,
    titles: Sequence[str] = (),
    xlabel: str = "cosine of image and text",
) -> Figure:
    """Under each image a bar for each name's score, the true name's with a thick edge; `scores` has columns `image`,
    `name`, `score`, `is_true`.
    """
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    axes = figure.subplots(2, len(images), squeeze=False, height_ratios=[1, 2])
    _same_limits(axes[1], scores["score"])
    for column, image in enumerate(images):
        show_picture(axes[0, column], image)
        axes[0, column].set_title(titles[column] if titles else "")
        ax = axes[1, column]
        own = scores[scores["image"] == column].iloc[::-1]
        _name_bars(ax, own, named=column == 0)
    figure.supxlabel(xlabel, fontsize=10)
    return figure


def score_panels(scores: pd.DataFrame, xlabel: str = "mean cosine of the concept's test images and the text") -> Figure:
    """A panel of bars for each value of `panel`, a bar for each `name`, the same in all; the bar where `is_true` has a
    thick edge.
    """
    panels = list(scores["panel"].unique())
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)
    _same_limits(axes[0], scores["score"])
    for column, panel in enumerate(panels):
        ax = axes[0, column]
        _name_bars(ax, scores[scores["panel"] == panel].iloc[::-1], named=column == 0)
        ax.set_title(panel.replace(", ", ",\n"))
    figure.supxlabel(xlabel, fontsize=10)
    return figure


def loss_curves(losses: pd.DataFrame, smooth: int = 20) -> Figure:
    """The loss of each task over the steps, one panel a task, one line a setting: mean over words and 95 % interval.

    `losses` has columns `task`, `setting`, `word`, `step`, `loss`; each word's curve is first averaged over `smooth`
    steps.
    """
    figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    tasks = [task for task in TASKS if task in set(losses["task"])]
    axes = figure.subplots(1, len(tasks), squeeze=False)[0]
    settings = list(losses["setting"].unique())
    styles = dict(zip(settings, ("-", "--", ":", "-."), strict=False))
    for ax, task in zip(axes, tasks, strict=True):
        for setting in settings:
            curves = losses[(losses["task"] == task) & (losses["setting"] == setting)].pivot_table(
                index="step", columns="word", values="loss"
            )
            curves = curves.rolling(min(smooth, len(curves)), min_periods=1).mean()
            mean, low, high = np.array([mean_interval(row) for row in curves.to_numpy()]).T
            ax.fill_between(curves.index, low, high, color=TASK_COLOURS[task], alpha=0.15, lw=0)
            ax.plot(curves.index, mean, color=TASK_COLOURS[task], ls=styles[setting], lw=1.6)
        ax.set_title(task)
        ax.set_xlabel("step")
    axes[0].set_ylabel("loss (table 1)")
    figure.legend(
        handles=[Line2D([], [], color=INK, ls=styles[s], label=s) for s in settings],
        loc="outside lower center",
        ncols=len(settings),
    )
    return figure


def sweep_curves(table: pd.DataFrame) -> Figure:
    """Claim 54: mean score of unconstrained words after so many steps, a panel for each task and a curve for each
    learning rate.

    `table` is that of the experiment `rates`; words that diverged have no value and are left out. Bars are crossed 95 %
    intervals.
    """
    styles = dict(
        zip(sorted(table["factor"].unique(), key=lambda factor: (factor != 1, factor)), RATE_STYLES, strict=False)
    )
    figure, panels = task_panels(table)
    for task, ax in panels.items():
        own = table[table["task"] == task].dropna(subset=["value"])
        learned_at = own.groupby("dataset")["factor"].nunique()
        own = own[
            own["dataset"].isin(learned_at.index[learned_at == learned_at.max()])
        ]  # only those that were learned at every rate can be compared
        for factor, rows in own.groupby("factor"):
            look = styles[factor] | {
                "color": TASK_COLOURS[task] if factor == 1 else GREY,
                "zorder": 4 if factor == 1 else 3,
            }
            draw_means(ax, dict(tuple(rows.groupby("steps"))), "value", look)
        ax.set_xlabel("steps")
        ax.set_xlim(left=0)
        ax.set_ylim(-0.03, 1.05)
    next(iter(panels.values())).set_ylabel("score on its own task")
    names = {1.0: "the task's own learning rate"}
    handles = [
        Line2D(
            [],
            [],
            color=INK if factor == 1 else GREY,
            ms=5,
            lw=1.4,
            label=names.get(factor, f"{factor:g} times that"),
            **style,
        )
        for factor, style in styles.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def compound_points(table: pd.DataFrame) -> Figure:
    """B3: what their parts leave unexplained of the words of compounds, and the best two words, beside real words and
    their best two others.

    `table` is that of the experiment `compounds`. Bars are 95 % intervals that resample compounds.
    """
    tasks = [task for task in TASKS if task in set(table["task"])]
    marks = [
        ("learned", "residual", "a compound's learned word, by its two parts", "o", True),
        ("learned", "best", "the same, by its best two words", "D", False),
        ("held-out", "residual", "a part's real word, by its best two others", "s", False),
    ]
    figure = Figure(figsize=(WIDTH, 0.5 * len(tasks) + 1.5), layout="constrained")
    ax = figure.subplots()
    for place, task in enumerate(tasks):
        for shift, (kind, measure, _, marker, filled) in zip((0.22, 0, -0.22), marks, strict=True):
            own = table[(table["task"] == task) & (table["kind"] == kind)]
            found = crossed_estimate(
                {"share": own}, "share", units=("concept",), stratum=None, measure=measure, limits=(0, 1)
            )
            ax.plot(found.interval(), [shift - place] * 2, color=TASK_COLOURS[task], lw=1.4)
            ax.plot(
                found.value,
                shift - place,
                ls="",
                marker=marker,
                ms=6,
                mfc=TASK_COLOURS[task] if filled else "white",
                mec=TASK_COLOURS[task],
                zorder=3,
            )
    ax.set_yticks([-place for place in range(len(tasks))], tasks)
    ax.set_ylim(0.5 - max(len(tasks), 1), 0.5)
    ax.set_xlim(0, 1.02)
    ax.set_xlabel("share that is left unexplained")
    ax.grid(axis="y", visible=False)
    handles = [
        Line2D([], [], ls="", marker=marker, ms=6, mfc=INK if filled else "white", mec=INK, label=name)
        for *_, name, marker, filled in marks
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=1)
    return figure


def displacement_strip(moves: pd.DataFrame) -> Figure:
    """How far each vector of each learned word lies from its anchor, a panel for each setting; filled where the anchor
    is still the nearest word.

    `moves` is the table of `vwlib.lab.displacements` with a column `setting`; lines mark the balls' radius, where there
    is one, and half the distance to the nearest word, within which the anchor must be the nearest.
    """
    settings = list(moves["setting"].unique())
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    axes = figure.subplots(1, len(settings), sharey=True, squeeze=False)[0]
    rng = np.random.default_rng(0)
    for ax, setting in zip(axes, settings, strict=True):
        chosen = moves[moves["setting"] == setting]
        for place, task in enumerate(TASKS):
            for is_anchor, face in ((True, TASK_COLOURS[task]), (False, "white")):
                points = chosen[(chosen["task"] == task) & (chosen["is_anchor"] == is_anchor)]
                spots = place + rng.uniform(-0.25, 0.25, len(points))
                ax.plot(
                    spots,
                    points["distance"],
                    ls="",
                    marker=TASK_MARKERS[task],
                    mfc=face,
                    mec=TASK_COLOURS[task],
                    ms=6,
                    zorder=3,
                )
        ax.axhline(0.5, color=INK, ls=":", lw=1.2)
        for delta in chosen["delta"].dropna().unique():
            ax.axhline(delta, color=INK, lw=1.2)
        ax.set_xticks(range(len(TASKS)), TASKS)
        ax.set_xlim(-0.5, len(TASKS) - 0.5)
        ax.set_ylim(0, max(0.6, float(moves["distance"].max()) * 1.1))
        ax.grid(axis="x", visible=False)
        ax.set_title(setting)
    axes[0].set_ylabel("distance from the anchor\n(in distances to its nearest word)")
    handles = [
        Line2D([], [], ls="", marker="o", mfc=GREY, mec=GREY, label="nearest word: the anchor"),
        Line2D([], [], ls="", marker="o", mfc="white", mec=GREY, label="another word"),
        Line2D([], [], color=INK, ls=":", lw=1.2, label="one half"),
    ]
    if moves["delta"].notna().any():
        handles.append(Line2D([], [], color=INK, lw=1.2, label="edge of the ball"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def distance_by_delta(moves: pd.DataFrame) -> Figure:
    """How far vectors of learned words lie from their anchor, and how often it is still their nearest word, for each
    radius and task.

    `moves` is the table of `vwlib.lab.displacements`; rows without `delta` are of unconstrained words. Left, the median
    with the middle half and nine tenths of the vectors; right, the share whose nearest word is the anchor.
    """
    radii = sorted(moves["delta"].dropna().unique())
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for shift, task in zip((-0.22, 0, 0.22), TASKS, strict=True):
        own = moves[moves["task"] == task]
        groups = [
            own[own["delta"].isna()] if radius is None else own[own["delta"] == radius] for radius in (*radii, None)
        ]
        look = {"color": TASK_COLOURS[task], "marker": TASK_MARKERS[task], "ms": 5.5}
        for place, group in enumerate(groups):
            if len(group):
                low, first, middle, third, high = group["distance"].quantile([0.05, 0.25, 0.5, 0.75, 0.95])
                left.plot([place + shift] * 2, [low, high], color=TASK_COLOURS[task], lw=1)
                left.plot(
                    [place + shift] * 2,
                    [first, third],
                    color=TASK_COLOURS[task],
                    lw=4,
                    alpha=0.45,
                    solid_capstyle="butt",
                )
                left.plot(place + shift, middle, ls="", mec="white", mew=0.6, **look)
        right.plot(
            [place + shift for place in range(len(groups))],
            [group["is_anchor"].mean() for group in groups],
            lw=1,
            **look,
        )
    for place, radius in enumerate(radii):
        left.plot([place - 0.4, place + 0.4], [radius, radius], color=INK, lw=1.2, zorder=1)
    left.axhline(0.5, color=INK, ls=":", lw=1.2)
    left.set_yscale("log")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter(NullFormatter())
    left.set_title("distance from the anchor\n(in distances to its nearest word)")
    right.set_title("share of vectors whose nearest\nword is the anchor")
    right.set_ylim(-0.03, 1.05)
    for ax in (left, right):
        ax.set_xticks(range(len(radii) + 1), [*(f"{radius:g}" for radius in radii), "free"])
        ax.set_xlabel("radius of the ball, delta")
        ax.grid(axis="x", visible=False)
    handles = [
        Line2D([], [], color=TASK_COLOURS[task], marker=TASK_MARKERS[task], ms=5.5, lw=1.5, label=task)
        for task in TASKS
    ]
    handles.append(Line2D([], [], color=INK, lw=1.2, label="edge of the ball"))
    handles.append(Line2D([], [], color=INK, ls=":", lw=1.2, label="one half"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.2)
    return figure


def _name_bars(ax: Axes, scores: pd.DataFrame, named: bool) -> None:
    colour = TASK_COLOURS["classification"]
    bars = ax.barh(range(len(scores)), scores["score"], height=0.72, color=lighter(colour), edgecolor=colour, lw=0.6)
    for bar, is_true in zip(bars, scores["is_true"], strict=True):
        if is_true:
            bar.set(facecolor=colour, edgecolor=INK, linewidth=1.4)
    ax.set_yticks(range(len(scores)), list(scores["name"]) if named else [""] * len(scores))
    ax.axvline(0, color="#999999", lw=0.8)
    ax.locator_params(axis="x", nbins=3)
    ax.grid(axis="y", visible=False)


def _same_limits(axes: np.ndarray, scores: pd.Series) -> None:
    low, high = min(0.0, float(scores.min())), max(0.0, float(scores.max()))
    margin = 0.05 * (high - low)
    for ax in axes:
        ax.set_xlim(low - (margin if low < 0 else 0), high + margin)
