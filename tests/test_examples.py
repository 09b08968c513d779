"""What the page on the real thing shows: generated datasets, real samples where they are at hand, odd files, costs and
commands.
"""

import json
import shlex

import numpy as np
import pytest
from PIL import Image

from vwlib.book.figures.pictures import labelled_grid
from vwlib.book.pages.examples import (
    box_table,
    choice_table,
    datasets_on_disk,
    file_kinds,
    full_size_table,
    holdings_table,
    manifest_table,
    paper_costs,
    sample_examples,
    storage_variants,
)
from vwlib.book.text import fill
from vwlib.concepts import DATASETS
from vwlib.datasets import ORIGINS
from vwlib.paths import ROOT
from vwlib.settings import load_profile
from vwlib.tools.cli import app
from vwlib.tools.weights import fetch_command

PROFILE, PAPER = load_profile("smoke"), load_profile("paper")
SAMPLES = ROOT.parent / "shared" / "samples"
FOUND = datasets_on_disk(PROFILE)


def test_the_profiles_own_datasets_are_counted():
    table = holdings_table(FOUND)
    assert list(table.index) == list(DATASETS) and (table["concepts"] == 10).all() and (table["boxes"] > 0).all()
    assert file_kinds(FOUND)["pictures"].sum() == table[["training images", "test images"]].to_numpy().sum()


def test_several_examples_show_as_many_concepts_as_they_can_and_follow_from_the_seed():
    chosen = sample_examples(FOUND[2], 12, seed=1)
    assert len({example.label for example in chosen[:10]}) == 10 and len(chosen) == 12
    assert [example.path for example in sample_examples(FOUND[2], 12, seed=1)] == [example.path for example in chosen]


def test_the_largest_box_gives_a_scene_its_label():
    boxes = box_table([sample_examples(held, 5) for held in FOUND]).assign(
        area=lambda box: (box["right"] - box["left"]) * (box["bottom"] - box["top"])
    )
    largest = boxes.sort_values("area").groupby(["row", "image"])["kind"].last()
    assert (largest == "label").all() and set(boxes["kind"]) == {"label", "other"}
    figure = labelled_grid(
        [[e.image() for e in sample_examples(held, 5)] for held in FOUND],
        boxes,
        rows=list(DATASETS),
        below=[["a"] * 5] * 4,
    )
    assert sum(len(ax.patches) for ax in figure.axes) == 2 * len(boxes)


def test_storage_variants_come_back_right_and_a_plain_decoder_gets_three_wrong():
    picture = Image.fromarray(
        np.kron(np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))
    )
    odd = storage_variants(picture)
    far = {
        name: [np.abs(np.asarray(copy.resize((96, 64)), int) - np.asarray(picture, int)).mean() for copy in copies]
        for name, copies in odd.items()
    }
    assert all(read.size == picture.size and read.mode == "RGB" for _, read in odd.values())
    assert far["turned (EXIF 6)"][1] < 10 < far["turned (EXIF 6)"][0] and far["CMYK"][1] < 10
    assert np.ptp(np.asarray(odd["16-bit grey"][0])) == 0 < np.ptp(np.asarray(odd["16-bit grey"][1]))
    assert not np.array_equal(*map(np.asarray, odd["transparent"]))


def test_the_choice_and_its_manifest_are_shown():
    choice = choice_table(FOUND, PROFILE.train_images)["choice of 8"]
    assert choice["COCO"] == "8 chosen" and choice["DreamBooth"] == "6 chosen"
    assert choice.index.tolist() == list(DATASETS) and "9 needed" in choice_table(FOUND, 9).loc["COCO", "choice of 9"]
    notes = manifest_table(FOUND, PROFILE.train_images)
    assert (
        len(notes) == 8
        and notes["SHA-256 of the file"].is_unique
        and notes["SHA-256 of the file"].str.len().eq(16).all()
    )


def test_without_a_measurement_the_tables_are_empty_and_with_one_they_add_up(tmp_path):
    file = tmp_path / "full_size.json"
    assert full_size_table(file).empty and paper_costs(PAPER, file=file).empty
    seconds = {"load": 1.0, "prepare": 2.0, "3 steps": 3.0, "evaluate": 4.0}
    one = {"parameters": 10**6, "pixels": 224, "seconds": seconds, "peak_gb": 5.0, "threads": 1}
    file.write_text(json.dumps(dict.fromkeys(("generator", "detector", "classifier"), one) | {"map": {"seconds": {}}}))
    assert full_size_table(file).loc["detector", "3 steps (s)"] == 3 and len(full_size_table(file)) == 3
    costs, faster = paper_costs(PAPER, file=file), paper_costs(PAPER, speed=10, file=file)
    assert costs.loc["in all", "words of figure 3"] == 1200 and costs.loc["in all", "words of the study"] == 6000
    assert faster.loc["in all", "hours of the study"] == pytest.approx(costs.loc["in all", "hours of the study"] / 10)


def test_the_commands_exist_and_name_all_weights_and_datasets():
    models = [model for model in PAPER.models.values() if model.hub]
    lines = fill("08_commands", profile=PAPER, models=models, fetch=fetch_command, origins=ORIGINS).splitlines()
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert {shlex.split(line)[1] for line in lines if line.startswith("vwlib ")} <= known
    assert sum(line.startswith("hf download") for line in lines) == len(models) == 6
    assert all(any(folder in line for line in lines) for folder in PAPER.data.values())


def test_the_page_says_whether_its_pictures_are_real():
    texts = [
        fill("08_pictures", profile=profile, samples=samples)
        for profile, samples in ((PROFILE, ""), (PROFILE, "x"), (PAPER, ""))
    ]
    assert ["generated" in text for text in texts] == [True, False, False] and len(set(texts)) == 3


def test_nothing_to_show_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no picture of ImageNet"):
        datasets_on_disk(PROFILE, str(tmp_path))


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real samples are not at hand")
def test_real_samples_are_shown_as_they_are():
    found = datasets_on_disk(PROFILE, str(SAMPLES))
    table, kinds = holdings_table(found), file_kinds(found)
    assert (
        list(table.index) == list(DATASETS)
        and (table["training images"] > 0).all()
        and table.loc["PASCAL", "boxes that do not count"] > 0
    )
    assert "MPO" in set(kinds["format"]) and "4 chosen" in set(choice_table(found, 8)["choice of 8"])
    assert manifest_table(found, 8)["dataset"].eq("DreamBooth").all()
