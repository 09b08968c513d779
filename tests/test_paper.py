"""The paper's numbers: all there, and set beside ours in the right cells."""

import pandas as pd
import pytest

from vwlib.concepts import TASKS
from vwlib.ledger.paper import beside_paper, hyperparameters, paper_results
from vwlib.settings import load_profile


def test_both_figures_are_complete():
    three, six = paper_results("figure_3"), paper_results("figure_6")
    assert (len(three), len(six)) == (36, 144)
    for points in (three, six):
        assert ((points["low"] <= points["mean"]) & (points["mean"] <= points["high"])).all()
    assert set(six["delta"]) == {0.1, 0.2, 0.5, 1.0}


def test_the_ratios_that_the_text_quotes_are_in_the_numbers():
    means = paper_results("figure_3").set_index(["dataset", "trained_on", "evaluated_on"])["mean"]
    assert means["PASCAL", "classification", "generation"] / means[
        "PASCAL", "generation", "generation"
    ] == pytest.approx(0.84, abs=0.005)
    assert means["COCO", "generation", "classification"] / means[
        "COCO", "classification", "classification"
    ] == pytest.approx(0.59, abs=0.005)


def test_datasets_may_be_written_in_any_case_and_unknown_figures_are_refused():
    assert len(paper_results(dataset="coco")) == 9
    with pytest.raises(ValueError, match="'figure_4' has no numbers here; there are figure_3, figure_6"):
        paper_results("figure_4")


def test_ours_stand_beside_the_papers():
    ours = pd.DataFrame(
        {
            "dataset": "COCO",
            "evaluated_on": ["generation", "generation"],
            "trained_on": ["generation", "anchor"],
            "mean": 0.9,
            "low": 0.8,
            "high": 0.95,
        }
    )
    (row,) = beside_paper(ours).to_dict("records")
    assert row["mean_paper"] == 0.99
    assert row["difference"] == pytest.approx(-0.09)
    assert not row["within"]


def test_the_papers_profile_has_the_papers_settings():
    table = hyperparameters(load_profile("paper")).iloc[:, 1:]
    stated = table[table.iloc[:, 0] != "not stated"]
    assert (stated.iloc[:, 0] == stated.iloc[:, 1]).all()
    assert set(load_profile("paper").learning) == set(TASKS)
