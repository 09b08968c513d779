"""Photographs in the detector: scaled down before they are padded and blurred, looked at once, and with their boxes
where they were.
"""

import numpy as np
import pytest
import torch
from inputs import picture
from PIL import Image

from vwlib.datasets import photos
from vwlib.datasets.photos import best_box, propose_boxes
from vwlib.datasets.pictures import FileExample
from vwlib.miniature.scenes import LAYOUTS, random_scene
from vwlib.miniature.sprites import load_sprites
from vwlib.models import detection, load_model
from vwlib.models.memory import MemoryBudget
from vwlib.settings import load_profile

DETECTOR = load_model("detection", load_profile("miniature"))
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
    return sizes


@pytest.mark.parametrize("size", [(96, 96), (40, 30), (1, 60), (384, 384), (384, 5)])
def test_pictures_up_to_four_times_the_models_side_are_given_as_they_are(given, size):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    whole = DETECTOR.processor(images=[image, image], return_tensors="pt").pixel_values
    assert torch.equal(DETECTOR.preprocess(image), whole[1]) and set(given) == {size}


@pytest.mark.parametrize(
    ("size", "scaled"),
    [((4032, 3024), (384, 288)), ((385, 385), (384, 384)), ((50, 5000), (4, 384)), ((9000, 90), (384, 4))],
)
def test_larger_ones_are_scaled_to_that(given, size, scaled):
    assert DETECTOR.preprocess(Image.new("RGB", size)).shape == (3, 96, 96) and given == [scaled]


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
        FileExample("photos", tmp_path / f"{name}.png", noun, box * scale, [noun])
        for name, scale in (("small", 1), ("large", 20))
    )
    found = [np.array(best_box(DETECTOR, example, noun)) for example in (small, large)]
    assert np.abs(found[1] / 20 - found[0]).max() < 4
    features = DETECTOR.cache_features([small, large])
    torch.testing.assert_close(features.tensors["truth"][0], features.tensors["truth"][1])
    assert (features.tensors["region"][0] * features.tensors["region"][1]).sum(-1).median() > 0.95


def test_only_some_pictures_go_through_at_once(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        MemoryBudget,
        "map_in_batches",
        lambda memory, kind, count, work, most=None: sizes.append(most) or [work(slice(0, count))],
    )
    for pixels, most in ((2**22, 32), (96 * 96 * 3, 3), (1, 1)):
        monkeypatch.setattr(detection, "AT_ONCE", pixels)
        DETECTOR.encode_images([Image.new("RGB", (9, 9))])
        assert sizes[-1] == most


def test_how_far_the_proposals_are_is_told_within_two_seconds(tmp_path, monkeypatch):
    bars = []
    monkeypatch.setattr(photos, "tqdm", lambda things, **how: bars.append(how) or things)
    examples = [FileExample("photos", picture(tmp_path / "a.png"), "mug")]
    assert len(propose_boxes(DETECTOR, examples, {"mug": "mug"})) == 1
    assert bars[0]["delay"] < 2 and not bars[0].get("disable")
