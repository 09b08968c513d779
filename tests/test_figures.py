"""Figures from small made tables: the right number of bars, boxes and lines, labels, and one colour per task."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from vwlib.book.figures.layers import (
    agreement_curves,
    disagreement_points,
    flip_steps,
    layer_map,
    probe_curves,
    projection_curves,
    truncation_curves,
)
from vwlib.book.figures.ledger import VERDICT_COLOURS, verdict_bars
from vwlib.book.figures.maps import distance_histogram, map_gain_points, map_kind_points, map_quality_bars
from vwlib.book.figures.pictures import draw_detections, image_grid
from vwlib.book.figures.style import (
    ANCHOR_MARKERS,
    CONCEPT_COLOURS,
    INK,
    PAPER_HATCH,
    TASK_COLOURS,
    TASK_MARKERS,
    theme,
)
from vwlib.book.figures.transfer import concept_points, delta_curves, transfer_bars, transfer_rows
from vwlib.book.figures.words import displacement_strip, distance_by_delta, loss_curves, score_bars, score_panels
from vwlib.concepts import TASKS, concepts_of

PICTURE = Image.new("RGB", (8, 8), "teal")


def bars(ax):
    return [patch for container in ax.containers for patch in container]


def summary(*sources):
    return pd.DataFrame(
        [(target, source, 0.5, 0.4, 0.6) for target, source in itertools.product(TASKS, sources)],
        columns=["evaluated_on", "trained_on", "mean", "low", "high"],
    )


def drawn(figure):
    """The figure, once it has been laid out: warnings of the layout are errors here."""
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return figure


@pytest.fixture(autouse=True)
def leaves_pyplot_alone():
    open_figure = plt.figure()
    yield
    assert plt.get_fignums() == [open_figure.number], "figures are neither registered with pyplot nor closed"
    plt.close(open_figure)


def test_theme_binds_the_palette():
    with plt.rc_context(), pd.option_context("display.precision", 6):
        theme()
        assert to_hex(plt.rcParams["axes.prop_cycle"].by_key()["color"][0]) == TASK_COLOURS["generation"]


def test_image_grid_labels_rows_columns_and_pictures():
    figure = drawn(
        image_grid(
            [[PICTURE, PICTURE, None]] * 2,
            rows=["a", "b"],
            columns=["x", "y", "z"],
            below=[["1", "2", "3"], ["4", "5", "6"]],
        )
    )
    assert [len(ax.images) for ax in figure.axes] == [1, 1, 0] * 2
    assert [ax.get_ylabel() for ax in figure.axes[::3]] == ["a", "b"]
    assert [ax.get_title() for ax in figure.axes[:3]] == ["x", "y", "z"]
    assert [ax.get_xlabel() for ax in figure.axes] == list("123456")


def test_detections_draw_found_boxes_in_the_detectors_colour():
    boxes = pd.DataFrame(
        [(0, 0, 1, 1, 4, 4, np.nan), (0, 0, 2, 2, 5, 5, 0.25)],
        columns=["row", "image", "left", "top", "right", "bottom", "score"],
    )
    ax, empty = drawn(draw_detections([PICTURE, PICTURE], boxes)).axes
    edges = [to_hex(patch.get_edgecolor()) for patch in ax.patches if isinstance(patch, Rectangle)]
    assert len(edges) == 4  # each box has a white rim
    assert TASK_COLOURS["detection"] in edges
    assert (ax.get_xlabel(), empty.get_xlabel()) == ("0.25", "none found")


def test_detections_may_have_rows_of_their_own_images_and_other_captions():
    boxes = pd.DataFrame([(1, 0, 1, 1, 4, 4, 0.5)], columns=["row", "image", "left", "top", "right", "bottom", "score"])
    figure = drawn(
        draw_detections([[PICTURE, None], [PICTURE, PICTURE]], boxes, rows=["a", "b"], below=[["p", "q"], ["r", "s"]])
    )
    assert [len(ax.images) for ax in figure.axes] == [1, 0, 1, 1]
    assert [len(ax.patches) for ax in figure.axes] == [0, 0, 2, 0]
    assert [ax.get_xlabel() for ax in figure.axes] == ["p", "", "r", "s"]


def test_scores_that_do_not_fit_below_a_picture_are_left_out():
    boxes = pd.DataFrame(
        [(0, 0, 1, 1, 4, 4, 0.1 * n) for n in range(1, 5)],
        columns=["row", "image", "left", "top", "right", "bottom", "score"],
    )
    (ax,) = drawn(draw_detections([PICTURE], boxes)).axes
    assert ax.get_xlabel() == "0.40, 0.30, 0.20 …"


def test_score_bars_mark_the_true_name():
    scores = pd.DataFrame(
        [(i, name, 0.1, name == "dog") for i in range(2) for name in ("cat", "dog", "cup")],
        columns=["image", "name", "score", "is_true"],
    )
    figure = drawn(score_bars([PICTURE, PICTURE], scores, titles=["dog", "dog"]))
    left = figure.axes[2]
    assert [text.get_text() for text in left.get_yticklabels()] == ["cup", "dog", "cat"]
    assert [to_hex(bar.get_facecolor()) == TASK_COLOURS["classification"] for bar in bars(left)] == [False, True, False]


def test_score_panels_have_a_panel_for_each_word():
    scores = pd.DataFrame(
        [(panel, name, 0.1, name == "(word)") for panel in ("before", "after") for name in ("(word)", "cat")],
        columns=["panel", "name", "score", "is_true"],
    )
    figure = drawn(score_panels(scores))
    assert [ax.get_title() for ax in figure.axes] == ["before", "after"]
    assert [len(bars(ax)) for ax in figure.axes] == [2, 2]


def test_loss_curves_have_a_line_for_each_setting_in_the_tasks_colour():
    rows = itertools.product(TASKS, ("free", "ball"), range(3), range(1, 5))
    losses = pd.DataFrame(
        [(*row, 1 / row[3] + row[2]) for row in rows], columns=["task", "setting", "word", "step", "loss"]
    )
    figure = drawn(loss_curves(losses, smooth=1))
    assert [ax.get_title() for ax in figure.axes] == list(TASKS)
    for ax, task in zip(figure.axes, TASKS, strict=True):
        assert [to_hex(line.get_color()) for line in ax.lines] == [TASK_COLOURS[task]] * 2
        np.testing.assert_allclose(ax.lines[0].get_ydata(), 1 / np.arange(1, 5) + 1)


def test_transfer_bars_stand_beside_the_papers():
    figure = drawn(transfer_bars(summary(*TASKS, "anchor", "name"), summary(*TASKS), summary(*TASKS, "anchor")))
    assert len(figure.axes) == 3
    for ax, target in zip(figure.axes, TASKS, strict=True):
        ours, theirs = bars(ax)[::2], bars(ax)[1::2]
        assert [to_hex(bar.get_facecolor()) for bar in ours] == list(TASK_COLOURS.values())
        assert [bar.get_hatch() for bar in theirs] == [PAPER_HATCH] * 3
        assert [text.get_text() for text in ax.get_xticklabels()] == [
            f"{task} (own)" if task == target else task for task in TASKS
        ]
        assert {line.get_linestyle() for line in ax.lines} >= {":", "--"}
        (diamonds,) = [line for line in ax.lines if line.get_marker() == "D"]
        assert len(diamonds.get_xdata()) == 3


def test_transfer_bars_do_without_what_was_not_run():
    figure = drawn(transfer_bars(summary("generation"), summary(*TASKS), summary("generation")))
    assert [len(bars(ax)) for ax in figure.axes] == [4, 4, 4]


def test_transfer_rows_have_a_point_for_each_source_and_a_tick_for_what_the_target_has():
    points = [
        ("carried", "detection", "generation", 0.5, 0.4, 0.6, 0.9),
        ("anchor word", "detection", "anchor", 0.1, 0, 1, np.nan),
    ]
    columns = ["row", "evaluated_on", "trained_on", "mean", "low", "high", "own"]
    figure = drawn(transfer_rows(pd.DataFrame(points, columns=columns)))
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["carried", "anchor word"]
    lines = {(line.get_marker(), to_hex(line.get_color())): line.get_xdata()[0] for line in figure.axes[1].lines}
    assert lines["o", TASK_COLOURS["generation"]] == 0.5 and lines["D", INK] == 0.1
    assert next(line.get_xdata()[0] for line in figure.axes[1].lines if line.get_marker() == "|") == 0.9
    assert not figure.axes[0].lines and not figure.axes[2].lines


def test_transfer_bars_have_a_row_of_panels_for_each_dataset():
    ours = pd.concat([summary(*TASKS, "anchor").assign(dataset=name) for name in ("COCO", "PASCAL")])
    theirs = summary(*TASKS).assign(dataset="PASCAL")
    figure = drawn(transfer_bars(ours, theirs, ours))
    assert [ax.get_ylabel().split("\n")[0] for ax in figure.axes[::3]] == ["COCO", "PASCAL"]
    assert [len(bars(ax)) for ax in figure.axes] == [3] * 3 + [6] * 3
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == [
        "generation",
        "detection",
        "classification (own)",
    ]
    assert [text.get_text() for text in figure.axes[3].get_xticklabels()] == [
        "generation (own)",
        "detection",
        "classification",
    ]


def test_delta_curves_end_with_the_unconstrained_words():
    points = [
        summary(*TASKS).assign(dataset="COCO", delta=delta, mean=mean)
        for delta, mean in ((np.nan, 0.9), (0.5, 0.5), (0.1, 0.1))
    ]
    ours = pd.concat([*points, summary("anchor", "name").assign(dataset="COCO", delta=np.nan)])
    figure = drawn(delta_curves(ours, points[1].assign(delta=0.2)))
    for ax in figure.axes:
        assert [text.get_text() for text in ax.get_xticklabels()] == ["0.1", "0.2", "0.5", "free"]
        solid = [line for line in ax.lines if line.get_linestyle() == "-"]
        assert [to_hex(line.get_color()) for line in solid] == list(TASK_COLOURS.values())
        assert (list(solid[0].get_xdata()), list(solid[0].get_ydata())) == ([0, 2, 3], [0.1, 0.5, 0.9])
        assert [list(line.get_xdata()) for line in ax.lines if line.get_markerfacecolor() == "white"] == [[1]] * 3


@pytest.fixture
def quality():
    pairs = [(a, b) for a, b in itertools.permutations(TASKS, 2)]
    rows = [(a, b, word % 2 == 0, True, 0.1, 0.5, 0.2 + word / 10) for a, b in pairs for word in range(6)]
    return pd.DataFrame(rows, columns=["source", "target", "top1", "top5", "chance1", "chance5", "error"])


def test_map_quality_has_two_bars_and_chance_for_each_pair(quality):
    (ax,) = drawn(map_quality_bars(quality)).axes
    assert [bar.get_height() for bar in bars(ax)] == [0.5, 1.0] * 6
    assert to_hex(bars(ax)[0].get_facecolor()) == TASK_COLOURS["generation"]
    assert len(ax.get_xticklabels()) == 6


def test_distances_are_shares_of_words_by_source(quality):
    figure = drawn(distance_histogram(quality))
    assert [ax.get_title() for ax in figure.axes] == [f"into {task}" for task in TASKS]
    assert to_hex(figure.axes[0].lines[0].get_color()) == TASK_COLOURS["detection"]


def test_map_kinds_have_a_point_for_each_pair_in_the_sources_colour_and_the_targets_shape(quality):
    kinds = pd.concat([quality.assign(map=kind, r2=r2) for kind, r2 in (("linear", 0.3), ("ridge", 0.5))])
    figure = drawn(map_kind_points(kinds))
    for ax, values in zip(figure.axes, ([0.3, 0.5], [0.5, 0.5]), strict=True):
        points = [line for line in ax.lines if line.get_marker() in TASK_MARKERS.values()]
        looks = {(to_hex(line.get_color()), line.get_marker()) for line in points}
        assert looks == {(TASK_COLOURS[a], TASK_MARKERS[b]) for a, b in itertools.permutations(TASKS, 2)}
        assert [list(line.get_ydata()) for line in points] == [values] * 6
        assert [text.get_text() for text in ax.get_xticklabels()] == ["linear", "ridge"]


def test_map_gains_have_a_panel_for_each_target_and_a_shape_for_each_kind():
    rows = itertools.product(itertools.permutations(TASKS, 2), (("linear", 0.3), ("ridge", 0.5)), "cd", "ab")
    table = pd.DataFrame([(a, b, kind, r2, c, d, r2 / 10) for (a, b), (kind, r2), c, d in rows])
    table.columns = pd.Index(["trained_on", "evaluated_on", "map", "r2", "concept", "anchor", "value"])
    figure = drawn(map_gain_points(table.assign(dataset="COCO", floor=0.0)))
    for ax in figure.axes:
        points = [line for line in ax.lines if line.get_marker() in ANCHOR_MARKERS]
        assert (
            sorted((round(line.get_xdata()[0], 6), round(line.get_ydata()[0], 6)) for line in points)
            == [(0.3, 0.03)] * 2 + [(0.5, 0.05)] * 2
        )
        assert len({line.get_marker() for line in points}) == len({line.get_color() for line in points}) == 2


def test_displacements_are_filled_where_the_anchor_is_nearest():
    columns = ["setting", "task", "delta", "distance", "is_anchor"]
    moves = pd.DataFrame(
        [("free", task, np.nan, 2.0, False) for task in TASKS] + [("ball", task, 0.5, 0.5, True) for task in TASKS],
        columns=columns,
    )
    free, ball = drawn(displacement_strip(moves)).axes
    filled = [
        [
            line.get_markerfacecolor()
            for line in ax.lines
            if len(line.get_xdata()) and line.get_marker() in TASK_MARKERS.values()
        ]
        for ax in (free, ball)
    ]
    assert filled == [["white"] * 3, list(TASK_COLOURS.values())]


def test_distances_have_a_place_for_each_radius_and_the_unconstrained_words():
    rows = [
        (task, delta, 2.0 if np.isnan(delta) else delta, not np.isnan(delta))
        for task in TASKS
        for delta in (0.2, 1.0, np.nan)
    ]
    left, right = drawn(distance_by_delta(pd.DataFrame(rows, columns=["task", "delta", "distance", "is_anchor"]))).axes
    assert [text.get_text() for text in left.get_xticklabels()] == ["0.2", "1", "free"]
    medians = [line for line in left.lines if line.get_marker() in TASK_MARKERS.values()]
    assert [line.get_ydata()[0] for line in medians] == [0.2, 1.0, 2.0] * 3
    assert [list(line.get_ydata()) for line in right.lines] == [[1, 1, 0]] * 3


def layer_grid(kinds=("learned", "real words")):
    """A row for each task, kind, number of blocks, concept and anchor."""
    rows = itertools.product(TASKS, kinds, range(4), "cd", "ab")
    table = pd.DataFrame(list(rows), columns=["task", "kind", "blocks", "concept", "anchor"])
    return table.assign(
        dataset="COCO", anchor_concept=table["anchor"], layer=table["blocks"], value=table["blocks"] / 3
    )


def curves(ax):
    return [line for line in ax.lines if len(line.get_xdata()) == 4]


def test_layer_map_colours_concepts_and_shapes_anchors():
    points = layer_grid().assign(x=0.0, y=1.0)
    figure = drawn(layer_map(points[points["layer"] > 0], row="task"))
    assert [ax.get_title() for ax in figure.axes[:3]] == ["layer 1", "layer 2", "layer 3"]
    assert [ax.get_ylabel() for ax in figure.axes[::3]] == list(TASKS)
    looks = {(line.get_color(), line.get_marker()) for line in figure.axes[0].lines}
    assert looks == set(itertools.product(CONCEPT_COLOURS[:2], ANCHOR_MARKERS[:2]))
    assert [[text.get_text() for text in legend.get_texts()] for legend in figure.legends] == [["c", "d"], ["a", "b"]]


def test_layer_map_of_models_of_different_depth_hides_what_is_missing():
    points = layer_grid().query("task != 'detection' or layer < 2").assign(x=0.0, y=1.0)
    figure = drawn(layer_map(points, row="task"))
    assert [ax.get_visible() for ax in figure.axes] == [True] * 6 + [False] * 2 + [True] * 4


def test_layer_map_refuses_more_than_can_be_told_apart():
    points = pd.DataFrame({"concept": [f"c{n}" for n in range(11)], "anchor": "a", "layer": 1, "x": 0.0, "y": 0.0})
    with pytest.raises(ValueError, match="11"):
        layer_map(points.assign(words=""), row="words")


def test_agreement_curves_have_a_solid_and_a_dashed_line_in_the_tasks_colour():
    rows = itertools.product(TASKS, range(4), ("anchor", "concept", "concept - anchor"))
    agreement = pd.DataFrame(list(rows), columns=["task", "layer", "by"]).assign(ari=0.5, low=0.4, high=0.6)
    figure = drawn(agreement_curves(agreement))
    for ax, task in zip(figure.axes, TASKS, strict=True):
        assert [line.get_linestyle() for line in curves(ax)] == ["-", "--"]
        assert {line.get_color() for line in curves(ax)} == {TASK_COLOURS[task]}


def test_truncation_curves_set_real_words_apart():
    scores = pd.concat([layer_grid().assign(of=of) for of in ("concept", "anchor")])
    figure = drawn(truncation_curves(scores))
    for ax, task in zip(figure.axes, TASKS, strict=True):
        assert [to_hex(line.get_color()) == TASK_COLOURS[task] for line in curves(ax)] == [True, True, False, False]
        np.testing.assert_allclose(curves(ax)[0].get_ydata(), np.arange(4) / 3)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["concept", "anchor", "learned", "real words"]


def test_probe_curves_stand_beside_the_probes_own_accuracy():
    figure = drawn(probe_curves(layer_grid().assign(accuracy=0.9)))
    for ax in figure.axes:
        dotted = [line for line in curves(ax) if line.get_linestyle() == ":"]
        assert len(curves(ax)) - len(dotted) == 2
        assert [list(line.get_ydata()) for line in dotted] == [pytest.approx([0.9] * 4)]


def test_flip_steps_are_shares_of_all_words():
    crossings = pd.DataFrame(
        [(task, turn, 3) for task in TASKS for turn in (1, 3, 3, np.nan)], columns=["task", "crossing", "depth"]
    )
    figure = drawn(flip_steps(crossings))
    for ax in figure.axes:
        assert list(curves(ax)[0].get_ydata()) == [0, 0.25, 0.25, 0.75]
    assert not figure.legends


def test_disagreement_has_a_panel_for_each_task_and_fills_unconstrained_words():
    words = layer_grid(kinds=["learned"]).rename(columns={"layer": "disagreement"}).assign(delta=[np.nan, 1.0] * 24)
    figure = drawn(disagreement_points(words))
    for ax, task in zip(figure.axes, TASKS, strict=True):
        within, free = ax.lines
        assert (within.get_markerfacecolor(), free.get_markerfacecolor()) == ("white", TASK_COLOURS[task])
        assert len(within.get_xdata()) == len(free.get_xdata()) == 8
    assert len({ax.get_xlim() for ax in figure.axes}) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["within a ball", "unconstrained"]


def test_verdicts_are_pieces_of_a_bar_with_their_number():
    counts = pd.DataFrame([[2, 1, 0], [0, 0, 4]], ["study", "paper"], list(VERDICT_COLOURS)[:3])
    figure = drawn(verdict_bars(counts))
    (ax,) = figure.axes
    assert [[patch.get_width() for patch in container] for container in ax.containers] == [[2, 0], [1, 0], [0, 4]]
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["2", "1", "4"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["study", "paper"]


def test_a_way_that_begins_at_the_same_point_for_all_words_is_certain_there():
    figure = drawn(projection_curves(layer_grid()))
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert set(band[band[:, 0] == 0, 1]) == {0.0}


def test_every_concept_has_a_row_of_its_own_off_the_diagonal():
    values = {"anchor": 0.0, "near": 0.4, "free": 0.8}
    rows = [
        (
            dataset,
            concept.name,
            other.anchor,
            task if kind != "anchor" else "anchor",
            task,
            {"near": 0.5}.get(kind, np.nan),
            1.0 if concept == other else value,
        )
        for dataset in ("COCO", "PASCAL")
        for concept, other in itertools.product(concepts_of(dataset, "miniature")[:3], repeat=2)
        for task, (kind, value) in itertools.product(TASKS, values.items())
    ]
    table = pd.DataFrame(rows, columns=["dataset", "concept", "anchor", "trained_on", "evaluated_on", "delta", "value"])
    figure = drawn(concept_points(table, "miniature", 0.5))
    for ax in figure.axes:
        points = [line for line in ax.lines if line.get_marker() not in ("None", "", None)]
        assert [list(line.get_xdata()) for line in points] == [
            [pytest.approx(value)] * 6 for value in values.values()
        ], "the diagonal's 1 is in none"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][:3] == [
        concept.name for concept in concepts_of("COCO", "miniature")[:3]
    ]
