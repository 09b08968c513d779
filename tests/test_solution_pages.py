"""What chapters 3 and 5 show of the experiments on solutions, from made-up tables whose answer is known."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from vwlib.book.figures.solutions import compound_points, offset_ranges, random_curves, segment_curves, spread_points
from vwlib.book.figures.style import TASK_COLOURS
from vwlib.book.figures.transfer import frequency_points
from vwlib.book.figures.words import sweep_curves
from vwlib.book.pages.experiments import (
    OFFSET_ARMS,
    claim_of,
    claim_table,
    compound_table,
    reach_table,
    segment_table,
    tables_of,
)
from vwlib.concepts import TASKS
from vwlib.settings import load_profile

PROFILE = load_profile("smoke")
DATASETS, CONCEPTS, ANCHORS = ("ImageNet", "COCO"), "abcd", "wxyz"
GRID = list(itertools.product(DATASETS, CONCEPTS, ANCHORS))


def table(columns, rows):
    return pd.DataFrame(rows, columns=["dataset", "concept", "anchor", *columns])


def wiggle(number):
    """Some spread, the same for every arm, so that differences are certain and levels are not."""
    return 0.04 * (number % 5)


@pytest.fixture
def swept():
    rows = []
    for number, (cell, task, factor, steps) in enumerate(
        itertools.product(GRID, TASKS, (0.25, 1.0, 4.0), (25, 50, 100))
    ):
        if task != "generation" or factor == 1 or cell[0] == "ImageNet":
            value = np.nan if factor == 4 and task == "detection" else 0.5 + 0.1 * (steps == 100) + wiggle(number)
            rows.append((*cell, task, factor, steps, value))
    return table(["task", "factor", "steps", "value"], rows)


@pytest.fixture
def offsets_of_words():
    kinds = {"optimised": 0.2, "random": 0.8, "random, vocabulary": 0.6, "random, word": 0.4}
    rows = [
        (*cell, task, delta, kind, number % 5 < share * 5)
        for number, (cell, task, delta, (kind, share)) in enumerate(
            itertools.product(GRID, TASKS, (0.1, 0.5), kinds.items())
        )
    ]
    return table(["task", "delta", "kind", "kept"], rows)


@pytest.fixture
def ways():
    rows = []
    for number, (cell, task) in enumerate(itertools.product(GRID, TASKS)):
        rows += [
            (*cell, task, "ends", np.nan, 0.8 + wiggle(number)),
            (*cell, task, "middle", 0.5, 0.6 + wiggle(number)),
        ]
        kinds = ["segment"] if task == "generation" else ["segment", "curve"]
        rows += [
            (*cell, task, kind, t, 0.8 - (0.2 if kind == "segment" else 0.05) * (t == 0.5) + wiggle(number))
            for kind in kinds
            for t in (0.0, 0.5, 1.0)
        ]
    return table(["task", "kind", "t", "value"], rows)


@pytest.fixture
def cosines():
    pairs = [("models", *pair, 0.0) for pair in itertools.permutations(TASKS, 2)]
    pairs += [("seeds", "classification", way, 0.4) for way in ("to the twin", "from the twin")]
    return table(
        ["kind", "source", "target", "cosine"],
        [(*c, *pair, v + wiggle(n)) for n, (c, (*pair, v)) in enumerate(itertools.product(GRID, pairs))],
    )


def drawn(figure):
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return figure


def curves(ax):
    """The lines that are more than an interval."""
    return [line for line in ax.lines if line.get_marker() not in ("None", "", None)]


def test_a_sweep_has_a_curve_for_each_rate_over_the_datasets_that_were_learned_at_all_of_them(swept):
    figure = drawn(sweep_curves(swept))
    assert [ax.get_title() for ax in figure.axes] == list(TASKS)
    assert [len(curves(ax)) for ax in figure.axes] == [3, 2, 3], "detection diverged at one rate"
    own = swept[(swept["task"] == "generation") & (swept["factor"] == 1) & (swept["steps"] == 100)]
    shown = next(line for line in curves(figure.axes[0]) if line.get_color() == TASK_COLOURS["generation"])
    assert shown.get_ydata()[-1] == pytest.approx(own.loc[own["dataset"] == "ImageNet", "value"].mean())
    assert shown.get_ydata()[-1] != pytest.approx(own["value"].mean()), "COCO was learned at one rate only"


def test_a_claim_has_a_row_for_each_case_with_the_means_of_its_arms(swept):
    steady = swept.assign(value=swept["value"].where(swept["value"].isna(), 0.5 + 0.1 * (swept["steps"] == 100)))
    cases = claim_of(54, {"sweep": steady[steady["factor"] == 1]}, PROFILE)
    shown = claim_table(cases, "change", "words for", "+.3f", {"before": "before", "last": "at the end"})
    assert shown["words for"].tolist() == list(TASKS)
    assert shown[["before", "at the end"]].to_numpy().ravel().tolist() == pytest.approx([0.5, 0.6] * 3)
    assert shown["change"].str.startswith("+0.100").all() and (shown["trials"] == len(GRID)).all()
    assert claim_table(claim_of(54, {}, PROFILE), "change").empty, "without the table there is no case"


def test_random_offsets_have_a_curve_for_each_kind(offsets_of_words):
    figure = drawn(random_curves(offsets_of_words))
    assert [len(curves(ax)) for ax in figure.axes] == [4] * 3
    assert figure.legends[0].get_texts()[0].get_text() == "learned words"


def test_learned_words_are_compared_with_random_offsets_of_their_own_radius(offsets_of_words):
    near = offsets_of_words[offsets_of_words["delta"] == 0.5]
    kept = near.groupby(["task", "kind"])["kept"].mean()
    shown = claim_table(claim_of(49, {"perturbations": offsets_of_words}, PROFILE), "difference", arms=OFFSET_ARMS)
    assert len(shown) == 3 * len(TASKS)
    row = shown.set_index("case").loc["detection, towards a word"]
    random, learned = kept["detection", "random, word"], kept["detection", "optimised"]
    assert row[["random", "learned"]].tolist() == pytest.approx([random, learned])
    assert row["difference"].startswith(f"{random - learned:+.2f}")


def test_what_learning_reaches_is_told_for_each_radius_and_the_anchor():
    rows = [
        (*cell, "detection", delta, cosine, 0.1)
        for cell in GRID
        for delta, cosine in ((0.1, 0.2), (0.5, 0.6), (None, 0.9))
    ]
    shown = reach_table(table(["task", "delta", "cosine", "start"], rows).astype({"delta": float}))
    assert shown.to_dict("records") == [
        pytest.approx({"encoder of": "detection", "anchor": 0.1, "δ = 0.1": 0.2, "δ = 0.5": 0.6, "free": 0.9})
    ]


def test_the_way_between_two_words_dips_where_the_table_does(ways):
    figure = drawn(segment_curves(ways))
    assert [len(curves(ax)) for ax in figure.axes] == [1, 2, 2], "there is no curve for generation"
    heights = curves(figure.axes[0])[0].get_ydata()
    assert heights[1] < heights[0] == pytest.approx(heights[2])
    shown = segment_table(ways, claim_of(39, {"segments": ways}, PROFILE)).set_index("words for")
    assert (shown["pairs"] == len(GRID)).all() and shown["lose more than 0.1"].str.startswith("100%").all()
    means = ways[ways["task"] == "detection"].groupby("kind")["value"].mean()
    assert shown.loc["detection", ["ends", "half way"]].tolist() == pytest.approx(means[["ends", "middle"]].tolist())
    assert not any(curves(ax) for ax in drawn(segment_curves(ways.iloc[:0])).axes), "there is nothing to draw"
    assert segment_table(ways.iloc[:0], {}).empty


def test_spreads_over_data_and_starts_stand_side_by_side():
    spreads = table(
        ["kind", "spread"],
        [
            (*c, kind, value + wiggle(n))
            for n, (c, (kind, value)) in enumerate(itertools.product(GRID, [("data", 0.3), ("start", 0.1)]))
        ],
    )
    figure = drawn(spread_points(spreads))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(DATASETS) and len(
        curves(figure.axes[0])
    ) == 4


def test_offsets_have_a_line_for_each_pair_and_for_the_second_training(cosines):
    labels = [label.get_text() for label in drawn(offset_ranges(cosines)).axes[0].get_yticklabels()]
    assert (
        labels[0] == "generation to detection" and labels[-1] == "two classifiers, from the twin" and len(labels) == 8
    )


def test_compounds_stand_beside_real_words():
    rows = [
        (None, c, a, task, kind, value, best, 0.7)
        for c, a, task in itertools.product(CONCEPTS, ANCHORS, TASKS)
        for kind, value, best in (("learned", 0.9, 0.5), ("held-out", 0.4, 0.4))
    ]
    compounds = table(["task", "kind", "residual", "best", "value"], rows).drop(columns="dataset")
    figure = drawn(compound_points(compounds))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(TASKS) and len(
        curves(figure.axes[0])
    ) == 9
    shown = compound_table(compounds, claim_of(28, {"compounds": compounds}, PROFILE)).set_index("words for")
    columns = ["by its two parts, all compounds", "by the best two words", "a part's word by the best two others"]
    assert shown.loc["detection", columns].tolist() == pytest.approx([0.9, 0.5, 0.4])
    assert shown.loc["detection", "difference"].startswith("+0.10")


def test_where_nothing_can_be_tinted_there_are_no_compounds():
    empty = tables_of(load_profile("paper"), ["compounds"])["compounds"]
    assert compound_table(empty, claim_of(28, {"compounds": empty}, PROFILE)).empty
    drawn(compound_points(empty))


def test_gain_against_frequency_has_a_point_for_each_thing_and_source():
    rows = [
        (d, c, a, source, target, nouns, -2.0 - CONCEPTS.index(c) / 4, 0.5 - CONCEPTS.index(c) / 8 + wiggle(number))
        for number, ((d, c, a), (source, target), nouns) in enumerate(
            itertools.product(GRID[:16], itertools.permutations(TASKS, 2), ("concepts", "rarer"))
        )
    ]
    frequency = table(["trained_on", "evaluated_on", "nouns", "frequency", "gain"], rows)
    figure = drawn(frequency_points(frequency))
    assert [len(curves(ax)) for ax in figure.axes] == [2 * 2 * len(CONCEPTS)] * 3
