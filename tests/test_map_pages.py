"""What chapters 2 and 4 say of kinds of map: tables and sentences from made-up scores."""

import itertools

import pandas as pd
import pytest

from vwlib.book.pages.maps import compare_kinds, gain_sentence, gain_table, kind_sentence, kind_table

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


def test_the_best_kind_is_named_beside_the_papers():
    told = kind_sentence(quality(linear=0.3, ridge=0.5))
    assert told.startswith(
        "Over the 2 pairs ridge explains the largest share of held-out words' variance (0.55, where linear has 0.35), and more than"
    )
    assert told.endswith("more than linear in 2 of them. The right word is the nearest most often with linear (50.0%).")
    assert "no kind explains more of held-out words' variance than the paper's, linear (0.35)" in kind_sentence(
        quality(linear=0.3, ridge=0.1)
    )


def test_kinds_are_compared_on_the_same_words():
    compared = compare_kinds(carried(0.1, linear=0.3, ridge=0.8, bias=0.3))
    assert compared["difference"].tolist() == pytest.approx([0.5, 0]) and compared.index.tolist() == ["ridge", "bias"]
    assert compared["p"]["ridge"] < 0.05 < compared["p"]["bias"] and compared["alike"].tolist() == [False, True]


def test_what_words_gain_is_told_with_how_many_kinds_differ():
    table = carried(0.1, linear=0.3, ridge=0.8, bias=0.3, mlp=0.15)
    told = gain_sentence(table)
    assert told.startswith(
        "The 64 words gain +0.20 over their anchors in the two other models when carried by linear, and between"
    )
    assert "between +0.05 (mlp) and +0.70 (ridge) over all kinds." in told
    assert told.endswith(
        "Of the 3 other kinds, 1 carry them clearly better than linear, 1 clearly worse, and 1 alike (within 0.1)."
    )
    shown = gain_table(table)
    assert shown.loc["ridge", "less linear"] == "+0.50" and pd.isna(shown.loc["linear", "less linear"])
