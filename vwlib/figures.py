"""Figures: tables and pictures in, matplotlib figures out. One theme; every task keeps its colour, marker and place on all pages.

Each function returns a `Figure` of its own, saves nothing and shows nothing. Figures are as wide as a page of the book, so that
text has the same size in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from PIL import Image

from vwlib.models import TASKS
from vwlib.statistics import crossed_interval, mean_interval, summarise

WIDTH = 6.6  # inches: the text column of a page
TASK_COLOURS = dict(zip(TASKS, sns.color_palette("colorblind").as_hex(), strict=False))
TASK_MARKERS = dict(zip(TASKS, ("o", "s", "^"), strict=True))
CONCEPT_COLOURS = sns.color_palette("colorblind", 10).as_hex()
ANCHOR_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
PAPER_HATCH = "////"
METRICS = {"generation": "generation accuracy", "detection": "mean average precision", "classification": "classifier accuracy"}
_INK, _GREY = "#333333", "#767676"
_RC = {
    "figure.dpi": 160,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": "#999999",
    "axes.linewidth": 0.9,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": "#e4e4e4",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.7,
}


def theme() -> None:
    """Give every figure of a notebook the book's look, and its tables room for whole sentences."""
    sns.set_theme(style="whitegrid", palette="colorblind", rc=_RC)
    pd.set_option("display.max_colwidth", None, "display.precision", 3)


def image_grid(
    images: Sequence[Sequence[Image.Image | None]],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    below: Sequence[Sequence[str]] = (),
) -> Figure:
    """Pictures in rows and columns, with a label before each row, above each column, and perhaps `below` each picture."""
    figure, axes = _grid(len(images), max(map(len, images)), rows, titled=bool(columns), captioned=bool(below))
    for row, pictures in enumerate(images):
        for column, picture in enumerate(pictures):
            if picture is not None:
                _show(axes[row, column], picture)
            if below:
                axes[row, column].set_xlabel(below[row][column], fontsize=9, labelpad=2)
    _label(axes, rows, columns)
    return figure


def draw_detections(images: Sequence[Image.Image], boxes: pd.DataFrame, rows: Sequence[str] = (), columns: Sequence[str] = ()) -> Figure:
    """Found and true boxes on the same images, once for each row label.

    `boxes` has columns `row`, `image` (positions in the grid), `left`, `top`, `right`, `bottom` (px) and `score`; a box without a score
    is a true one and is drawn dashed, a found one is drawn in the detector's colour with its score.
    """
    count = max(1, len(rows))
    figure, axes = _grid(count, len(images), rows, titled=bool(columns), captioned=True, legend=True)
    for row in range(count):
        for column, image in enumerate(images):
            ax = axes[row, column]
            _show(ax, image)
            chosen = boxes[(boxes["row"] == row) & (boxes["image"] == column)]
            for box in chosen.itertuples():
                _draw_box(ax, box)
            found = chosen["score"].dropna().sort_values(ascending=False)
            ax.set_xlabel(", ".join(f"{score:.2f}" for score in found) or "none found", fontsize=9, labelpad=2)
    _label(axes, rows, columns)
    handles = [
        Line2D([], [], color=TASK_COLOURS["detection"], lw=2, label="found (score below)"),
        Line2D([], [], color=_INK, lw=1.2, ls=(0, (3, 2)), label="true box"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def score_bars(images: Sequence[Image.Image], scores: pd.DataFrame, titles: Sequence[str] = (), xlabel: str = "cosine of image and text") -> Figure:
    """Under each image a bar for each name's score, the true name's with a thick edge; `scores` has columns `image`, `name`, `score`, `is_true`."""
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    axes = figure.subplots(2, len(images), squeeze=False, height_ratios=[1, 2])
    _same_limits(axes[1], scores["score"])
    for column, image in enumerate(images):
        _show(axes[0, column], image)
        axes[0, column].set_title(titles[column] if titles else "")
        ax = axes[1, column]
        own = scores[scores["image"] == column].iloc[::-1]
        _name_bars(ax, own, named=column == 0)
    figure.supxlabel(xlabel, fontsize=10)
    return figure


def score_panels(scores: pd.DataFrame, xlabel: str = "mean cosine of the concept's test images and the text") -> Figure:
    """A panel of bars for each value of `panel`, a bar for each `name`, the same in all; the bar where `is_true` has a thick edge."""
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

    `losses` has columns `task`, `setting`, `word`, `step`, `loss`; each word's curve is first averaged over `smooth` steps.
    """
    figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    tasks = [task for task in TASKS if task in set(losses["task"])]
    axes = figure.subplots(1, len(tasks), squeeze=False)[0]
    settings = list(losses["setting"].unique())
    styles = dict(zip(settings, ("-", "--", ":", "-."), strict=False))
    for ax, task in zip(axes, tasks, strict=True):
        for setting in settings:
            curves = losses[(losses["task"] == task) & (losses["setting"] == setting)].pivot_table(index="step", columns="word", values="loss")
            curves = curves.rolling(min(smooth, len(curves)), min_periods=1).mean()
            mean, low, high = np.array([mean_interval(row) for row in curves.to_numpy()]).T
            ax.fill_between(curves.index, low, high, color=TASK_COLOURS[task], alpha=0.15, lw=0)
            ax.plot(curves.index, mean, color=TASK_COLOURS[task], ls=styles[setting], lw=1.6)
        ax.set_title(task)
        ax.set_xlabel("step")
    axes[0].set_ylabel("loss (table 1)")
    figure.legend(handles=[Line2D([], [], color=_INK, ls=styles[s], label=s) for s in settings], loc="outside lower center", ncols=len(settings))
    return figure


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
                _bar(ax, place - 0.2, ours.loc[source], facecolor=colour, edgecolor=colour)
            if source in theirs.index:
                _bar(ax, place + 0.2, theirs.loc[source], facecolor=_lighter(colour), edgecolor=colour, hatch=PAPER_HATCH)
        if off_diagonal is not None:
            points = off_diagonal[(off_diagonal["evaluated_on"] == target) & off_diagonal["trained_on"].isin(TASKS)]
            ax.plot([TASKS.index(s) - 0.2 for s in points["trained_on"]], points["mean"], ls="", marker="D", ms=5, mfc="white", mec=_INK, zorder=4)
        for row, style in (("anchor", ":"), ("name", "--")):
            if row in ours.index:
                ax.axhline(ours.loc[row, "mean"], color=_INK, ls=style, lw=1.3, zorder=3)
        ax.set_xticks(
            range(len(TASKS)), [f"{source} (own)" if source == target else source for source in TASKS], rotation=30, ha="right", rotation_mode="anchor"
        )
        ax.set_title(f"scored on {target}:\n{METRICS[target]}")
        ax.grid(axis="x", visible=False)
        ax.set_ylim(0, 1.05)
    axes[1].set_xlabel("word learned for")
    axes[0].set_ylabel("mean over trials")
    handles: list[Patch | Line2D] = [
        Patch(facecolor=_GREY, edgecolor=_GREY, label="here"),
        Patch(facecolor=_lighter(_GREY), edgecolor=_GREY, hatch=PAPER_HATCH, label="paper"),
        Line2D([], [], color=_INK, ls="--", lw=1.3, label="concept's own name"),
        Line2D([], [], color=_INK, ls=":", lw=1.3, label="anchor word"),
    ]
    if off_diagonal is not None:
        handles.insert(1, Line2D([], [], ls="", marker="D", ms=5, mfc="white", mec=_INK, label="here, off-diagonal"))
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
        for shift, column, look in ((-0.2, "1", {"facecolor": colour}), (0.2, "5", {"facecolor": _lighter(colour), "hatch": ".."})):
            low_high = summarise(words, ["source"], f"top{column}").iloc[0]
            _bar(ax, place + shift, low_high, edgecolor=colour, **look)
            chance = words[f"chance{column}"].iloc[0]
            ax.plot([place + shift - 0.19, place + shift + 0.19], [chance, chance], color=_INK, lw=1.6, zorder=4)
        labels.append(f"{source}\nto {target}")
    ax.set_xticks(range(len(labels)), labels, fontsize=8.5)
    ax.set_ylim(0, 1.05)
    ax.set_ylabel("share of held-out words")
    ax.grid(axis="x", visible=False)
    handles = [
        Patch(facecolor=_GREY, edgecolor=_GREY, label="its own embedding is the nearest"),
        Patch(facecolor=_lighter(_GREY), edgecolor=_GREY, hatch="..", label="is among the nearest five"),
        Line2D([], [], color=_INK, lw=1.6, label="chance"),
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
        ax.axvline(1, color=_INK, ls="--", lw=1.2)
        ax.set_title(f"into {target}")
        ax.set_ylim(bottom=0)
    axes[0].set_ylabel("share of words")
    axes[len(axes) // 2].set_xlabel(xlabel)
    handles = [Line2D([], [], color=TASK_COLOURS[task], marker=TASK_MARKERS[task], ms=5, lw=1.5, label=f"from {task}") for task in TASKS]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def displacement_strip(moves: pd.DataFrame) -> Figure:
    """How far each vector of each learned word lies from its anchor, a panel for each setting; filled where the anchor is still the nearest word.

    `moves` is the table of `vwlib.study.displacements` with a column `setting`; lines mark the balls' radius, where there is one, and half
    the distance to the nearest word, within which the anchor must be the nearest.
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
                ax.plot(spots, points["distance"], ls="", marker=TASK_MARKERS[task], mfc=face, mec=TASK_COLOURS[task], ms=6, zorder=3)
        ax.axhline(0.5, color=_INK, ls=":", lw=1.2)
        for delta in chosen["delta"].dropna().unique():
            ax.axhline(delta, color=_INK, lw=1.2)
        ax.set_xticks(range(len(TASKS)), TASKS)
        ax.set_xlim(-0.5, len(TASKS) - 0.5)
        ax.set_ylim(0, max(0.6, float(moves["distance"].max()) * 1.1))
        ax.grid(axis="x", visible=False)
        ax.set_title(setting)
    axes[0].set_ylabel("distance from the anchor\n(in distances to its nearest word)")
    handles = [
        Line2D([], [], ls="", marker="o", mfc=_GREY, mec=_GREY, label="nearest word: the anchor"),
        Line2D([], [], ls="", marker="o", mfc="white", mec=_GREY, label="another word"),
        Line2D([], [], color=_INK, ls=":", lw=1.2, label="one half"),
    ]
    if moves["delta"].notna().any():
        handles.append(Line2D([], [], color=_INK, lw=1.2, label="edge of the ball"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _grid(rows: int, columns: int, labels: Sequence[str], *, titled: bool, captioned: bool, legend: bool = False) -> tuple[Figure, np.ndarray]:
    longest = max((len(line) for label in labels for line in label.split("\n")), default=0)
    side = min(1.5, (WIDTH - 0.1 - 0.085 * longest) / columns - 0.06)
    height = rows * (side + (0.24 if captioned else 0.06)) + (0.25 if titled else 0) + (0.35 if legend else 0)
    figure = Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.02, wspace=0, hspace=0))
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        _strip(ax)
    return figure, axes


def _show(ax: Axes, picture: Image.Image) -> None:
    ax.imshow(np.asarray(picture), interpolation="bicubic" if max(picture.size) < 200 else "antialiased")
    _strip(ax)


def _strip(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _label(axes: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> None:
    for ax, text in zip(axes[:, 0], rows, strict=False):
        ax.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9.5)
    for ax, text in zip(axes[0], columns, strict=False):
        ax.set_title(text, fontsize=9.5)


def _draw_box(ax: Axes, box) -> None:
    place = {"xy": (box.left - 0.5, box.top - 0.5), "width": box.right - box.left, "height": box.bottom - box.top, "fill": False}
    if np.isnan(box.score):
        ax.add_patch(Rectangle(**place, edgecolor="white", lw=2.2, clip_on=False))
        ax.add_patch(Rectangle(**place, edgecolor=_INK, lw=1.2, ls=(0, (3, 2)), clip_on=False))
    else:
        ax.add_patch(Rectangle(**place, edgecolor="white", lw=3.4))
        ax.add_patch(Rectangle(**place, edgecolor=TASK_COLOURS["detection"], lw=2))


def _name_bars(ax: Axes, scores: pd.DataFrame, named: bool) -> None:
    colour = TASK_COLOURS["classification"]
    bars = ax.barh(range(len(scores)), scores["score"], height=0.72, color=_lighter(colour), edgecolor=colour, lw=0.6)
    for bar, is_true in zip(bars, scores["is_true"], strict=True):
        if is_true:
            bar.set(facecolor=colour, edgecolor=_INK, linewidth=1.4)
    ax.set_yticks(range(len(scores)), list(scores["name"]) if named else [""] * len(scores))
    ax.axvline(0, color="#999999", lw=0.8)
    ax.locator_params(axis="x", nbins=3)
    ax.grid(axis="y", visible=False)


def _same_limits(axes: np.ndarray, scores: pd.Series) -> None:
    low, high = min(0.0, float(scores.min())), max(0.0, float(scores.max()))
    margin = 0.05 * (high - low)
    for ax in axes:
        ax.set_xlim(low - (margin if low < 0 else 0), high + margin)


def _bar(ax: Axes, place: float, row: pd.Series, **look) -> None:
    ax.bar(place, row["mean"], width=0.38, lw=1, zorder=2, **look)
    ax.plot([place, place], [row["low"], row["high"]], color=_INK, lw=1.4, zorder=3, solid_capstyle="butt")


def _lighter(colour: str, amount: float = 0.72) -> tuple[float, float, float]:
    red, green, blue = (1 - (1 - part) * (1 - amount) for part in to_rgb(colour))
    return red, green, blue


def layer_map(points: pd.DataFrame, row: str | None = None) -> Figure:
    """Figures 7 and 12 to 18: a point for each word, coloured by concept and shaped by anchor, in a panel for each layer.

    `points` is the table of `vwlib.layers.tsne_of_layers`; with `row`, each value of that column has a row of panels of its own.
    Raises ValueError for more than ten concepts or anchors, which could not be told apart.
    """
    concepts, anchors = list(points["concept"].unique()), list(points["anchor"].unique())
    if max(len(concepts), len(anchors)) > len(CONCEPT_COLOURS):
        raise ValueError(f"At most {len(CONCEPT_COLOURS)} concepts and anchors can be told apart; there are {len(concepts)} and {len(anchors)}.")
    colours, markers = dict(zip(concepts, CONCEPT_COLOURS, strict=False)), dict(zip(anchors, ANCHOR_MARKERS, strict=False))
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
                look = {"color": colours[concept], "marker": markers[anchor], "mec": _INK, "mew": 0.3}
                ax.plot(words["x"], words["y"], ls="", ms=5, **look)
            ax.set_title(f"layer {layer}")
        for ax in line[group["layer"].nunique() :]:
            ax.set_visible(False)
        line[0].set_ylabel(name)
    of_concepts = [Line2D([], [], ls="", marker="o", ms=6, color=colour, mec=_INK, mew=0.3, label=concept) for concept, colour in colours.items()]
    of_anchors = [Line2D([], [], ls="", marker=marker, ms=6, color=_GREY, label=anchor) for anchor, marker in markers.items()]
    spacing: dict[str, Any] = {"ncols": 5, "columnspacing": 1.2, "handletextpad": 0.2}
    figure.legend(handles=of_concepts, title="concept", loc="outside upper center", **spacing)
    figure.legend(handles=of_anchors, title="anchor", loc="outside lower center", **spacing)
    return figure


def agreement_curves(agreement: pd.DataFrame) -> Figure:
    """How far clusters of activations are the concepts and the anchors at each layer, a panel for each task, with 95 % intervals.

    `agreement` is the table of `vwlib.layers.cluster_agreement` with a column `task`, and `kind` where there are several sets of words.
    """
    curves = agreement[agreement["by"].isin(["concept", "anchor"])].rename(columns={"ari": "mean", "by": "line"})
    figure = _layer_panels(curves, "layer", "adjusted Rand index")
    for ax in figure.axes:
        ax.axhline(0, color=_INK, lw=0.8)
    return figure


def truncation_curves(scores: pd.DataFrame) -> Figure:
    """Figure 7 as numbers: mean score of the concept and of the anchor against the number of blocks, a panel for each task.

    `scores` is the table of `vwlib.layers.truncation_scores`, with `kind` where there are several sets of words; the 95 % intervals
    resample concepts and anchors. Words whose anchor is their concept's own are left out.
    """
    chosen = scores[scores["concept"] != scores["anchor_concept"]].rename(columns={"of": "line"})
    figure = _layer_panels(_crossed_means(chosen, "blocks"), "blocks", "mean score (table 1)")
    for ax in figure.axes:
        ax.set_ylim(0, 1.05)
    return figure


def way_curves(ways: pd.DataFrame) -> Figure:
    """How much of the way from anchor to concept words have gone at each layer, a panel for each task, with 95 % crossed intervals.

    `ways` is the table of `vwlib.layers.way_to_concept` with a column `task`, and `kind` where there are several sets of words.
    """
    figure = _layer_panels(_crossed_means(ways.assign(line="concept"), "layer"), "layer", "share of the way\nfrom anchor to concept")
    for ax in figure.axes:
        for height, style in ((0, "-"), (0.5, ":"), (1, "-")):
            ax.axhline(height, color=_INK, ls=style, lw=0.8)
    return figure


def crossing_steps(crossings: pd.DataFrame, column: str = "crossing") -> Figure:
    """The share of words that have turned from anchor to concept by each layer (with as many blocks), a panel for each task and a line for each kind of word.

    `crossings` is the table of `vwlib.layers.crossing_layers`, or of `half_way` with a column `task`; `column` holds the layer of the
    turn ("crossing", "lasting" or "half"), empty for words that never turn.
    """
    kinds = list(crossings["kind"].unique()) if "kind" in crossings else [""]
    figure, panels = _task_panels(crossings)
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


def _task_panels(table: pd.DataFrame) -> tuple[Figure, dict[str, Axes]]:
    tasks = [task for task in TASKS if task in set(table["task"])]
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    axes = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for ax, task in zip(axes, tasks, strict=True):
        ax.set_title(task)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    return figure, dict(zip(tasks, axes, strict=True))


def _layer_panels(curves: pd.DataFrame, x: str, ylabel: str) -> Figure:
    """Lines with bands over the layers; `curves` has columns `task`, `line` ("concept" or "anchor"), `x`, `mean`, `low`, `high`, perhaps `kind`."""
    kinds = list(curves["kind"].unique()) if "kind" in curves else [""]
    styles = {"concept": "-", "anchor": "--"}
    figure, panels = _task_panels(curves)
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
    handles = [Line2D([], [], color=_INK, ls=style, lw=1.6, label=line) for line, style in styles.items() if line in set(curves["line"])]
    handles = (handles if len(handles) > 1 else []) + (_kind_handles(kinds) if any(kinds) else [])
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _crossed_means(table: pd.DataFrame, x: str) -> pd.DataFrame:
    keys = [column for column in ("task", "kind", "line", x) if column in table]
    groups = table.groupby(keys, sort=False)
    return pd.DataFrame([(*key, *crossed_interval(group)) for key, group in groups], columns=[*keys, "mean", "low", "high"])


def _kind_look(task: str, number: int) -> dict[str, Any]:
    """The first kind of words has its task's colour and lies on top, the second is grey, the third a lighter shade; each has a marker."""
    colour = (TASK_COLOURS[task], _GREY, _lighter(TASK_COLOURS[task], 0.45))[number % 3]
    return {"color": colour, "marker": ("o", "D", "v")[number % 3], "mfc": "white" if number else colour, "zorder": 4 - number % 3}


def _kind_handles(kinds: Sequence[str]) -> list[Line2D]:
    return [
        Line2D([], [], marker=_kind_look(TASKS[0], n)["marker"], color=_INK, mfc="white" if n else _INK, ms=5, lw=1.2, label=k) for n, k in enumerate(kinds)
    ]
