"""Proposed boxes lie in their pictures, are read back, and never replace a person's."""

import json

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from vwlib.concepts import concepts_of
from vwlib.datasets import load_dataset
from vwlib.datasets.folders import read_photos
from vwlib.datasets.photos import propose_boxes
from vwlib.models import load_model
from vwlib.settings import load_profile
from vwlib.tools.cli import app
from vwlib.tools.own import add_boxes, box_pictures


def photos(folder):
    """A wide and a tall picture of a mug."""
    folder.mkdir()
    for name, size in (("a.png", (90, 60)), ("b.png", (60, 90))):
        pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def test_proposals_lie_in_the_picture_and_are_the_detectors_best(tmp_path):
    detector, examples = load_model("detection", load_profile("smoke")), read_photos(photos(tmp_path / "mug"))
    boxes = propose_boxes(detector, examples, {"mug": "mug"})
    assert list(boxes) == [example.path for example in examples]
    for example, (left, top, right, bottom) in zip(examples, boxes.values(), strict=True):
        width, height = example.image().size
        assert 0 <= left <= right <= width and 0 <= top <= bottom <= height
    frozen = detector.cache_features(examples[:1])
    best = detector.detect(detector.encode_names(["mug"]), frozen)[0, 0].argmax()
    assert np.allclose(
        boxes[examples[0].path], np.clip(frozen.tensors["box"][0, best].numpy() * 90, 0, [90, 60, 90, 60]), atol=0.06
    )


def test_what_a_person_corrected_stays(tmp_path):
    folder = photos(tmp_path / "mug")
    (folder / "boxes.json").write_text(json.dumps({"a.png": [[1, 2, 30, 40]]}))
    examples = read_photos(folder)
    boxes = ([0, 0, 9, 9], [5, 5, 20, 30.5])
    assert add_boxes(folder, {e.path: box for e, box in zip(examples, boxes, strict=True)}) == 1
    assert [example.boxes.tolist() for example in read_photos(folder)] == [[[1, 2, 30, 40]], [[5, 5, 20, 30.5]]]
    assert len((folder / "boxes.json").read_text().splitlines()) == 4 and list(folder.glob("*.partial")) == []


def test_a_proposal_without_an_area_is_left_out(tmp_path, monkeypatch):
    examples = read_photos(photos(tmp_path / "mug"))
    boxes = {examples[0].path: [5, 5, 5, 9], examples[1].path: [5, 5, 20, 30]}
    monkeypatch.setattr("vwlib.datasets.photos.best_box", lambda _, example, __: boxes[example.path])
    assert list(propose_boxes(None, examples, {"mug": "mug"})) == [examples[1].path]


def test_the_command_boxes_own_photos(tmp_path):
    folder = photos(tmp_path / "mug")
    done = CliRunner().invoke(app, ["boxes", "--photos", str(folder), "--profile", "smoke"])
    assert done.exit_code == 0 and "pictures got a box in" in done.output
    assert set(json.loads((folder / "boxes.json").read_text())) <= {"a.png", "b.png"}


def test_all_subjects_of_dreambooth_are_boxed(tmp_path):
    concepts = concepts_of("DreamBooth", "miniature")
    for concept in concepts:
        (tmp_path / "dataset" / concept.label).mkdir(parents=True)
        for name in ("00.png", "01.png"):
            Image.new("RGB", (60, 40), "teal").save(tmp_path / "dataset" / concept.label / name)
    profile = load_profile("smoke", data={"DreamBooth": str(tmp_path)})
    told = box_pictures(profile)
    boxes = json.loads((tmp_path / "boxes.json").read_text())
    assert told.startswith(f"{len(boxes)} of 20 pictures got a box in ")
    found = [
        example for split in ("train", "test") for example in load_dataset("DreamBooth", tmp_path, concepts, split)
    ]
    assert sum(len(example.boxes) for example in found) == len(boxes)
