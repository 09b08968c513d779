"""The miniature's four datasets on disk: their formats, counts, styles and repeatability."""

import hashlib
import json

import numpy as np
import pytest

from vwlib.concepts import DATASETS, concepts_of
from vwlib.datasets import load_dataset
from vwlib.datasets.source import SPLITS
from vwlib.miniature import world
from vwlib.miniature.scenes import HELD_OUT_STYLE, tint
from vwlib.miniature.sprites import load_sprites, recolour

COUNTS = {"train": 2, "test": 4}


@pytest.fixture(scope="module")
def small_world(tmp_path_factory):
    return world.ensure_world(tmp_path_factory.mktemp("world"), **COUNTS)


def hashes(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def read(folder, dataset, split):
    return load_dataset(dataset, folder / dataset, concepts_of(dataset, "miniature"), split)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_every_concept_has_its_number_of_images(small_world, dataset, split):
    labels = [example.label for example in read(small_world, dataset, split)]
    assert {label: labels.count(label) for label in labels} == {
        concept.name: COUNTS[split] for concept in concepts_of(dataset, "miniature")
    }


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_boxes_read_back_are_exactly_the_scenes(small_world, dataset, split):
    names = {concept.prompt_name: concept.name for concept in concepts_of(dataset, "miniature")}
    drawn = []
    for image in world.world_images(dataset, **COUNTS):
        if image.split == split:
            drawn.append(
                sorted((names[o.drawing.noun], *o.box) for o in image.scene.objects if o.drawing.noun in names)
            )
    found = [
        sorted((name, *box) for name, box in zip(e.names, e.boxes.tolist(), strict=True))
        for e in read(small_world, dataset, split)
    ]
    assert sorted(found) == sorted(drawn)


def test_two_writes_give_the_same_bytes(small_world, tmp_path):
    again = world.ensure_world(tmp_path, **COUNTS)
    assert again.name == small_world.name and hashes(again) == hashes(small_world)


def test_another_seed_gives_other_images_and_more_images_change_none(tmp_path):
    first, other, more = tmp_path / "first", tmp_path / "other", tmp_path / "more"
    world.write_dataset("ImageNet", first, train=1, test=1)
    world.write_dataset("ImageNet", other, train=1, test=1, seed=1)
    world.write_dataset("ImageNet", more, train=2, test=2)
    pictures = [
        {key: value for key, value in hashes(folder).items() if key.endswith(".JPEG")}
        for folder in (first, other, more)
    ]
    assert not set(pictures[0].values()) & set(pictures[1].values())
    assert pictures[0].items() <= pictures[2].items()


@pytest.mark.parametrize("dataset", DATASETS)
def test_no_test_image_is_a_training_image(small_world, dataset):
    train, test = (
        {hashlib.sha256(e.path.read_bytes()).hexdigest() for e in read(small_world, dataset, split)} for split in SPLITS
    )
    assert len(train) == 20 and len(test) == 40 and not train & test


@pytest.mark.parametrize("group", ["fresh-04", "fresh-05", "fresh-12"])
def test_a_group_of_fresh_concepts_is_read_in_the_format_of_its_layout(tmp_path, group):
    folder = world.ensure_world(tmp_path, dataset=group, **COUNTS)
    for split in SPLITS:
        labels = [example.label for example in read(folder, group, split)]
        assert {label: labels.count(label) for label in labels} == {
            concept.name: COUNTS[split] for concept in concepts_of(group, "miniature")
        }
    styles = [example.style for example in read(folder, group, "test")]
    assert styles.count(HELD_OUT_STYLE) == 10
    assert folder != world.ensure_world(tmp_path, dataset="fresh-01", **COUNTS)


def test_validation_images_are_none_of_the_others(small_world, tmp_path):
    folder = world.ensure_world(tmp_path, validation=True)
    for dataset in DATASETS:
        labels = [example.label for example in read(folder, dataset, "test")]
        assert set(map(labels.count, labels)) == {world.VALIDATION}
    pictures = [
        {code for name, code in hashes(path).items() if name.endswith((".jpg", ".JPEG"))}
        for path in (folder, small_world)
    ]
    assert not pictures[0] & pictures[1]


@pytest.mark.parametrize("dataset", ["ImageNet", "COCO", "PASCAL"])
def test_one_test_image_in_six_is_in_the_held_out_style_and_no_training_image_is(small_world, dataset):
    test = [example.style for example in read(small_world, dataset, "test")]
    assert test.count(HELD_OUT_STYLE) == 10 and None not in test  # of four images of each concept, the first
    assert HELD_OUT_STYLE not in {example.style for example in read(small_world, dataset, "train")}


@pytest.mark.parametrize("dataset", ["COCO", "PASCAL"])
def test_all_objects_of_a_scene_share_the_side_of_the_split_and_none_is_tinted(dataset):
    for image in world.world_images(dataset, **COUNTS):
        held_out = {placed.drawing.style == HELD_OUT_STYLE for placed in image.scene.objects}
        assert held_out == {image.split == "test" and image.index % 6 == 0}
        assert all(placed.drawing.colour is None and not placed.drawing.hue for placed in image.scene.objects)


@pytest.mark.parametrize("dataset", ["COCO", "PASCAL"])
def test_the_main_object_has_the_largest_box_and_no_noun_stands_twice(dataset):
    for image in world.world_images(dataset, **COUNTS):
        nouns = [placed.drawing.noun for placed in image.scene.objects]
        assert nouns[0] == image.concept.prompt_name and len(set(nouns)) == len(nouns)
        assert image.scene.objects[0].area > max((placed.area for placed in image.scene.objects[1:]), default=0)


def test_nothing_that_would_be_called_by_a_concepts_name_stands_unannotated():
    assert not {"duck", "owl", "woman", "taxi", "ship", "bird"} & set(world._fillers("PASCAL"))
    assert {"duck", "woman", "train"} <= set(world._fillers("COCO"))


def test_an_instance_is_one_drawing_that_differs_clearly_from_the_plain_one():
    sprites = load_sprites()
    for concept in concepts_of("DreamBooth", "miniature"):
        drawing = world.INSTANCES[concept.prompt_name]
        # Trainings see tinted drawings of the other styles, but none whose hue is turned.
        assert drawing.hue or (drawing.colour and drawing.style == HELD_OUT_STYLE)
        plain = sprites.images[drawing.noun][drawing.style]
        turned = tint(plain, drawing.colour) if drawing.colour else recolour(plain, drawing.hue)
        colours = [
            np.asarray(picture, float)[np.asarray(plain.getchannel("A")) > 96][:, :3] for picture in (plain, turned)
        ]
        assert np.abs(colours[0] - colours[1]).mean() > 15, drawing


def test_dreambooth_has_at_most_six_training_images_a_subject(tmp_path):
    world.write_dataset("DreamBooth", tmp_path, train=8, test=1)
    assert len(list((tmp_path / "dataset" / "cat").glob("*.jpg"))) == 6
    assert len(list((tmp_path / "test" / "cat").glob("*.jpg"))) == 1


def test_the_files_stand_where_the_real_formats_have_them(small_world):
    voc = small_world / "PASCAL" / "VOCdevkit" / "VOC2012"
    assert (voc / "ImageSets" / "Main" / "aeroplane_train.txt").read_text().splitlines()[0] == "2012_000001  1"
    assert "<name>aeroplane</name>" in (voc / "Annotations" / "2012_000001.xml").read_text()
    coco = json.loads((small_world / "COCO" / "annotations" / "instances_val2017.json").read_text())
    assert (len(coco["images"]), "cell phone" in {c["name"] for c in coco["categories"]}) == (40, True)
    assert (
        small_world / "ImageNet" / "ILSVRC" / "Annotations" / "CLS-LOC" / "val" / "ILSVRC2012_val_00000040.xml"
    ).exists()
    assert "n07745940 strawberry\n" in (small_world / "ImageNet" / "LOC_synset_mapping.txt").read_text()


def test_pycocotools_and_torchvision_read_what_is_written(small_world, capsys):
    from torchvision.datasets import CocoDetection, VOCDetection

    coco = CocoDetection(
        small_world / "COCO" / "train2017", small_world / "COCO" / "annotations" / "instances_train2017.json"
    )
    voc = VOCDetection(str(small_world / "PASCAL"), year="2012", image_set="train")
    assert (len(coco), len(voc)) == (20, 20) and voc[0][1]["annotation"]["filename"] == "2012_000001.jpg"
    assert coco[0][0].size == (96, 96) and {"bbox", "category_id", "area"} <= coco[0][1][0].keys()


def test_a_world_is_written_once(small_world, monkeypatch):
    monkeypatch.setattr(world, "write_dataset", None)
    assert world.ensure_world(small_world.parent, **COUNTS) == small_world


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(world, "compose", interrupted)
    with pytest.raises(KeyboardInterrupt):
        world.ensure_world(tmp_path, **COUNTS)
    assert list(tmp_path.iterdir()) == []
