"""Controls: offsets as long as learned ones but random, another loss for the same model, and the classifier's second
training.
"""

import shutil
from pathlib import Path

import pytest
import torch

from vwlib.experiments.controls import DIRECTIONS, random_like
from vwlib.experiments.displacements import twin_of
from vwlib.models.loading import resolve
from vwlib.settings import load_profile

PROFILE = load_profile("smoke")
ANCHORS = ["dog", "cat"]


@pytest.fixture
def words(lab):
    """Two words of three vectors, each near its anchor."""
    centre = lab.model("classification").embeddings_of(ANCHORS)
    return centre, centre + 0.1 * torch.randn(2, 3, centre.shape[-1], generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_random_offsets_are_as_long_as_the_learned_ones(words, direction, lab):
    centre, vectors = words
    found = random_like(lab.model("classification"), vectors, ANCHORS, 1, direction)
    torch.testing.assert_close((found - centre).norm(dim=-1), (vectors - centre).norm(dim=-1))
    assert torch.equal(found, random_like(lab.model("classification"), vectors, ANCHORS, 1, direction))
    assert not torch.equal(found, random_like(lab.model("classification"), vectors, ANCHORS, 2, direction))


def test_offsets_towards_a_word_point_to_a_word_that_the_model_knows(words, lab):
    centre, vectors = words
    model = lab.model("classification")
    offset = random_like(model, vectors, ANCHORS, 1, "word")[0] - centre[0]
    ways = torch.nn.functional.normalize(
        model.word_table()[list(model.vocabulary.words().values())].cpu() - centre[0], dim=-1
    )
    assert ((torch.nn.functional.normalize(offset, dim=-1) @ ways.T).max(1).values > 1 - 1e-5).all()


def test_an_unknown_direction_is_one_sentence(words, lab):
    with pytest.raises(ValueError, match="'upwards'"):
        random_like(lab.model("classification"), words[1], ANCHORS, 0, "upwards")


def test_the_twin_lies_beside_the_classifier_or_is_none(tmp_path):
    folder = shutil.copytree(resolve(PROFILE.classifier.source), tmp_path / "classifier")
    alone = PROFILE.model_copy(update={"classifier": PROFILE.classifier.model_copy(update={"source": str(folder)})})
    assert twin_of(alone) is None
    shutil.copytree(folder, tmp_path / "classifier_twin")
    twin = twin_of(alone)
    assert twin is not None and Path(twin.classifier.source) == tmp_path / "classifier_twin"
