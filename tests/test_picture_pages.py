"""Pictures, boxes and scores of words for the pages, live and from the stored sheets."""

import numpy as np
import pandas as pd
import pytest
import torch

from vwlib.book.pages.pictures import (
    Sheets,
    detect_grid,
    detect_trials,
    draw_grid,
    draw_trials,
    first_of,
    found_boxes,
    hits,
    named_rightly,
    one_per_concept,
    sheets_of,
    stored_grid,
    stored_trials,
)
from vwlib.book.pages.words import encode_stages, stage_scores
from vwlib.concepts import TASKS
from vwlib.lab import Grid
from vwlib.learn import Learned
from vwlib.settings import load_profile
from vwlib.study.read import TrialWords, study_of
from vwlib.trials import Trial


@pytest.fixture(scope="module")
def study():
    """The smoke study, computed into the cache at first use."""
    return study_of(load_profile("smoke"))


def test_stages_run_from_the_anchor_to_the_name(lab):
    trials = [Trial("COCO", "cup", "dog"), Trial("COCO", "cup", "dog", seed=1), Trial("COCO", "cup", "dog", 0.5)]
    d = lab.detector.word_table().shape[1]
    stages = encode_stages(lab, "detection", trials, torch.randn(3, 4, d))
    assert list(stages) == ["anchor word", "learned, unconstrained", "learned, within delta = 0.5", "concept's name"]
    assert len({feature.shape for feature in stages.values()}) == 1


def test_found_boxes_are_as_many_as_true_ones(lab):
    examples = first_of(lab.split("PASCAL").test, ["car", "cat"])
    model = lab.detector
    boxes = found_boxes(model, examples, model.encode_prompts(["a photo of a car", "a photo of a cat"])[None])
    for image, example in enumerate(examples):
        drawn = boxes[boxes["image"] == image]
        assert drawn["score"].isna().sum() == drawn["score"].notna().sum() == len(example.boxes_of(example.label))


def test_one_trial_per_concept_starts_elsewhere():
    trials = [Trial("COCO", concept, anchor) for concept in ("laptop", "dog") for anchor in ("laptop", "dog")]
    assert one_per_concept(Grid(trials, {}, []), "miniature") == [1, 2]


def test_pictures_of_trials_stand_beside_a_training_image(study, lab):
    pictures, verdicts = draw_trials(lab, study.off_diagonal_examples(["COCO"], 1), targets=True)
    assert [len(row) for row in pictures] == [len(row) for row in verdicts] == [6]
    assert pictures[0][0].size == lab.split("COCO").train[0].image().size
    assert verdicts[0][0] == "" and set(verdicts[0][1:]) <= set(lab.split("COCO").names.values())


def test_stored_pictures_are_those_that_the_words_draw(study, lab):
    """Cut out of sheets that are compressed: a picture is nearest to the one that the same word draws."""
    chosen = study.off_diagonal_examples(["COCO"], 2)
    stored, named = stored_trials(sheets_of(lab), chosen)
    drawn, verdicts = draw_trials(lab, chosen, targets=True)
    assert named == verdicts
    there, here = (
        np.stack([np.asarray(picture, float).ravel() for row in rows for picture in row[1:]])
        for rows in (stored, drawn)
    )
    distances = np.abs(there[:, None] - here).mean(-1)
    assert (np.diag(distances) <= distances.min(1) + 0.01).all() and np.diag(distances).max() < 12  # of 255
    grid = study.grid("COCO", delta=0.5)
    assert stored_grid(sheets_of(lab), grid)[1] == draw_grid(lab, grid)[1]


def test_without_sheets_pictures_are_drawn(study, lab):
    none = Sheets(lab, pd.DataFrame())
    assert (
        stored_grid(none, study.grid("COCO", delta=0.5))[1]
        == stored_grid(sheets_of(lab), study.grid("COCO", delta=0.5))[1]
    )


def test_scores_that_the_study_has_are_read_from_it(study, lab):
    trials = [Trial("COCO", "laptop", "scissors"), Trial("COCO", "laptop", "scissors", 0.5)]
    words = [study.words_of("COCO", "laptop", "scissors", delta).vectors for delta in (None, 0.5)]
    learned = {task: Learned(torch.stack([one[task] for one in words]), torch.zeros(0, 2)) for task in TASKS}
    read, computed = stage_scores(lab, trials, learned, study), stage_scores(lab, trials, learned)
    pd.testing.assert_frame_equal(read, computed, check_exact=False)
    assert list(read.index) == list(TASKS)


def test_the_detector_is_asked_for_five_texts_on_an_image_of_each_trial(study, lab):
    images, boxes = detect_trials(lab, study.off_diagonal_examples(["COCO"], 2))
    assert len(images) == 2
    assert set(zip(boxes["row"], boxes["image"], strict=True)) == {
        (row, image) for row in range(5) for image in range(2)
    }


def test_a_word_that_diverged_leaves_its_place_in_a_grid_empty(study, lab):
    grid = study.grid("COCO", delta=0.5)
    grid[1][0] = TrialWords(grid[1][0].trial, {})
    pictures, verdicts = draw_grid(lab, grid)
    images, boxes = detect_grid(lab, grid)
    for shown in (pictures, images):
        assert [[picture is None for picture in row] for row in shown] == [[False, False], [True, False]]
    assert verdicts[1][0] == "" and named_rightly(lab, grid, verdicts)[1] == hits(boxes)[1] == 3
    assert set(boxes.loc[boxes["row"] == 1, "image"]) == {1}


def test_a_hit_overlaps_a_true_box_by_half():
    columns = ["row", "image", "left", "top", "right", "bottom", "score"]
    truth, near, far = (0, 0, 10, 10, float("nan")), (0, 0, 10, 6, 0.5), (5, 5, 9, 9, 0.9)
    boxes = pd.DataFrame([(0, 0, *truth), (0, 0, *near), (0, 1, *truth), (0, 1, *near), (0, 1, *far)], columns=columns)
    assert hits(boxes) == (1, 2)  # what counts is the best box of each image
