"""What the pages show: tables of models and runs, of a grid and of where words lie."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import torch

from vwlib.book.pages.experiments import tables_of
from vwlib.book.pages.models import describe_models, describe_run, provenance, quality_table
from vwlib.book.pages.study import delta_counts, delta_means, moves_of, nearest_words, paper_points, study_or_stand_in
from vwlib.book.pages.tables import as_table
from vwlib.book.pages.transfer import (
    compare_transfers,
    comparison_table,
    direction_table,
    grid_table,
    kept_share,
    off_diagonal_table,
    paper_over_datasets,
)
from vwlib.concepts import DATASETS, TASKS, concepts_of
from vwlib.experiments.carried import row_table
from vwlib.experiments.displacements import displacement_table
from vwlib.learn import ball_radius
from vwlib.ledger.paper import beside_paper, paper_results
from vwlib.ledger.summary import is_diagonal, summarise_grid, summarise_study
from vwlib.models import load_model
from vwlib.settings import load_profile
from vwlib.study.read import study_of
from vwlib.trials import Trial, make_trials

PROFILE = load_profile("smoke")


def scores(values):
    """A grid of 2 x 2 trials with a value for each source, the same in every target."""
    rows = [
        {
            "dataset": "COCO",
            "concept": concept,
            "anchor": anchor,
            "trained_on": source,
            "evaluated_on": target,
            "value": value + (concept == anchor) / 4,
        }
        for target in TASKS
        for source, value in values.items()
        for concept in ("laptop", "dog")
        for anchor in ("laptop", "dog")
    ]
    return pd.DataFrame(rows)


def test_rows_between_floor_and_ceiling_are_of_the_grids_datasets_and_off_the_diagonal():
    trials = scores({"generation": 0.5, "detection": 0.25, "classification": 0.75, "anchor": 0.0}).assign(delta=np.nan)
    ends = {"trained_on": "source", "evaluated_on": "target"}
    carried = trials[trials["trained_on"].isin(TASKS) & (trials["trained_on"] != trials["evaluated_on"])]
    twin = carried.head(4).assign(trained_on="classification", evaluated_on="classification_twin", own=0.875)
    names = carried.assign(value=0.625, own=0.5).rename(columns=ends).drop(columns="anchor")
    tables = {
        "other_maps": pd.concat([carried.assign(map="ridge"), carried.assign(map="ridge", dataset="PASCAL", value=1)]),
        "twin": twin.rename(columns=ends),
        "ceilings": pd.concat([names, names.assign(source="classification_twin", value=0)]),
        "carried_anchors": carried.assign(value=0.125).rename(columns=ends),
    }
    table = row_table(trials, tables, "miniature").set_index(["row", "evaluated_on", "trained_on"])
    assert table.loc[("learned there", "generation", "generation"), "mean"] == 0.5
    assert table.loc[("carried", "generation", "detection"), "mean"] == 0.25
    assert table.loc[("carried by ridge", "generation", "detection"), "mean"] == 0.25
    assert table.loc[("its name, carried", "generation", "detection"), ["mean", "own"]].tolist() == [0.625, 0.5]
    assert table.loc[("anchor word, carried", "generation", "detection"), "mean"] == 0.125
    assert table.loc[("carried into a twin", "classification", "classification"), "own"] == 0.875
    assert "carried from a twin" not in table.index.get_level_values("row")
    assert len(table.loc["its name, carried"]) == 6


def test_the_diagonal_is_where_a_word_starts_at_its_own_name():
    table = pd.DataFrame(
        {
            "dataset": ["ImageNet", "ImageNet", "COCO"],
            "concept": ["top hat", "fish", "dog"],
            "anchor": ["hat", "hat", "dog"],
        }
    )
    assert is_diagonal(table, "miniature").tolist() == [True, False, True]


def test_a_grid_is_summarised_with_and_without_the_diagonal():
    summary = summarise_grid(scores({"generation": 0.5}), "miniature").set_index(["trials", "evaluated_on"])
    assert summary.loc[("all", "detection"), "mean"].item() == pytest.approx(0.625)
    off = summary.loc[("off-diagonal", "detection")]
    assert off[["mean", "independent_low", "independent_high", "n"]].tolist() == [0.5, 0.5, 0.5, 2]
    assert off["low"] < 0.1 and off["high"] > 0.9  # two equal trials prove nothing


def crossed(datasets, **values):
    """Trials of ten concepts and anchors of each dataset with a mean for each source, the same in every target but on
    the own task, which scores 0.9.
    """
    rng, rows = np.random.default_rng(0), []
    for dataset, target, (source, value) in itertools.product(datasets, TASKS, values.items()):
        known = concepts_of(dataset, "miniature")
        for concept, anchor in itertools.product(known, known):
            score = (0.9 if source == target else value) + rng.normal(0, 0.02)
            rows.append((dataset, concept.name, anchor.anchor, source, target, np.nan, min(max(score, 0), 1)))
    columns = ["dataset", "concept", "anchor", "trained_on", "evaluated_on", "delta", "value"]
    return pd.DataFrame(rows, columns=columns)


def test_transfers_are_tested_one_by_one():
    trials = crossed(["COCO", "PASCAL"], anchor=0.1, generation=0.5, detection=0.1, classification=0.9)
    found = compare_transfers(trials, "miniature")
    assert (len(found), found["worse"].sum(), found["better"].sum()) == (12, 8, 8)
    by_source = found.groupby("source")[["worse", "better"]].all()
    assert by_source.loc["generation"].all() and not by_source.loc["detection", "better"]
    assert not by_source.loc["classification", "worse"]
    assert found.loc[found["source"] == "generation", "gain"].tolist() == pytest.approx([0.4] * 4, abs=0.02)


def test_directions_have_a_gain_where_all_datasets_are_there():
    values = {"anchor": 0.1, "generation": 0.5, "detection": 0.1, "classification": 0.9}
    for datasets, shown in ((DATASETS, "+0.40"), (["COCO"], "–")):
        trials = crossed(datasets, **values)
        table = direction_table(trials, summarise_grid(trials, "miniature"), "miniature")
        row = table.loc[("generation", "detection")]
        assert row["gain over the anchor"].startswith(shown)
        assert row["word learned there"] == pytest.approx(0.9, abs=0.02) and len(table) == 6


def test_the_grid_is_shown_with_a_row_for_each_target_and_source():
    shown = grid_table(summarise_grid(scores({"anchor": 0.1, "generation": 0.5}), "miniature"))
    assert shown.loc[("classification", "generation"), "off-diagonal"] == 0.5
    assert len(shown) == 6


def test_displacements_are_in_units_of_the_balls_radius():
    model = load_model("classification", PROFILE)
    table = model.word_table()
    token = model.vocabulary.token_of("dog")
    known = sorted(model.vocabulary.words().values())
    offset = torch.zeros_like(table[token])
    offset[0] = 0.4 * ball_radius(table[known], known.index(token), 1.0)
    trial = Trial("COCO", "cup", "dog", 0.5)
    moves = displacement_table(
        load_model("classification", PROFILE), [trial], torch.stack([table[token], table[token] + offset])[None]
    )
    assert moves["distance"].tolist() == pytest.approx([0, 0.4], abs=1e-4)
    assert moves["is_anchor"].all()


def test_models_stand_beside_the_papers(lab):
    description = describe_models(lab.models)
    assert description.index.tolist() == [*TASKS, "judge"]
    assert description.loc["generation", "d in the paper"] == 1024
    assert description["d here"].is_unique
    assert description.loc["generation", "image here (px)"] == 64


def test_quality_that_was_not_measured_is_called_so(tmp_path):
    assert set(quality_table(tmp_path / "none.json")["value"]) == {"not measured"}
    file = tmp_path / "quality.json"
    file.write_text(json.dumps({"detector": {"ap50": 0.7, "counts": {"images": 500}}}))
    assert quality_table(file).loc["detector", ["value", "measured on"]].iloc[0].tolist() == ["0.700", "500 scenes"]


def test_a_run_says_what_it_reduced():
    assert "instead of 1,000" in describe_run(PROFILE)
    assert "instead of 1,000" not in describe_run(PROFILE, learning=False)
    assert describe_run(load_profile("paper")) == "This page was run with the paper's models, datasets and settings."


def test_provenance_is_one_row():
    row = provenance(PROFILE, dataset="COCO", concepts=[], seed=0)
    assert len(row) == 1
    assert row.loc[0, ["profile", "concepts", "seed"]].tolist() == ["smoke", "the profile's", 0]


def test_tables_are_shown_without_row_numbers():
    shown = as_table(pd.DataFrame({"a": [0.123], "b": [None]}))
    assert "0.12" in shown._repr_html_()
    assert "<th>0</th>" not in shown._repr_html_()
    assert as_table(pd.DataFrame({"a": ["x"]}), upright=True)._repr_html_().count("<td>") == 2
    read = as_table(pd.DataFrame({"a": ["x"], "b": ["a sentence that is read, word after word"]}))._repr_html_()
    assert "<th>a</th>" in read and '<th style="min-width: 9rem;">b</th>' in read


@pytest.fixture(scope="module")
def study():
    """The smoke study, computed into the cache at first use."""
    return study_of(PROFILE)


@pytest.fixture(scope="module")
def whole():
    """A summary of two datasets, unconstrained and at one radius, where words keep to their own task."""
    values = {
        None: {"anchor": 0.1, "name": 0.7, "generation": 0.5, "detection": 0.3, "classification": 0.4},
        0.5: dict.fromkeys(TASKS, 0.2),
    }
    coco = pd.concat([scores(value).assign(delta=delta or float("nan")) for delta, value in values.items()])
    pascal = coco.assign(dataset="PASCAL").replace({"laptop": "car", "dog": "cat"})
    return summarise_study(pd.concat([coco, pascal], ignore_index=True), "miniature")


def test_what_is_kept_is_a_median_over_transfers(whole):
    free = whole[whole["delta"].isna() & (whole["trials"] == "off-diagonal")]
    shares = [source / own for own in (0.5, 0.3, 0.4) for source in (0.5, 0.3, 0.4) if source != own]
    gains = [(s - 0.1) / (own - 0.1) for own in (0.5, 0.3, 0.4) for s in (0.5, 0.3, 0.4) if s != own]
    floor = free[free["trained_on"] == "anchor"].set_index(["dataset", "evaluated_on"])["mean"]
    assert (kept_share(free), kept_share(free, floor)) == pytest.approx((np.median(shares), np.median(gains)))


def test_the_papers_transfers_keep_less_than_a_quarter_in_the_median():
    paper = paper_results("figure_3")
    assert kept_share(paper) == pytest.approx(0.23, abs=0.005)
    less = paper["mean"] - 0.1 * (paper["evaluated_on"] != "detection")  # of accuracies only
    assert kept_share(paper.assign(mean=less)) == pytest.approx(0.198, abs=0.001)


def test_datasets_stand_beside_the_paper_at_one_radius(whole):
    every = whole[whole["trials"] == "all"]
    for delta, rows, ours in ((None, every["delta"].isna(), 0.5), (0.5, every["delta"] == 0.5, 0.2)):
        comparison = beside_paper(every[rows], delta)
        assert len(comparison) == 18 and list(comparison["dataset"].unique()) == ["COCO", "PASCAL"]
        assert comparison.loc[0, "mean_ours"] == pytest.approx(ours + 0.125)
    assert comparison_table(comparison).columns[0] == "dataset"
    assert "dataset" not in comparison_table(comparison[:9])


def test_off_diagonal_means_stand_between_floor_and_ceiling(whole):
    shown = off_diagonal_table(whole[whole["delta"].isna()])
    assert list(shown.index[::9]) == [("COCO", "generation", "generation"), ("PASCAL", "generation", "generation")]
    assert shown.loc[
        ("PASCAL", "detection", "classification"), ["anchor word", "learned word", "concept's name"]
    ].tolist() == pytest.approx([0.1, 0.4, 0.7])


def test_the_radii_come_in_order_and_the_unconstrained_last(whole):
    means = delta_means(whole)
    assert means.index[0] == 0.5 and np.isnan(means.index[1])
    assert means["own task, off-diagonal"].tolist() == pytest.approx([0.2, 0.4])
    paper = paper_points().query("delta.isna() and trained_on != evaluated_on and dataset in ('COCO', 'PASCAL')")
    assert means["transferred, paper"].iloc[1] == pytest.approx(paper["mean"].mean())


def test_counts_at_a_radius_leave_the_diagonal_out(whole):
    counts = delta_counts(whole, 0.5)
    assert counts.pop("floor") == pytest.approx(0.1)
    assert list(counts.values()) == [6, 6, 12, 0, 0]  # two trials prove nothing


def test_where_words_lie_is_told_for_each_task_and_radius():
    tables = tables_of(PROFILE, ["displacements", "mapped_displacements"])
    moves, mapped = (moves_of(table, PROFILE.world) for table in tables.values())
    table = nearest_words(moves)
    assert list(zip(table["words of"], table["delta"], strict=True)) == [
        (task, delta) for task in TASKS for delta in ("0.5", "unconstrained")
    ]
    assert moves.loc[moves["delta"] == 0.5, "distance"].max() <= 0.5 + 1e-4
    assert nearest_words(mapped)["words of"].iloc[0] == "generation, mapped into detection"


def test_a_missing_study_is_stood_in_for_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("vwlib.study.store.DATA", tmp_path)
    study, told = study_or_stand_in(load_profile("miniature"))
    assert study.profile.name == "smoke"
    assert "`vwlib study --profile miniature`" in told and "profile 'smoke'" in told
    with pytest.raises(FileNotFoundError, match="profile 'paper'"):
        study_or_stand_in(load_profile("paper"))


def test_a_study_says_what_it_has(study):
    _, told = study_or_stand_in(PROFILE)
    assert [part in told for part in ("24 words", "2 concepts", "2 anchors", "(COCO)", "radius 0.5,")] == [True] * 5
    assert "diverged" not in told


def test_a_grid_takes_the_words_that_the_study_has(study, lab):
    trials = make_trials(PROFILE, "COCO")
    learned = study.learned(trials)
    assert set(learned) == set(TASKS)
    grid = lab.run_trials(trials, targets=["classification"], progress=False, learned=learned)
    assert grid.learned["generation"] is learned["generation"]
    stored = study.table[study.table["delta"].isna() & (study.table["evaluated_on"] == "classification")]
    key = ["concept", "anchor", "trained_on"]
    both = grid.table.merge(stored, on=key, suffixes=("", "_stored"))
    assert len(both) == len(trials) * 5 and both["value"].tolist() == pytest.approx(both["value_stored"].tolist())
    assert study.learned(make_trials(PROFILE, "COCO", seed=7)) == {}


def test_figure_three_in_one_row_is_a_mean_over_datasets_with_and_without_the_diagonal():
    rows = []
    for dataset, level in (("COCO", 0.2), ("PASCAL", 0.6)):
        known = concepts_of(dataset, "miniature")[:4]
        for concept, anchor, number in itertools.product(known, known, (0, 1)):
            value = 1.0 if concept is anchor else level + 0.1 * number
            rows.append((dataset, concept.name, anchor.anchor, None, "generation", "detection", value))
    table = pd.DataFrame(
        rows, columns=["dataset", "concept", "anchor", "delta", "trained_on", "evaluated_on", "value"]
    ).astype({"delta": float})
    found = summarise_grid(table, "miniature").set_index("trials")
    assert found.loc["off-diagonal", "mean"] == pytest.approx(0.45) and found.loc["all", "mean"] == pytest.approx(
        0.45 * 0.75 + 0.25
    )
    assert (found["low"] <= found["mean"]).all() and (found["mean"] <= found["high"]).all()


def test_the_papers_figure_three_in_one_row_has_narrower_intervals_than_a_single_dataset():
    one, every = paper_over_datasets(["COCO"]), paper_over_datasets(["ImageNet", "DreamBooth", "COCO", "PASCAL"])
    paper = paper_results("figure_3", "COCO").set_index(["evaluated_on", "trained_on"])
    cell = one.set_index(["evaluated_on", "trained_on"]).loc[("detection", "generation")]
    assert cell["mean"] == pytest.approx(paper.loc[("detection", "generation"), "mean"]) and len(one) == len(every) == 9
    assert (every["high"] - every["low"]).mean() < (one["high"] - one["low"]).mean()
