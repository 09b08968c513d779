"""Photographs in the detector: scaled down before they are padded and blurred, looked at once, and with their boxes
where they were.
"""

import numpy as np
import pytest
import torch
from inputs import picture
from PIL import Image

from vwlib.datasets import photos
from vwlib.datasets.folders import read_photos
from vwlib.datasets.photos import propose_boxes, with_boxes
from vwlib.examples import Example
from vwlib.miniature.scenes import LAYOUTS, random_scene
from vwlib.miniature.sprites import load_sprites
from vwlib.models import detection, load_detector
from vwlib.models.memory import MemoryBudget
from vwlib.settings import load_profile

DETECTOR = load_detector(load_profile("miniature"))
SCENE = random_scene(np.random.default_rng(5), load_sprites(), LAYOUTS["ImageNet"], 96)


@pytest.fixture
def given(monkeypatch):
    """The sizes of the pictures that the processor is given."""
    sizes, processor = [], DETECTOR.processor

    class Watched:
        size = processor.size

        def __call__(self, images, **more):
            sizes.extend(image.size for image in images)
            return processor(images=images, **more)

    monkeypatch.setattr(DETECTOR, "processor", Watched())
    monkeypatch.setattr(DETECTOR, "_kept", {})
    return sizes


@pytest.mark.parametrize("size", [(96, 96), (40, 30), (1, 60), (384, 384), (384, 5)])
def test_pictures_up_to_four_times_the_models_side_are_given_as_they_are(given, size):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    whole = DETECTOR.processor(images=[image, image], return_tensors="pt").pixel_values
    assert torch.equal(DETECTOR.pixels(image), whole[1]) and set(given) == {size}


@pytest.mark.parametrize(
    ("size", "scaled"),
    [((4032, 3024), (384, 288)), ((385, 385), (384, 384)), ((50, 5000), (4, 384)), ((9000, 90), (384, 4))],
)
def test_larger_ones_are_scaled_to_that(given, size, scaled):
    assert DETECTOR.pixels(Image.new("RGB", size)).shape == (3, 96, 96) and given == [scaled]


@pytest.mark.parametrize("shape", [(96, 96), (96, 60)])
def test_boxes_of_a_large_picture_are_those_of_a_small_one(tmp_path, shape):
    image = SCENE.image.crop((0, 0, *shape))
    image.save(tmp_path / "small.png")
    image.resize((shape[0] * 20, shape[1] * 20), Image.Resampling.BICUBIC).save(tmp_path / "large.png")
    noun, box = (
        SCENE.objects[0].drawing.noun,
        np.clip(np.array([SCENE.objects[0].box], np.float32), 0, [*shape, *shape]),
    )
    small, large = (
        Example("photos", tmp_path / f"{name}.png", noun, box * scale, [noun])
        for name, scale in (("small", 1), ("large", 20))
    )
    found = [np.array(DETECTOR.best_box(example, noun)) for example in (small, large)]
    assert np.abs(found[1] / 20 - found[0]).max() < 4
    frozen = DETECTOR.prepare([small, large])
    torch.testing.assert_close(frozen.tensors["truth"][0], frozen.tensors["truth"][1])
    assert (frozen.tensors["region"][0] * frozen.tensors["region"][1]).sum(-1).median() > 0.95


def test_a_photo_without_a_box_is_read_and_prepared_once(tmp_path, given, monkeypatch):
    for number in range(3):
        picture(tmp_path / "mug" / f"{number}.jpg", (800, 600), (40 * number, 90, 90))
    read, whole = [], Example.image
    monkeypatch.setattr(Example, "image", lambda example: read.append(example.path.name) or whole(example))
    examples = with_boxes(DETECTOR, read_photos(tmp_path / "mug"))
    assert [len(example.boxes) for example in examples] == [1, 1, 1]
    DETECTOR.prepare(examples)
    assert read == ["0.jpg", "1.jpg", "2.jpg"] and given == [(384, 288)] * 3 and not DETECTOR._kept
    picture(tmp_path / "mug" / "0.jpg", (300, 400))  # another picture of that name is read anew
    DETECTOR.best_box(examples[0], "mug")
    assert given[3:] == [(288, 384)]


def test_only_some_pixels_are_kept_and_only_some_go_through_at_once(tmp_path, given, monkeypatch):
    examples = [Example("photos", picture(tmp_path / f"{number}.png"), "mug") for number in range(5)]
    monkeypatch.setattr(detection, "KEPT", 2)
    for example in examples:
        DETECTOR.best_box(example, "mug")
    assert len(DETECTOR._kept) == 2
    parts = []
    monkeypatch.setattr(
        MemoryBudget, "map_in_batches", lambda room, kind, count, work, most=None: parts.append(most) or [work(slice(0, count))]
    )
    for pixels, most in ((2**22, 32), (96 * 96 * 3, 3), (1, 1)):
        monkeypatch.setattr(detection, "AT_ONCE", pixels)
        DETECTOR.encode_images([Image.new("RGB", (9, 9))])
        assert parts[-1] == most


def test_how_far_the_proposals_are_is_told_within_two_seconds(tmp_path, monkeypatch):
    bars = []
    monkeypatch.setattr(photos, "tqdm", lambda things, **how: bars.append(how) or things)
    examples = [Example("photos", picture(tmp_path / "a.png"), "mug")]
    assert len(propose_boxes(DETECTOR, examples, {"mug": "mug"})) == 1
    assert bars[0]["delay"] < 2 and not bars[0].get("disable")
