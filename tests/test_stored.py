"""The finished study, for reading: what pages choose from it, and errors where it is missing or of other models."""

import re
import shlex
import shutil

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from vwlib.book.pages.experiments import tables_of
from vwlib.book.pages.study import moves_of
from vwlib.concepts import TASKS
from vwlib.lab import Grid
from vwlib.learn import Learned
from vwlib.ledger.claims import load_settings
from vwlib.ledger.summary import summarise_grid, summarise_study
from vwlib.paths import CACHE, DATA
from vwlib.settings import load_profile
from vwlib.study import run as runner
from vwlib.study.read import StoredStudy, study_of, words_of_grid
from vwlib.study.run import ensure_study
from vwlib.study.store import read_table
from vwlib.tools.cli import app
from vwlib.trials import Trial
from vwlib.words import Word

PROFILE = load_profile("smoke")


@pytest.fixture(scope="module")
def study() -> StoredStudy:
    """The smoke study, computed into the cache at first use."""
    return study_of(PROFILE, ensure_study(PROFILE))


def made(*failed: tuple[str, str, str]) -> StoredStudy:
    """A study of three concepts and anchors whose words are zeros, but for those of a task, concept and anchor that
    diverged.
    """
    names = ("laptop", "dog", "cup")
    trials = [
        (task, concept, anchor, delta)
        for task in TASKS
        for concept in names
        for anchor in names
        for delta in (None, 0.5)
    ]
    words = [
        Word(torch.zeros(4, 8), task, "COCO", concept, anchor, delta, 7, "smoke", 5, 0.1, 8, "", "", "", "")
        for task, concept, anchor, delta in trials
        if (task, concept, anchor) not in failed
    ]
    rows = [(word.dataset, word.concept, word.anchor, word.delta, word.word_id) for word in words]
    table = pd.DataFrame(rows, columns=["dataset", "concept", "anchor", "delta", "word_id"]).astype({"delta": float})
    return StoredStudy(PROFILE, table, {word.word_id: word for word in words}, len(failed))


def test_a_small_study_is_computed_where_it_is_missing(study):
    assert (len(study.bank), study.failed, study.datasets, study.deltas) == (24, 0, ["COCO"], [0.5])
    assert set(study.table["word_id"].dropna()) == study.bank.keys()
    assert study.concepts("COCO") == ["laptop", "scissors"]


def test_a_large_study_that_is_missing_is_named_with_its_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"miniature.*`vwlib study --profile miniature`"):
        study_of(load_profile("miniature"), tmp_path)


@pytest.fixture
def published(study, tmp_path):
    """The smoke study as a published one, which no page may compute, in a folder of its own."""
    shutil.copytree(CACHE / "on_demand", tmp_path / "data")
    return tmp_path / "data"


def test_a_bank_that_does_not_fit_the_table_is_refused(published):
    file = published / "words" / "smoke" / "detection.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ValueError, match="damaged or incomplete; `vwlib study --profile smoke`"):
        study_of(PROFILE, published)


def test_words_of_other_weights_are_refused(published, monkeypatch):
    monkeypatch.setattr("vwlib.study.read.digest_folder", lambda _: "other weights")
    with pytest.raises(ValueError, match=r"generation words.*other weights"):
        study_of(PROFILE, published)


def test_words_are_found_by_trial():
    words = made().words_of("COCO", "dog", "cup", 0.5)
    assert words.trial == Trial("COCO", "dog", "cup", 0.5, 7)
    assert list(words.vectors) == list(TASKS)


@pytest.mark.parametrize(
    ("trial", "sentence"),
    [
        (("PASCAL", "dog", "cup", None), "has no dataset 'PASCAL'; it has COCO."),
        (("COCO", "cat", "cup", None), "has no concept 'cat'; it has laptop, dog, cup."),
        (("COCO", "dog", "cat", None), "has no anchor 'cat'; it has laptop, dog, cup."),
        (("COCO", "dog", "cup", 0.3), "has no delta '0.3'; it has 0.5, unconstrained."),
    ],
)
def test_a_trial_that_the_study_lacks_is_named(trial, sentence):
    with pytest.raises(ValueError, match=f"^The study of profile 'smoke' {sentence}$"):
        made().words_of(*trial)


def test_a_grid_has_concepts_in_rows_and_anchors_in_columns():
    grid = made().grid("COCO", anchors=["cup", "dog"], most=2)
    assert [[(words.trial.concept, words.trial.anchor) for words in row] for row in grid] == [
        [("laptop", "cup"), ("laptop", "dog")],
        [("dog", "cup"), ("dog", "dog")],
    ]


def test_a_word_that_diverged_is_a_hole_and_its_trial_passed_over():
    study = made(("detection", "laptop", "dog"))
    assert list(study.words_of("COCO", "laptop", "dog").vectors) == ["generation", "classification"]
    assert [(words.trial.concept, words.trial.anchor) for words in study.off_diagonal_examples(["COCO"], 2)] == [
        ("dog", "cup"),
        ("cup", "laptop"),
    ]


def test_a_radius_that_the_study_lacks_is_named_with_those_that_it_has():
    made().check_radius(0.5)
    with pytest.raises(ValueError, match=r"0\.3.*0\.5"):
        made().check_radius(0.3)


def test_the_command_that_makes_missing_words_writes_where_they_are_looked_for(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr("vwlib.study.store.CACHE", tmp_path)
    monkeypatch.setattr(runner, "run_study", lambda profile, root, **_: ran.append(root))
    for options, root in (
        ([], tmp_path / "on_demand"),
        (["--store", str(tmp_path / "my store")], tmp_path / "my store"),
    ):
        told = CliRunner().invoke(app, ["words", "--profile", "smoke", *options]).stderr
        command = shlex.split(re.search("`vwlib (.*)`", told)[1])
        assert CliRunner().invoke(app, command).exit_code == 0 and ran.pop() == root.resolve()
        assert str(root) in told


def test_datasets_that_the_study_lacks_are_left_out():
    assert made().available(["PASCAL", "COCO"]) == made().available(["PASCAL"]) == ["COCO"]


def test_words_of_a_live_grid_are_those_of_its_trials():
    trials = [Trial("COCO", "dog", "cup"), Trial("COCO", "cup", "dog")]
    grid = Grid(
        trials,
        {"detection": Learned(torch.arange(2.0)[:, None, None].expand(2, 4, 8), torch.zeros(1, 2))},
        pd.DataFrame(),
    )
    (words,) = words_of_grid(grid, [1])
    assert words.trial == trials[1] and torch.equal(words.vectors["detection"], torch.ones(4, 8))


def test_a_summary_has_every_dataset_and_radius(study):
    summary = summarise_study(study.table, PROFILE.world)
    assert set(zip(summary["dataset"], summary["delta"].fillna(0), strict=True)) == {("COCO", 0), ("COCO", 0.5)}
    assert set(summary.loc[summary["delta"].isna(), "trained_on"]) == {*TASKS, "anchor", "name"}
    assert len(summary) == 2 * (15 + 9)


def test_words_within_a_ball_lie_within_it():
    moves = moves_of(tables_of(PROFILE, ["displacements"])["displacements"], PROFILE.world)
    assert len(moves) == 24 * 4
    assert (moves.loc[moves["delta"] == 0.5, "distance"] <= 0.5 + 1e-4).all()
    assert moves.groupby("diagonal").size().tolist() == [48, 48]


def test_mapped_words_are_looked_for_in_both_other_models():
    moves = moves_of(tables_of(PROFILE, ["mapped_displacements"])["mapped_displacements"], PROFILE.world)
    assert len(moves) == 2 * 24 * 4
    assert not (moves["task"] == moves["source"]).any()


@pytest.mark.skipif(
    not (DATA / "results" / "miniature" / "trials.parquet").exists(), reason="the miniature's study is not stored"
)
def test_the_premise_of_the_stored_study_holds():
    trials = read_table("trials", "miniature")
    summary = summarise_grid(trials[trials["delta"].isna()], "miniature")
    means = summary[summary["trials"] == "off-diagonal"].set_index(["trained_on", "evaluated_on"])["mean"]
    assert all(means[task, task] >= wanted for task, wanted in load_settings().premise.items())


def test_names_are_read_from_the_table_once(monkeypatch):
    study = made()
    study.words_of("COCO", "cup", "dog", 0.5)
    for name in ("__getitem__", "groupby"):
        monkeypatch.setattr(pd.DataFrame, name, lambda *_, **__: pytest.fail("the table is read again"))
    assert study.words_of("COCO", "dog", "cup").vectors.keys() == set(TASKS)
    assert study.concepts("COCO") == study.anchors("COCO") == ["laptop", "dog", "cup"] and study.anchors("none") == []
