"""Transfer maps: a known map comes back, a rotated copy transfers perfectly (a control), bad input is refused."""

import pandas as pd
import pytest
import torch

from vwlib.concepts import TASKS
from vwlib.experiments.controls import random_rotation, rotated_copy
from vwlib.experiments.displacements import nearest_words
from vwlib.experiments.map_quality import (
    held_out_quality,
    nearest_distances,
    quality_of_all,
    quality_of_kinds,
    retrieval,
)
from vwlib.maps import fit_linear
from vwlib.transfer import fit_transfer, shared_words
from vwlib.trials import make_trials


def test_a_known_linear_map_is_recovered():
    source, matrix = torch.randn(200, 30), torch.randn(30, 20)
    torch.testing.assert_close(fit_linear(source, source @ matrix).matrix, matrix, rtol=1e-4, atol=1e-5)


def test_too_few_words_are_refused():
    with pytest.raises(ValueError, match="10 shared words"):
        fit_linear(torch.randn(10, 30), torch.randn(10, 20))


def test_a_map_distributes_over_addition(lab):
    mapping = lab.transfer_map("generation", "detection")
    a, b = torch.randn(2, 4, lab.model("generation").word_table().shape[1]).split(1)
    torch.testing.assert_close(mapping(a + b), mapping(a) + mapping(b), rtol=1e-3, atol=1e-3)
    assert lab.transfer_map("generation", "detection") is mapping


def test_shared_words_are_far_more_than_dimensions(lab):
    models = lab.models.values()
    assert len(shared_words(*models)) > 3.5 * max(model.word_table().shape[1] for model in models)


@pytest.mark.parametrize("task", TASKS)
def test_a_rotated_copy_transfers_perfectly(task, precise_lab):
    lab, trials = precise_lab, make_trials(precise_lab.profile, "COCO")[:2]
    model = lab.model(task)
    twin = rotated_copy(model, seed=3)
    learned = lab.learn(task, trials, progress=False).vectors
    mapping = fit_transfer(model, twin)
    matrix = mapping.function.matrix
    torch.testing.assert_close(matrix, random_rotation(len(matrix), 3), rtol=1e-2, atol=1e-3)
    moved = mapping(learned)
    torch.testing.assert_close(twin.encode_words(moved), model.encode_words(learned), rtol=1e-2, atol=2e-3)
    names, test = lab.split("COCO").names, lab.features(task, "COCO", "test")
    here = [score.value for score in lab.evaluate(task, learned, trials)]
    there = [score.value for score in twin.evaluate(moved, [trial.concept for trial in trials], names, test)]
    assert there == pytest.approx(here, abs=1e-3)


def test_retrieval_knows_the_truth():
    table = torch.eye(4)
    assert retrieval(table + 0.1, table, torch.arange(4)).all()
    assert not retrieval(table, table, torch.tensor([1, 2, 3, 0])).any()


@pytest.mark.parametrize("kind", ["linear", "bias", "ridge", "procrustes"])
def test_held_out_words_of_a_rotated_copy_are_found_by_every_map_that_can_rotate(kind, lab):
    model = lab.model("classification")
    quality = held_out_quality(model, rotated_copy(model), folds=2, kind=kind)
    assert quality["top1"].all() and (quality["r2"] > 0.999).all()


def test_kinds_stand_one_below_the_other_and_the_papers_is_the_default(lab):
    models = {task: lab.model(task) for task in ("detection", "classification")}
    quality = quality_of_kinds(models, ["linear", "ridge"], folds=2)
    assert quality.groupby(["map", "source"]).ngroups == 4
    linear = quality[(quality["map"] == "linear")].drop(columns="map")
    pd.testing.assert_frame_equal(linear, quality_of_all(models, folds=2))


def test_a_transfer_map_knows_its_kind(lab):
    mapping = lab.transfer_map("detection", "classification", "relative")
    d, other = (lab.model(task).word_table().shape[1] for task in ("detection", "classification"))
    assert mapping.kind == "relative" and mapping(torch.zeros(2, 4, d)).shape == (2, 4, other)


def test_an_unknown_map_is_refused(lab):
    with pytest.raises(ValueError, match=r"'linnear'.*procrustes"):
        lab.transfer_map("detection", "classification", "linnear")


def test_nearest_word_of_a_words_embedding_is_itself(lab):
    model = lab.model("detection")
    assert nearest_words(model.embeddings_of(["dog"])[0], model)[0][0] == "dog"


def test_nearest_distances_do_not_depend_on_how_many_are_compared_at_once():
    table = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    every = (table[:, None] - table).norm(dim=-1) + torch.diag(torch.full((50,), torch.inf))
    for at_once in (7, 50, 4096):
        torch.testing.assert_close(nearest_distances(table, at_once), every.min(1).values, rtol=1e-4, atol=1e-4)
