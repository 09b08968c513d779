"""Single words: how images and texts compare, how a loss falls, where a learned word lies."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image

from vwlib.book.figures import style
from vwlib.book.figures.pictures import show_picture
from vwlib.book.figures.style import GREY, INK, POINT, TASK_COLOURS, TASK_MARKERS, WIDTH, Look, filled
from vwlib.concepts import TASKS
from vwlib.ledger.statistics import mean_interval

#: The looks of curves at a task's own learning rate, and at the other rates in turn.
RATE_LOOKS: tuple[Look, ...] = (
    {"ls": "-", "marker": "o"},
    {"ls": ":", "marker": "v", "mfc": "white"},
    {"ls": "--", "marker": "^", "mfc": "white"},
    {"ls": "-.", "marker": "s"},
)
BALL: Look = {"lw": 1.2}
HALF: Look = {"lw": 1.2, "ls": ":"}
DISTANCE = "distance from the anchor\n(in distances to its nearest word)"


def score_bars(images: Sequence[Image.Image], scores: pd.DataFrame, titles: Sequence[str]) -> Figure:
    """Under each image a bar a score, thick for the true name: `image` (position), `name`, `score`, `is_true`."""
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    pictures, axes = figure.subplots(2, len(images), squeeze=False, height_ratios=[1, 2])
    for ax, image, title in zip(pictures, images, titles, strict=True):
        show_picture(ax, image)
        ax.set_title(title)
    _bars(figure, axes, [rows for _, rows in scores.groupby("image")], "cosine of image and text")
    return figure


def score_panels(scores: pd.DataFrame, xlabel: str = "mean cosine of the concept's test images and the text") -> Figure:
    """A panel of bars for each value of `panel`, a bar for each `name`; the bar where `is_true` has a thick edge."""
    groups = {panel.replace(", ", ",\n"): rows for panel, rows in scores.groupby("panel", sort=False)}
    figure, panels = style.panels(list(groups), 3.2, sharey=False)
    _bars(figure, list(panels.values()), list(groups.values()), xlabel)
    return figure


def _bars(figure: Figure, axes: Sequence[Axes], groups: Sequence[pd.DataFrame], xlabel: str) -> None:
    """A panel of horizontal bars for each group of scores, with names at the first and the same limits in all."""
    colour, scores = TASK_COLOURS["classification"], pd.concat(groups)["score"]
    low, high = min(0.0, scores.min()), max(0.0, scores.max())
    margin = 0.05 * (high - low)
    for ax, group in zip(axes, groups, strict=True):
        places, rows = range(len(group)), group.iloc[::-1]
        bars = ax.barh(places, rows["score"], height=0.72, color=style.lighter(colour), edgecolor=colour, lw=0.6)
        for bar, is_true in zip(bars, rows["is_true"], strict=True):
            if is_true:
                bar.set(facecolor=colour, edgecolor=INK, linewidth=1.4)
        ax.set_yticks(places, rows["name"] if ax is axes[0] else [""] * len(rows))
        ax.set_xlim(low - (margin if low < 0 else 0), high + margin)
        ax.axvline(0, color="#999999", lw=0.8)
        ax.locator_params(axis="x", nbins=3)
        ax.grid(axis="y", visible=False)
    figure.supxlabel(xlabel, fontsize=10)


def loss_curves(losses: pd.DataFrame, smooth: int = 20) -> Figure:
    """The loss of each task over the steps, a panel for each task and a line for each setting: mean and 95 % interval.
    `losses` has columns `task`, `setting`, `word`, `step`, `loss`. Each word's curve is averaged over `smooth` steps.
    """
    dashes = dict(zip(losses["setting"].unique(), ("-", "--", ":", "-."), strict=False))
    figure, panels = style.panels(style.tasks_in(losses), 2.7, xlabel="step", ylabel="loss (table 1)", sharey=False)
    for task, ax in panels.items():
        for setting, rows in losses[losses["task"] == task].groupby("setting", sort=False):
            curves = rows.pivot_table(index="step", columns="word", values="loss")
            curves = curves.rolling(min(smooth, len(curves)), min_periods=1).mean()
            mean, low, high = np.array([mean_interval(row) for row in curves.to_numpy()]).T
            ax.fill_between(curves.index, low, high, color=TASK_COLOURS[task], alpha=0.15, lw=0)
            ax.plot(curves.index, mean, color=TASK_COLOURS[task], ls=dashes[setting], lw=1.6)
    style.legend_below(figure, {setting: {"ls": dash} for setting, dash in dashes.items()})
    return figure


def sweep_curves(table: pd.DataFrame) -> Figure:
    """Claim 54: mean score of unconstrained words against the number of steps, a curve a learning rate: table `rates`.

    Only datasets whose words were learned at every rate are shown. Words that diverged are left out.
    """
    factors = sorted(table["factor"].unique(), key=lambda factor: (factor != 1, factor))
    looks = dict(zip(factors, RATE_LOOKS, strict=False))
    figure, panels = style.task_panels(table, "steps", "score on its own task", (-0.03, 1.05))
    for task, ax in panels.items():
        rows = table[table["task"] == task].dropna(subset=["value"])
        rates = rows.groupby("dataset")["factor"].transform("nunique")
        for factor, curve in rows[rates == rates.max()].groupby("factor"):
            colour = {"color": TASK_COLOURS[task], "zorder": 4} if factor == 1 else {"color": GREY, "zorder": 3}
            style.draw_means(ax, dict(tuple(curve.groupby("steps"))), "value", looks[factor] | colour)
        ax.set_xlim(left=0)
    names = {factor: "the task's own learning rate" if factor == 1 else f"{factor:g} times that" for factor in looks}
    style.legend_below(figure, {names[f]: look | {"color": INK if f == 1 else GREY} for f, look in looks.items()})
    return figure


def displacement_strip(moves: pd.DataFrame) -> Figure:
    """How far each vector of each learned word lies from its anchor, a panel for each `setting` of the displacements.

    A marker is filled where the anchor is still the nearest word. Lines are the edge of the ball and half the distance
    to the nearest word, within which the anchor must be the nearest.
    """
    highest = max(0.6, float(moves["distance"].max()) * 1.1)
    figure, panels = style.panels(list(moves["setting"].unique()), 3.0, ylabel=DISTANCE, ylim=(0, highest))
    rng = np.random.default_rng(0)
    for setting, ax in panels.items():
        shown = moves[moves["setting"] == setting]
        for place, task in enumerate(TASKS):
            for is_anchor in (True, False):
                points = shown[(shown["task"] == task) & (shown["is_anchor"] == is_anchor)]
                look = POINT | {"marker": TASK_MARKERS[task], "zorder": 3, **filled(TASK_COLOURS[task], is_anchor)}
                ax.plot(place + rng.uniform(-0.25, 0.25, len(points)), points["distance"], **look)
        ax.axhline(0.5, color=INK, **HALF)
        for delta in shown["delta"].dropna().unique():
            ax.axhline(delta, color=INK, **BALL)
        ax.set_xticks(range(len(TASKS)), TASKS)
        ax.set_xlim(-0.5, len(TASKS) - 0.5)
        ax.grid(axis="x", visible=False)
    looks = {"nearest word: the anchor": POINT | filled(GREY, True), "another word": POINT | filled(GREY, False)}
    balls = {"edge of the ball": BALL} if moves["delta"].notna().any() else {}
    style.legend_below(figure, looks | {"one half": HALF} | balls)
    return figure


def distance_by_delta(moves: pd.DataFrame) -> Figure:
    """How far vectors of learned words lie from their anchor, and how often it is still their nearest word.

    `moves` is the table of `vwlib.experiments.displacements`; rows without `delta` are of unconstrained words. Left,
    for each radius and task the median with the middle half and nine tenths of the vectors; right, the share whose
    nearest word is the anchor.
    """
    radii = sorted(moves["delta"].dropna().unique())
    places = np.arange(len(radii) + 1)
    figure, panels = style.panels([DISTANCE, "share of vectors whose nearest\nword is the anchor"], 3.4, sharey=False)
    left, right = panels.values()
    for shift, task in zip((-0.22, 0, 0.22), TASKS, strict=True):
        words = moves[moves["task"] == task]
        groups = [*(words[words["delta"] == radius] for radius in radii), words[words["delta"].isna()]]
        for place, group in enumerate(groups):
            if len(group):
                style.draw_quantiles(
                    left, place + shift, group["distance"], TASK_COLOURS[task], TASK_MARKERS[task], True
                )
        look = {"color": TASK_COLOURS[task], "marker": TASK_MARKERS[task], "ms": 5.5}
        right.plot(places + shift, [group["is_anchor"].mean() for group in groups], lw=1, **look)
    left.hlines(radii, places[:-1] - 0.4, places[:-1] + 0.4, color=INK, lw=1.2, zorder=1)
    left.axhline(0.5, color=INK, **HALF)
    left.set_yscale("log")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter(NullFormatter())
    right.set_ylim(-0.03, 1.05)
    for ax in (left, right):
        ax.set_xticks(places, [*(f"{radius:g}" for radius in radii), "free"])
        ax.set_xlabel("radius of the ball, delta")
        ax.grid(axis="x", visible=False)
    looks = style.of_tasks("{}") | {"edge of the ball": BALL, "one half": HALF}
    style.legend_below(figure, looks, columnspacing=1.2)
    return figure
