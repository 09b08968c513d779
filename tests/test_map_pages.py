"""What chapters 2 and 4 show of kinds of map: tables from made-up scores."""

import itertools

import pandas as pd
import pytest

from vwlib.book.pages.transfer import compare_kinds, gain_table, kind_table

PAIRS = [("generation", "detection"), ("detection", "generation")]


def quality(**r2):
    """Four held-out words for each pair and kind; `top1` is true for half of them."""
    rows = [
        (kind, *pair, value + place / 10, word < 2)
        for kind, value in r2.items()
        for place, pair in enumerate(PAIRS)
        for word in range(4)
    ]
    table = pd.DataFrame(rows, columns=["map", "source", "target", "r2", "top1"])
    return table.assign(r2_fitted=0.9, cosine=0.5, top5=True)


def carried(noise=0.0, **values):
    """Scores of the words of four concepts and anchors in two datasets, by kind; the floor is 0.1. Kinds differ a
    little from concept to concept.
    """
    rows = itertools.product(enumerate(values.items()), ("COCO", "PASCAL"), PAIRS, "abcd", "wxyz")
    table = pd.DataFrame(
        [
            (kind, value + (noise if c in "ab" else -noise) + 0.01 * place * (1 if c in "ac" else -1), d, *pair, c, a)
            for (place, (kind, value)), d, pair, c, a in rows
        ]
    )
    table.columns = pd.Index(["map", "value", "dataset", "trained_on", "evaluated_on", "concept", "anchor"])
    return table.assign(floor=0.1, gain=table["value"] - 0.1, r2=0.4)


def test_kinds_are_averaged_over_pairs_and_counted_against_the_papers():
    shown = kind_table(quality(linear=0.3, ridge=0.5, mlp=0.2))
    assert shown["r2"].tolist() == pytest.approx([0.35, 0.55, 0.25]) and shown["top1"].tolist() == [0.5] * 3
    assert shown["pairs better than the paper's"].tolist() == ["", "2", "0"]


def test_kinds_are_compared_on_the_same_words():
    compared = compare_kinds(carried(0.1, linear=0.3, ridge=0.8, bias=0.3))
    assert compared["difference"].tolist() == pytest.approx([0.5, 0]) and compared.index.tolist() == ["ridge", "bias"]
    assert compared["p"]["ridge"] < 0.05 < compared["p"]["bias"] and compared["alike"].tolist() == [False, True]


def test_gains_stand_beside_the_difference_from_the_papers_map():
    table = carried(0.1, linear=0.3, ridge=0.8, bias=0.3, mlp=0.15)
    shown = gain_table(table, compare_kinds(table))
    assert shown["gain over the anchor"].to_dict() == pytest.approx(
        {"linear": 0.2, "ridge": 0.7, "bias": 0.2, "mlp": 0.05}
    )
    assert shown.loc["ridge", "less linear"] == "+0.50" and pd.isna(shown.loc["linear", "less linear"])
