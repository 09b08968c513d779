"""Transfer maps: a known map comes back, a rotated copy transfers perfectly (control K1), bad input is refused."""

import pandas as pd
import pytest
import torch
from exactly import in_full_precision

from vwlib.controls import random_rotation, rotated_copy
from vwlib.learn import learn_trials
from vwlib.maps import MAPS, fit_linear_map
from vwlib.models import TASKS, load_model
from vwlib.study.compat import load_material, prepared
from vwlib.transfer import (
    fit_transfer,
    held_out_quality,
    nearest_distances,
    nearest_words,
    ordered_pairs,
    quality_of_all,
    quality_of_kinds,
    retrieval,
    shared_words,
)
from vwlib.trials import make_trials

PROFILE = in_full_precision()


def test_a_known_linear_map_is_recovered():
    source, matrix = torch.randn(200, 30), torch.randn(30, 20)
    torch.testing.assert_close(fit_linear_map(source, source @ matrix), matrix, rtol=1e-4, atol=1e-5)


def test_too_few_words_are_refused():
    with pytest.raises(ValueError, match="10 shared words cannot determine a map from 30 dimensions"):
        fit_linear_map(torch.randn(10, 30), torch.randn(10, 20))


def test_a_map_distributes_over_addition():
    models = {task: load_model(task, PROFILE) for task in TASKS}
    mapping = fit_transfer(models["generation"], models["detection"])
    a, b = torch.randn(2, 4, models["generation"].word_table().shape[1]).split(1)
    torch.testing.assert_close(mapping(a + b), mapping(a) + mapping(b), rtol=1e-3, atol=1e-3)


def test_there_are_six_ordered_pairs():
    assert len(set(ordered_pairs({task: load_model(task, PROFILE) for task in TASKS}))) == 6


def test_shared_words_are_far_more_than_dimensions():
    models = [load_model(task, PROFILE) for task in TASKS]
    assert len(shared_words(*models)) > 3.5 * max(model.word_table().shape[1] for model in models)


@pytest.mark.parametrize("task", TASKS)
def test_a_rotated_copy_transfers_perfectly(task):
    model, trials = load_model(task, PROFILE), make_trials(PROFILE, "COCO")[:2]
    twin = rotated_copy(model, seed=3)
    learned = learn_trials(model, prepared(task, PROFILE, "COCO", "train"), trials, steps=5, lr=0.02, progress=False)
    mapping = fit_transfer(model, twin)
    torch.testing.assert_close(mapping.matrix, random_rotation(len(mapping.matrix), 3), rtol=1e-2, atol=1e-3)
    moved = mapping(learned.vectors)
    torch.testing.assert_close(twin.encode_words(moved), model.encode_words(learned.vectors), rtol=1e-2, atol=2e-3)
    names, test = load_material(PROFILE, "COCO").names, prepared(task, PROFILE, "COCO", "test")
    concepts = [trial.concept for trial in trials]
    here, there = model.evaluate(learned.vectors, concepts, names, test), twin.evaluate(moved, concepts, names, test)
    assert [s.value for s in there] == pytest.approx([s.value for s in here], abs=1e-3)


def test_retrieval_knows_the_truth():
    table = torch.eye(4)
    assert (
        retrieval(table + 0.1, table, torch.arange(4)).all()
        and not retrieval(table, table, torch.tensor([1, 2, 3, 0])).any()
    )


def test_held_out_words_are_not_fitted_on():
    model = load_model("classification", PROFILE)
    quality = held_out_quality(model, rotated_copy(model))
    assert quality["top1"].all() and (quality["r2"] > 0.999).all()


@pytest.mark.parametrize("kind", ["linear", "bias", "ridge", "procrustes"])
def test_a_rotated_copy_is_found_by_every_kind_that_can_rotate(kind):
    model = load_model("classification", PROFILE)
    quality = held_out_quality(model, rotated_copy(model), folds=2, kind=kind)
    assert quality["top1"].all() and (quality["r2"] > 0.999).all()


def test_kinds_stand_one_below_the_other_and_the_papers_is_the_default():
    models = {task: load_model(task, PROFILE) for task in ("detection", "classification")}
    quality = quality_of_kinds(models, ["linear", "ridge"], folds=2)
    assert quality.groupby(["map", "source"]).ngroups == 4
    pd.testing.assert_frame_equal(
        quality[(quality["map"] == "linear")].drop(columns="map"), quality_of_all(models, folds=2)
    )


def test_a_transfer_map_knows_its_kind_and_only_linear_ones_have_a_matrix():
    models = [load_model(task, PROFILE) for task in ("detection", "classification")]
    mapping = fit_transfer(*models, kind="relative")
    assert mapping.kind == "relative" and mapping(torch.zeros(2, 4, models[0].word_table().shape[1])).shape == (
        2,
        4,
        models[1].word_table().shape[1],
    )
    with pytest.raises(ValueError, match="A map of kind 'relative' is not linear and has no matrix"):
        _ = mapping.matrix


def test_an_unknown_kind_is_refused_with_the_kinds_that_there_are():
    models = [load_model(task, PROFILE) for task in ("detection", "classification")]
    with pytest.raises(ValueError, match=f"'linnear' is no kind of map; choose from {', '.join(MAPS)}"):
        fit_transfer(*models, kind="linnear")


def test_nearest_word_of_a_words_embedding_is_itself():
    model = load_model("detection", PROFILE)
    assert nearest_words(model.word_table()[[model.vocabulary.token_of("dog")]], model)[0][0] == "dog"


def test_nearest_distances_do_not_depend_on_how_many_are_compared_at_once():
    table = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    every = (table[:, None] - table).norm(dim=-1) + torch.diag(torch.full((50,), torch.inf))
    for at_once in (7, 50, 4096):
        torch.testing.assert_close(nearest_distances(table, at_once), every.min(1).values, rtol=1e-4, atol=1e-4)
