"""The page that adds a model: its code runs as it stands there, and its adapter's features are those of transformers."""

import re
import tempfile

import pytest
import torch
import torch.nn.functional as F

from vwlib.models import LOADERS, load_classifier, load_detector, load_judge
from vwlib.optimise import radii
from vwlib.paths import ROOT
from vwlib.profiles import load_profile

PAGE = (ROOT / "book" / "add_a_model.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the page's code has defined once it has run, block after block."""
    names: dict = {"__name__": "add_a_model"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("page")))
        patch.setitem(LOADERS, "classification", LOADERS["classification"])
        for number, block in enumerate(BLOCKS):
            exec(compile(block, f"add_a_model.md, block {number + 1}", "exec"), names)
        yield names


def test_other_weights_take_the_classifiers_place(page):
    other = load_classifier(page["other"])
    assert torch.equal(other.word_table(), load_judge(page["other"]).word_table())
    assert other.word_table().shape[1] != load_classifier(load_profile("smoke")).word_table().shape[1]


@torch.no_grad()
def test_the_adapters_features_are_those_of_transformers(page):
    model, pictures = page["model"], [example.image() for example in page["images"].test[:2]]
    texts = ["a photo of a cat", "dog"]
    ids, pixels = model.vocabulary.prompts(texts), model.processor(images=pictures, return_tensors="pt").pixel_values
    theirs = model.model(input_ids=ids, pixel_values=pixels)
    torch.testing.assert_close(model.encode_prompts(texts), theirs.text_embeds)
    torch.testing.assert_close(model.encode_images(pictures), theirs.image_embeds)


@torch.no_grad()
def test_a_spliced_word_is_the_word_as_it_is_typed(page):
    model = page["model"]
    vector = model.word_table()[model.vocabulary.token_of("cat")][None, None]
    assert torch.equal(model.encode_words(vector), model.encode_prompts(["a photo of cat"]))


def test_the_pages_word_is_learned_within_its_ball_and_carried(page):
    model, learned = page["model"], page["learned"]
    moved = (learned.vectors - model.word_table()[model.vocabulary.token_of("cat")]).norm(dim=-1)
    assert moved.min() > 0 and moved.max() <= radii(model, page["trials"]) + 1e-5
    assert learned.losses[-1] < learned.losses[0]
    assert page["carried"].shape == (1, 4, load_detector(page["profile"]).word_table().shape[1]) and torch.isfinite(page["carried"]).all()


def test_the_study_uses_the_adapter_under_its_tasks_name(page):
    table = page["grid"].table.set_index(["trained_on", "evaluated_on"])
    assert set(table.index) == {(source, target) for source in ("anchor", "name", "classification") for target in ("classification", "detection")}
    assert page["load_model"]("classification", page["profile"]) is page["load_model"]("classification", page["profile"])
    assert torch.equal(page["grid"].learned["classification"].vectors, page["learned"].vectors)
    assert table.loc[("classification", "classification"), "value"] == page["score"].value


def test_features_are_normalised(page):
    features = page["model"].encode_prompts(["a photo of a cat"])
    torch.testing.assert_close(features, F.normalize(features, dim=-1))
