"""The readers: the four real formats on real photographs where these are at hand, and small made-up folders for the
rest.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from inputs import annotation, picture, text, thing
from PIL import Image

from vwlib.concepts import DATASETS, concepts_of, find_concept
from vwlib.datasets import choose, load_dataset
from vwlib.datasets.choose import training_examples
from vwlib.datasets.folders import read_dreambooth, read_photos
from vwlib.datasets.imagenet import read_imagenet
from vwlib.datasets.pictures import IMAGE_SUFFIXES, FileExample, load_image
from vwlib.datasets.voc import read_voc
from vwlib.paths import ROOT

SAMPLES = ROOT.parent / "shared" / "samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real samples are not at hand")


def voc(root, objects, size=(40, 30)):
    """A VOC devkit of one image."""
    devkit = root / "VOCdevkit" / "VOC2012"
    picture(devkit / "JPEGImages" / "a.jpg", size)
    text(devkit / "ImageSets" / "Main" / "train.txt", "a\n")
    return text(devkit / "Annotations" / "a.xml", annotation(objects, size_tag(size)))


def size_tag(size):
    return f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"


def coco(root, annotations, year=2017, name="7.jpg"):
    """A COCO training set of one 40 × 30 px image, with all categories of the paper's concepts and one more."""
    categories = [{"id": 3 * k + 1, "name": concept.label} for k, concept in enumerate(concepts_of("COCO"))]
    content = {
        "images": [{"id": 7, "file_name": name, "width": 40, "height": 30}],
        "annotations": annotations,
        "categories": [*categories, {"id": 90, "name": "toothbrush"}],
    }
    picture(root / f"train{year}" / name)
    return text(root / "annotations" / f"instances_train{year}.json", json.dumps(content))


STRAWBERRY = find_concept("strawberry", "ImageNet")


def imagenet(root, objects, size=(40, 30), split="train", stored=None):
    """A CLS-LOC set of one strawberry, its XML as published: `filename` without extension, names are WordNet ids."""
    part = Path("train", STRAWBERRY.label) if split == "train" else Path("val")
    path = root / "ILSVRC" / "Data" / "CLS-LOC" / part / "a_1.JPEG"
    if stored is None:
        picture(path)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        stored(path)
    head = f"<folder>{part.name}</folder><filename>a_1</filename>{size_tag(size)}"
    text(root / "ILSVRC" / "Annotations" / "CLS-LOC" / part / "a_1.xml", annotation(objects, head))
    return read_imagenet(root, [STRAWBERRY], split)


def box(category, *bbox, iscrowd=0):
    return {"image_id": 7, "category_id": category, "bbox": bbox, "iscrowd": iscrowd}


# --- the formats


def test_voc_corners_count_from_one_and_parts_are_ignored(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"
    voc(tmp_path, thing(more=part))
    (example,) = load_dataset("PASCAL", tmp_path, concepts_of("PASCAL"), "train")
    assert (example.label, example.names, example.boxes.tolist()) == ("airplane", ["airplane"], [[0, 1, 30, 20]])
    voc(tmp_path, f"<object><name>cat</name>{part}</object>")  # of which no box is taken
    with pytest.raises(ValueError, match=r"a\.xml"):
        read_voc(tmp_path, concepts_of("PASCAL"), "train")


def test_difficult_objects_are_no_targets_but_are_kept(tmp_path):
    voc(tmp_path, thing() + thing("car", (1, 1, 40, 30), "<difficult>1</difficult>"))
    (example,) = read_voc(tmp_path, concepts_of("PASCAL"), "train")
    assert (example.label, example.names) == ("airplane", ["airplane"])
    assert (example.ignored_names, example.ignored_boxes.tolist()) == (["car"], [[0, 0, 40, 30]])


def test_voc_coordinates_may_have_decimals(tmp_path):
    voc(tmp_path, thing("aeroplane", (1.5, 2.25, "30.0", 20)))
    (example,) = read_voc(tmp_path, concepts_of("PASCAL"), "train")
    assert example.boxes.tolist() == [[0.5, 1.25, 30, 20]]


@pytest.mark.parametrize("value", ["nan", "1e400", "wide"])
def test_a_coordinate_that_is_no_number_is_refused(tmp_path, value):
    voc(tmp_path, thing("aeroplane", (1, 2, value, 20)))
    with pytest.raises(ValueError, match=r"a\.xml.*<xmax>"):
        read_voc(tmp_path, concepts_of("PASCAL"), "train")


def test_an_image_without_objects_is_left_out_beside_others(tmp_path):
    voc(tmp_path, thing())
    devkit = tmp_path / "VOCdevkit" / "VOC2012"
    text(devkit / "ImageSets" / "Main" / "train.txt", "empty\na\n\n")
    text(devkit / "Annotations" / "empty.xml", "<annotation><filename>empty.jpg</filename></annotation>")
    assert [example.path.stem for example in read_voc(tmp_path, concepts_of("PASCAL"), "train")] == ["a"]


def test_boxes_are_clipped_to_the_image(tmp_path):
    voc(tmp_path, thing(), size=(25, 10))
    (example,) = read_voc(tmp_path, concepts_of("PASCAL"), "train")
    assert example.boxes.tolist() == [[0, 1, 25, 10]]


def test_an_image_whose_largest_box_shows_no_concept_is_left_out(tmp_path):
    voc(tmp_path, thing() + thing("sofa", (1, 1, 40, 30)))
    with pytest.raises(ValueError, match="airplane"):
        read_voc(tmp_path, concepts_of("PASCAL"), "train")


def test_coco_boxes_are_corner_and_size_and_crowds_are_ignored(tmp_path):
    coco(tmp_path, [box(1, 2, 3, 10, 20), box(4, 0, 0, 4, 4), box(1, 0, 0, 40, 30, iscrowd=1), box(90, 0, 0, 5, 5)])
    (example,) = load_dataset("coco", tmp_path, concepts_of("COCO"), "train")
    assert (example.label, example.names) == ("laptop", ["laptop", "scissors"])
    assert example.boxes.tolist() == [[2, 3, 12, 23], [0, 0, 4, 4]] and example.ignored_names == ["laptop"]


def test_coco_knows_crowds_as_rle_gaps_between_categories_and_boxes_without_area(tmp_path):
    crowd = box(1, 0, 0, 40, 30, iscrowd=1) | {"segmentation": {"counts": [0, 1200], "size": [30, 40]}}
    coco(tmp_path, [crowd, box(28, 5, 5, 10, 10), box(1, 3, 3, 8, 0), box(90, 0, 0, 5, 5)])
    (example,) = load_dataset("COCO", tmp_path, concepts_of("COCO"), "train")
    assert (example.label, example.names, example.ignored_names) == ("remote", ["remote"], ["laptop"])


def test_coco_of_2014_is_read_where_2017_is_absent(tmp_path):
    coco(tmp_path, [box(1, 2, 3, 10, 20)], 2014, "COCO_train2014_000000000007.jpg")
    (example,) = training_examples(load_dataset("COCO", tmp_path, concepts_of("COCO"), "train"), "laptop", 1)
    assert example.path == tmp_path / "train2014" / "COCO_train2014_000000000007.jpg"
    assert example.image().size == (40, 30)


def test_imagenet_takes_the_class_from_the_folder_and_boxes_of_its_wordnet_id(tmp_path):
    (example,) = imagenet(tmp_path, thing("n07745940", (5, 6, 50, 20)) + thing("n03495258", (0, 0, 9, 9)))
    assert (example.label, example.names, example.boxes.tolist()) == ("strawberry", ["strawberry"], [[5, 6, 40, 20]])


def test_imagenets_validation_images_lie_flat_with_their_class_in_the_xml(tmp_path):
    (example,) = imagenet(tmp_path, thing("n07745940", (5, 6, 15, 20)), split="test")
    assert (example.label, example.boxes.tolist()) == ("strawberry", [[5, 6, 15, 20]])


def test_imagenets_corners_in_the_wrong_order_are_put_in_order_and_boxes_outside_left_out(tmp_path):
    (example,) = imagenet(tmp_path, thing("n07745940", (15, 20, 5, 6)) + thing("n07745940", (50, 40, 60, 50)))
    assert example.boxes.tolist() == [[5, 6, 15, 20]]


def test_boxes_drawn_on_a_picture_not_yet_upright_turn_with_it(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    stored = Image.new("RGB", (40, 30), "white")
    stored.paste("red", (8, 0, 16, 16))
    save = lambda path: stored.save(path, exif=exif, quality=100)  # noqa: E731
    (example,) = imagenet(tmp_path, thing("n07745940", (8, 0, 16, 16)), stored=save)
    red = np.asarray(example.image())[..., 1] < 128
    assert np.allclose(example.boxes, [[14, 8, 30, 16]]) and red[8:16, 14:30].all() and red.sum() == 8 * 16


def test_dreambooth_holds_out_the_last_third_of_a_subject_by_name(tmp_path):
    clock, vase = find_concept("clock", "DreamBooth"), find_concept("vase", "DreamBooth")
    for concept, count in ((clock, 6), (vase, 5)):
        for k in range(count):
            picture(tmp_path / "dataset" / concept.label / f"{k:02d}.jpg")
    train, test = ([e.path.stem for e in read_dreambooth(tmp_path, [clock, vase], s)] for s in ("train", "test"))
    assert train == ["00", "01", "02", "03", "00", "01", "02", "03"] and test == ["04", "05", "04"]


def test_own_photos_take_boxes_from_the_file_beside_them(tmp_path):
    picture(tmp_path / "mug" / "a.PNG")
    picture(tmp_path / "mug" / "b.jpg")
    text(tmp_path / "mug" / "boxes.json", json.dumps({"a.PNG": [[1, 2, 99, 9]]}))
    first, second = read_photos(tmp_path / "mug")
    assert (first.label, first.names, first.boxes.tolist()) == ("mug", ["mug"], [[1, 2, 40, 9]])
    assert (second.boxes.shape, read_photos(tmp_path / "mug", "cup")[0].label) == ((0, 4), "cup")


def test_a_scaled_copy_keeps_its_boxes_and_another_picture_is_refused(tmp_path):
    voc(tmp_path, thing())
    photo = tmp_path / "VOCdevkit" / "VOC2012" / "JPEGImages" / "a.jpg"
    found = read_voc(tmp_path, concepts_of("PASCAL"), "train")
    picture(photo, (80, 61))
    (example,) = training_examples(found, "airplane", 1)
    assert np.allclose(example.boxes, [[0, 61 / 30, 60, 61 / 1.5]])
    picture(photo, (30, 40))
    with pytest.raises(ValueError, match=r"a\.jpg is 30 × 40 px, but its annotation is for 40 × 30 px"):
        training_examples(found, "airplane", 1)
    photo.unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.jpg"):
        choose.test_examples(found, ["airplane"])


def test_names_that_lead_out_of_the_dataset_are_refused(tmp_path):
    voc(tmp_path, thing())
    text(tmp_path / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main" / "train.txt", "../../secret\n")
    with pytest.raises(ValueError, match=r"train\.txt .*\.\./\.\./secret"):
        read_voc(tmp_path, concepts_of("PASCAL"), "train")
    for name in ("../7.jpg", "/7.jpg", "a\\..\\..\\7.jpg", "C:7.jpg"):
        annotations = coco(tmp_path, [box(1, 2, 3, 10, 20)])
        annotations.write_text(annotations.read_text().replace('"7.jpg"', json.dumps(name)))
        with pytest.raises(ValueError, match=r"instances_train2017\.json names a picture outside"):
            load_dataset("COCO", tmp_path, concepts_of("COCO"), "train")


# --- pictures


@pytest.mark.parametrize("mode", ["L", "CMYK", "1", "I;16", "P", "RGBA", "LA"])
def test_pictures_of_every_mode_become_rgb(tmp_path, mode):
    path = tmp_path / f"a.{'jpg' if mode == 'CMYK' else 'png'}"
    Image.new(mode, (4, 3)).save(path)
    assert (load_image(path).mode, load_image(path).size) == ("RGB", (4, 3))


def test_grey_of_16_bits_keeps_its_shades(tmp_path):
    Image.new("I;16", (4, 3), 128 * 257).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").getpixel((0, 0)) == (128, 128, 128)


def test_truncated_missing_and_wrong_pictures_get_one_sentence(tmp_path):
    path = picture(tmp_path / "a.jpg", (200, 200), quality=95)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match=r"^The image .*a\.jpg is truncated or no picture \(.*\)\.$"):
        load_image(path)
    with pytest.raises(FileNotFoundError, match=r"b\.jpg"):
        load_image(tmp_path / "b.jpg")
    with pytest.raises(ValueError, match=r"c\.jpg"):
        load_image(text(tmp_path / "c.jpg", "hello"))


# --- what is missing or broken


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_missing_folder_and_an_empty_one_are_named(tmp_path, dataset):
    concepts = concepts_of(dataset)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_dataset(dataset, tmp_path / "nowhere", concepts, "train")
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
        load_dataset(dataset, tmp_path, concepts, "train")


def test_unknown_datasets_and_splits_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'CIFAR'"):
        load_dataset("CIFAR", tmp_path, [], "train")
    with pytest.raises(ValueError, match="'val'"):
        load_dataset("COCO", tmp_path, [], "val")


def test_a_folder_without_pictures_and_a_missing_annotation_are_named(tmp_path):
    text(tmp_path / "notes.txt", "nothing to see")
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        read_photos(tmp_path)
    voc(tmp_path, "").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.xml"):
        read_voc(tmp_path, concepts_of("PASCAL"), "train")


@pytest.mark.parametrize(
    ("content", "named"), [('{"images": [', "is no valid JSON"), ("[]", "COCO"), ('{"images": []}', "'categories'")]
)
def test_a_malformed_json_is_named(tmp_path, content, named):
    coco(tmp_path, []).write_text(content)
    with pytest.raises(ValueError, match=rf"instances_train2017\.json.*{named}"):
        load_dataset("COCO", tmp_path, concepts_of("COCO"), "train")


def test_a_coco_box_of_three_numbers_and_a_lacking_category_are_named(tmp_path):
    coco(tmp_path, [box(1, 2, 3, 4)])
    with pytest.raises(ValueError, match=r"annotation number 1, .*\[2, 3, 4\]"):
        load_dataset("COCO", tmp_path, concepts_of("COCO"), "train")
    coco(tmp_path, [box(1, 2, 3, 10, 20)])
    with pytest.raises(ValueError, match="'cell phone'"):
        load_dataset("COCO", tmp_path, concepts_of("COCO", "miniature"), "train")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"a.jpg": [[1, 2, 3]]}, r"a\.jpg no boxes of four numbers"),
        ({"b.jpg": [[1, 2, 3, 4]]}, r"b\.jpg, which is not there"),
        ({"../a.jpg": [[1, 2, 3, 4]]}, "outside the dataset"),
        ({"a.jpg": [[9, 2, 3, 4]]}, r"\[9, 2, 3, 4\] .* 40 × 30 px"),
        ({"a.jpg": [[1, 2, float("nan"), 4]]}, r"a\.jpg no boxes of four numbers"),
        ({"a.jpg": 4}, r"a\.jpg no boxes of four numbers"),
        ([1, 2, 3, 4], "no list of boxes"),
    ],
)
def test_boxes_by_hand_are_checked(tmp_path, content, named):
    picture(tmp_path / "a.jpg")
    text(tmp_path / "boxes.json", json.dumps(content))
    with pytest.raises(ValueError, match=rf"boxes\.json.*{named}"):
        read_photos(tmp_path)


def test_a_subject_with_a_single_image_cannot_be_split(tmp_path):
    clock = find_concept("clock", "DreamBooth")
    picture(tmp_path / "dataset" / clock.label / "00.jpg")
    with pytest.raises(ValueError, match="clock holds 1 image"):
        read_dreambooth(tmp_path, [clock], "train")


# --- choosing images


def examples(count, dataset="COCO", label="cat", boxed=0):
    return [
        FileExample(dataset, ROOT / f"{label}{k}.jpg", label, np.ones((int(k < boxed), 4)), [label] * int(k < boxed))
        for k in range(count)
    ]


def test_training_images_follow_from_the_seed():
    first, again, other = (training_examples(examples(40), "cat", seed=seed) for seed in (0, 0, 1))
    assert len({e.path for e in first}) == 8
    assert [e.path for e in first] == [e.path for e in again] != [e.path for e in other]


def test_images_without_boxes_are_used_only_where_none_has_any():
    assert all(len(e.boxes) for e in training_examples(examples(40, boxed=8), "cat"))
    assert len(choose.test_examples(examples(40, boxed=3), ["cat"])) == 3
    assert len(training_examples(examples(8), "cat")) == 8


def test_too_few_training_images_are_counted():
    with pytest.raises(ValueError, match="Too few training images of 'cat': 5 found, 8 needed"):
        training_examples(examples(5), "cat")
    with pytest.raises(ValueError, match="'cat' with boxes: 5 found, 8 needed"):
        training_examples(examples(20, boxed=5), "cat")


def test_dreambooth_and_own_photos_may_have_fewer():
    assert len(training_examples(examples(4, "DreamBooth"), "cat")) == 4
    assert len(training_examples(examples(4, "photos"), "cat")) == 4
    with pytest.raises(ValueError, match="'dog': 0 found"):
        training_examples(examples(4, "DreamBooth"), "dog")


def test_test_images_are_up_to_the_count_of_each_concept_in_order():
    both = examples(6, label="dog") + examples(3)
    chosen = choose.test_examples(both, ["cat", "dog"], count=4)
    assert [e.label for e in chosen] == ["cat"] * 3 + ["dog"] * 4
    with pytest.raises(ValueError, match="Too few test images of 'cow': 0 found"):
        choose.test_examples(both, ["cat", "cow"])


# --- real photographs


def check_boxes(found):
    for example in found:
        width, height = example.image().size
        assert (example.boxes[:, :2] >= 0).all() and (example.boxes[:, 2:] <= (width, height)).all()
        assert (example.boxes[:, 2:] > example.boxes[:, :2]).all() and len(example.boxes) == len(example.names)


@needs_samples
def test_real_voc_images_have_their_labels_and_boxes():
    concepts = concepts_of("PASCAL")
    train, test = (load_dataset("PASCAL", SAMPLES / "voc", concepts, split) for split in ("train", "test"))
    assert not {e.path for e in train} & {e.path for e in test}
    check_boxes(train + test)
    example = next(e for e in train if e.path.stem == "2007_000027")
    assert (example.label, example.boxes.tolist()) == ("person", [[173, 100, 349, 351]])
    assert sum(len(e.ignored_boxes) for e in train + test) > 0


@needs_samples
def test_real_coco_images_have_their_labels_and_boxes():
    for split in ("train", "test"):
        found = load_dataset("COCO", SAMPLES / "coco", concepts_of("COCO"), split)
        assert {e.label for e in found} <= {c.name for c in concepts_of("COCO")}
        assert all(e.label in e.names for e in found)
        check_boxes(found)


@needs_samples
def test_real_dreambooth_subjects_are_read_multi_picture_files_included():
    concepts = [c for c in concepts_of("DreamBooth") if c.label in ("candle", "clock", "duck_toy", "vase")]
    train = load_dataset("DreamBooth", SAMPLES / "dreambooth", concepts, "train")
    assert [sum(e.label == c.name for e in train) for c in concepts] == [4, 3, 1, 4]  # vase, duck_toy, candle, clock
    with Image.open(SAMPLES / "dreambooth" / "dataset" / "candle" / "01.jpg") as file:
        assert file.format == "MPO"
    assert load_image(SAMPLES / "dreambooth" / "dataset" / "candle" / "01.jpg").mode == "RGB"


@needs_samples
def test_real_imagenet_folders_are_read_without_boxes():
    concepts = [find_concept(name, "ImageNet") for name in ("strawberry", "harp")]
    found = load_dataset("ImageNet", SAMPLES / "imagenet", concepts, "train")
    assert [e.label for e in found] == ["strawberry"] * 3 + ["harp"] * 3
    assert all(e.boxes.shape == (0, 4) and e.image().mode == "RGB" for e in found)


@needs_samples
def test_every_real_picture_is_read_and_fits_its_annotation():
    pictures = [path for path in SAMPLES.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES]
    assert len(pictures) > 100 and all(load_image(path).mode == "RGB" for path in pictures)
    for name in ("COCO", "PASCAL"):
        for split in ("train", "test"):
            found = load_dataset(name, SAMPLES / {"COCO": "coco", "PASCAL": "voc"}[name], concepts_of(name), split)
            chosen = choose.test_examples(found, dict.fromkeys(example.label for example in found))
            assert len(chosen) <= len(found) and all(example.size is None for example in chosen)


@needs_samples
def test_a_real_photo_stored_sideways_is_turned_upright():
    turned = 0
    for path in (SAMPLES / "imagenet").rglob("*.*"):
        with Image.open(path) as file:
            if file.getexif().get(0x0112) == 6:
                assert load_image(path).size == file.size[::-1]
                turned += 1
    assert turned == 1
