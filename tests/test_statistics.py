"""Intervals and tests on numbers whose truth is known: they find it, they refuse too little, and they cover as often as
they say.
"""

import itertools
from math import inf, isnan

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from vwlib.ledger.estimate import Estimate, evaluate, limits_of, names_in
from vwlib.ledger.statistics import (
    combined_p,
    design_effect,
    holm,
    mean_estimate,
    mean_interval,
    over_trainings,
    pooled_estimate,
    slope_estimate,
    two_way_clustered_estimate,
    verdict,
)


def grid(
    value=0.5, concepts=10, anchors=10, noise=0.1, concept_spread=0.0, anchor_spread=0.0, datasets=("COCO",), seed=0
):
    """A table of trials: `value` plus a part of each concept, of each anchor, and of each trial."""
    rng = np.random.default_rng(seed)
    rows = []
    for dataset in datasets:
        of_concept, of_anchor = rng.normal(0, concept_spread, concepts), rng.normal(0, anchor_spread, anchors)
        for c, a in itertools.product(range(concepts), range(anchors)):
            rows.append((dataset, f"c{c}", f"a{a}", value + of_concept[c] + of_anchor[a] + rng.normal(0, noise)))
    return pd.DataFrame(rows, columns=["dataset", "concept", "anchor", "value"])


def test_equal_shares_have_the_interval_of_clopper_and_pearson():
    for count, n in ((100, 100), (0, 12), (1, 1)):
        mean, low, high = mean_interval([float(count > 0)] * n)
        assert mean == float(count > 0)
        assert (low, high) == pytest.approx(proportion_confint(count, n, method="beta"))


def test_equal_values_that_are_no_shares_have_none():
    assert mean_interval([0.3, 0.3]) == mean_interval([0.3]) == (0.3, 0.3, 0.3)


def test_values_that_differ_keep_their_t_interval():
    assert mean_interval([0.0, 1.0, 1.0, 1.0]) == pytest.approx((0.75, -0.0456, 1.5456), abs=1e-3)


def test_nothing_has_no_mean():
    with pytest.raises(ValueError):
        mean_interval([])


def test_a_grid_of_successes_is_no_certainty():
    table = grid(1.0, noise=0)
    assert 0.69 < mean_estimate(table).interval()[0] < 0.75  # of ten concepts, not of a hundred trials
    assert mean_interval(table["value"])[1] == pytest.approx(0.025**0.01)


@pytest.mark.parametrize("value", [0.2, 0.5])
def test_p_values_and_intervals_agree(value):
    estimate = Estimate(value, 0.05, 9, 40, 0, 1)
    low, high = estimate.interval()
    assert estimate.p_above(low) == pytest.approx(0.025)
    assert estimate.p_below(high) == pytest.approx(0.025)
    assert estimate.p_within(low, high) == pytest.approx(0.025)
    assert estimate.p_outside(0.9, 1.0) < 0.001 < 0.5 < estimate.p_outside(0, 1)


def test_where_nothing_varies_nothing_follows():
    assert Estimate(1.0, 0.0, 9, 10).p_above(0.5) == 1
    lone = Estimate(1.0, inf, 0, 1, 0, 1)
    assert lone.interval() == (0, 1)
    assert lone.p_above(0.1) == lone.p_below(0.9) == 1
    assert isnan(lone.detectable())


def test_what_is_detectable_is_detected_nine_times_in_ten():
    estimate = Estimate(0.0, 0.1, 1000, 1000)
    truth = np.random.default_rng(0).normal(estimate.detectable(), 0.1, 4000)
    assert np.mean([Estimate(value, 0.1, 1000, 1000).interval()[0] > 0 for value in truth]) == pytest.approx(
        0.9, abs=0.02
    )


def test_limits_follow_the_expression():
    assert limits_of("a - b", ["a", "b"], 0, 1) == (-1, 1)
    assert limits_of("a / b", ["a", "b"], 0, 1) == (-inf, inf)
    assert limits_of("a - b", ["a", "b"], -inf, inf) == (-inf, inf)


def test_an_expression_is_arithmetic_and_nothing_else():
    assert names_in("(a - b) / c - 0.1") == {"a", "b", "c"}
    assert evaluate("a / b", {"a": 1.0, "b": np.array([2.0, 0.0])}).tolist() == [0.5, inf]
    for expression in ("a.mean()", "open", "a if b else c"):
        with pytest.raises((ValueError, NameError)):
            evaluate(expression, {"a": 1.0, "b": 1.0})


@pytest.mark.parametrize(("value", "word"), [(0.3, "rises"), (-0.3, "falls"), (0.05, "neither")])
def test_a_verdict_is_the_side_on_which_the_whole_interval_lies(value, word):
    assert verdict(Estimate(value, 0.1, 100, 100), "rises", "falls", "neither") == word


def test_noise_alone_gives_the_error_of_independent_trials():
    errors = [two_way_clustered_estimate({"a": grid(seed=seed)}, "a").se for seed in range(20)]
    assert np.mean(errors) == pytest.approx(0.01, rel=0.25)


@pytest.mark.parametrize("spread", [{"concept_spread": 0.2}, {"anchor_spread": 0.2}])
def test_shared_concepts_and_anchors_widen_the_error(spread):
    errors = [two_way_clustered_estimate({"a": grid(seed=seed, **spread)}, "a").se for seed in range(20)]
    assert np.mean(errors) == pytest.approx(np.hypot(0.2 / np.sqrt(10), 0.01), rel=0.2)
    assert design_effect(grid(**spread)) > 5


def test_intervals_cover_the_truth():
    hits = []
    for seed in range(100):
        low, high = two_way_clustered_estimate(
            {"a": grid(concept_spread=0.1, anchor_spread=0.1, seed=seed)}, "a"
        ).interval()
        hits.append(low < 0.5 < high)
    assert 0.9 <= np.mean(hits) <= 0.99


def test_the_design_effect_of_independent_trials_is_one():
    assert np.mean([design_effect(grid(seed=seed)) for seed in range(40)]) == pytest.approx(1, abs=0.25)
    assert isnan(design_effect(grid(noise=0)))


def test_what_arms_share_cancels():
    one = grid(concept_spread=0.3)
    other = one.assign(value=one["value"] - 0.05)
    estimate = two_way_clustered_estimate({"one": one, "other": other}, "one - other")
    assert estimate.value == pytest.approx(0.05)
    assert estimate.means["one"] - estimate.means["other"] == pytest.approx(estimate.value)
    assert estimate.se < 1e-6


def test_arms_are_compared_on_the_cells_they_share():
    one = grid(0.9, noise=0)
    easy = grid(0.5, noise=0).query("concept == 'c0'")
    one.loc[one["concept"] != "c0", "value"] = 0.1
    assert two_way_clustered_estimate({"one": one, "easy": easy}, "one - easy").value == pytest.approx(0.4)
    apart = two_way_clustered_estimate({"one": one, "easy": easy}, "one - easy", paired_arms=[["one"], ["easy"]])
    assert apart.value == pytest.approx(0.18 - 0.5)


def test_strata_count_alike_and_failed_trials_not_at_all():
    table = pd.concat([grid(0.2, 3, 3, 0, datasets=("COCO",)), grid(0.8, noise=0, datasets=("PASCAL",))])
    table.iloc[0, 3] = np.nan
    estimate = two_way_clustered_estimate({"a": table}, "a")
    assert (estimate.value, estimate.n, estimate.df) == (pytest.approx(0.5), 108, 9)  # ten concepts in all


def test_a_ratio_of_nothing_is_undetermined():
    estimate = two_way_clustered_estimate({"a": grid(0.5), "b": grid(0.0, noise=0)}, "a / b")
    assert estimate.p_above(0.1) == estimate.p_below(10) == 1


def test_a_share_counts_words_or_concepts_that_are_above_and_no_ties():
    arms = {"a": grid(0.6, noise=0), "b": grid(0.5, noise=0)}
    estimate = two_way_clustered_estimate(arms, "a - b", share="words")
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == (1, 0, 1, 100)
    assert two_way_clustered_estimate({"a": grid(), "b": grid()}, "a - b", share="words").value == 0
    one = grid(0.5, noise=0)
    one.loc[one["concept"].isin(["c0", "c1"]) & (one["anchor"] != "a0"), "value"] = 0.7
    arms = {"a": one, "b": grid(0.5, noise=0)}
    assert two_way_clustered_estimate(arms, "a - b", share="words").value == pytest.approx(0.18)
    assert two_way_clustered_estimate(arms, "a - b - 0.1", share="concepts").value == pytest.approx(0.2)


def test_concepts_of_one_name_are_one_cluster_whatever_their_dataset():
    """Two datasets whose concepts are the same nouns, with the same luck, tell no more than one."""
    one = grid(concept_spread=0.2, noise=0.01, seed=5)
    same = pd.concat([one, one.assign(dataset="PASCAL", anchor=one["anchor"] + "'")])
    other = pd.concat([one, one.assign(dataset="PASCAL", concept=one["concept"] + "'", anchor=one["anchor"] + "'")])
    single, twice, apart = (two_way_clustered_estimate({"a": table}, "a") for table in (one, same, other))
    assert (twice.se, twice.df) == (pytest.approx(single.se, rel=0.05), 9)
    assert apart.df == 18 and apart.se == pytest.approx(single.se / np.sqrt(2), rel=0.05)


def test_two_trainings_hold_the_model():
    one, other = (Estimate(value, 0.03, 30, 90, 0, 1) for value in (0.6, 0.7))
    both, alike = over_trainings([one, other]), over_trainings([one, one])
    assert (both.value, both.se) == (pytest.approx(0.65), pytest.approx(np.hypot(0.03, 0.05)))
    assert alike.se == pytest.approx(0.03) and both.df < 3 < alike.df
    with pytest.raises(ValueError, match="two are needed"):
        over_trainings([one])


@pytest.mark.parametrize("datasets", [("COCO",), ("COCO", "PASCAL")])
def test_without_spread_concepts_are_the_independent_units(datasets):
    """A hundred trials of ten concepts that all succeed exclude no more than ten successes do, and ten concepts in two
    datasets are ten.
    """
    found = mean_estimate(grid(1.0, noise=0, datasets=datasets))
    (low, high), ten = found.interval(), 0.025**0.1  # Clopper and Pearson's
    assert (found.n, high) == (100 * len(datasets), 1) and ten < low < ten + 0.05
    assert found.p_above(0.9) > 0.025 > found.p_above(0.6)
    arms = {name: grid(0.5, noise=0, datasets=datasets) for name in ("a", "b")}
    same = two_way_clustered_estimate(arms, "a - b", limits=(0, 1))
    assert same.interval() == pytest.approx((-0.28, 0.28), abs=0.02) and same.value == 0


def test_pairs_that_share_an_anchor_are_not_independent():
    """A mean over the pairs of ten anchors is no surer than a mean over ten anchors."""
    effects = np.random.default_rng(3).normal(0, 0.1, 10)
    pairs = list(itertools.combinations(range(10), 2))
    rows = [
        ("COCO", f"c{concept}", f"a{i} and a{j}", (effects[i] + effects[j]) / 2)
        for concept in range(5)
        for i, j in pairs
    ]
    table = pd.DataFrame(rows, columns=["dataset", "concept", "anchor", "value"])
    found, naive = (two_way_clustered_estimate({"mean": table}, "mean", pairs=pairs) for pairs in (True, False))
    assert found.value == pytest.approx(effects.mean())
    assert found.se == pytest.approx(effects.std(ddof=1) / np.sqrt(10), rel=0.1) and naive.se < 0.7 * found.se
    assert found.df == 4  # of five concepts


def test_one_unit_is_enough_and_one_trial_is_not():
    words = pd.DataFrame({"word": [f"w{i}" for i in range(50)], "top1": [1.0] * 40 + [0.0] * 10})
    estimate = two_way_clustered_estimate(
        {"a": words}, "a", units=("word",), stratum=None, measure="top1", limits=(0, 1)
    )
    assert estimate.se == pytest.approx(np.sqrt(0.8 * 0.2 / 49), rel=0.1)
    assert two_way_clustered_estimate(
        {"a": words[:1]}, "a", units=("word",), stratum=None, measure="top1", limits=(0, 1)
    ).interval() == (0, 1)


def test_arms_without_trials_are_named():
    with pytest.raises(ValueError, match="'b'"):
        two_way_clustered_estimate({"a": grid(), "b": grid()[:0]}, "a - b")
    with pytest.raises(ValueError, match="a, b"):
        two_way_clustered_estimate({"a": grid(datasets=("COCO",)), "b": grid(datasets=("PASCAL",))}, "a - b")


@pytest.mark.parametrize(("slope", "found"), [(1.0, True), (0.0, False)])
def test_a_trend_is_found_where_there_is_one(slope, found):
    table = grid(concept_spread=0.05, seed=3)
    table["x"] = table["concept"].str[1:].astype(int) / 10
    table["value"] += slope * table["x"]
    estimate = slope_estimate(table, "x")
    assert estimate.value == pytest.approx(slope, abs=0.2)
    assert (estimate.p_above(0) < 0.025) == found


def test_a_trend_within_groups_is_not_the_trend_between_them():
    """Simpson's table: in either dataset the value falls with x, and the dataset with the larger x has the larger
    values.
    """
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, 200)
    other = np.arange(200) % 2
    table = pd.DataFrame(
        {
            "concept": [f"c{i // 2 % 10}" for i in range(200)],
            "dataset": other,
            "delta": np.nan,
            "x": x + 2 * other,
            "value": 3 * other - x + rng.normal(0, 0.01, 200),
        }
    )
    assert slope_estimate(table, "x").value > 0.5
    assert slope_estimate(table, "x", within=["dataset", "delta"]).value == pytest.approx(-1, abs=0.05)


def test_a_trend_needs_groups_and_a_range():
    with pytest.raises(ValueError, match="3"):
        slope_estimate(grid(concepts=3).assign(x=1), "x")
    with pytest.raises(ValueError, match="'x'"):
        slope_estimate(grid().assign(x=1), "x")


def test_results_with_intervals_are_pooled():
    estimate = pooled_estimate([0.7, 0.8, 0.9], [0.6, 0.7, 0.8], [0.8, 0.9, 1.0])
    assert (estimate.value, estimate.se, estimate.df) == (pytest.approx(0.8), pytest.approx(0.1 / np.sqrt(3)), 2)
    assert pooled_estimate([0.7], [0.6], [0.8]).p_above(0) == 1
    with pytest.raises(ValueError):
        pooled_estimate([], [], [])


def test_holm_is_stricter_than_each_p_value_alone():
    assert holm([0.01, 0.04, 0.5]) == pytest.approx([0.03, 0.08, 0.5])
    assert len(holm([])) == 0


def test_several_cases_make_one_p_value():
    p = [0.001, 0.004, 0.01, 0.9]
    assert combined_p(p, "all") == 0.9
    assert combined_p(p, "any") == pytest.approx(0.004)
    assert combined_p(p, "half") == pytest.approx(0.012)
    assert combined_p(p, "most") == pytest.approx(0.02)
    with pytest.raises(ValueError, match="'few'"):
        combined_p(p, "few")
    with pytest.raises(ValueError):
        combined_p([], "all")
