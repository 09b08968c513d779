"""The yardstick comes to the same word as the library: what is compared does the same work."""

import sys

import pytest
import torch

from vwlib.models import TASKS, load_model
from vwlib.optimise import Trial, learn_words
from vwlib.paths import ROOT
from vwlib.profiles import load_profile
from vwlib.study import load_material, prepared

PROFILE = load_profile("smoke")


@pytest.mark.parametrize("task", TASKS)
def test_the_plain_loop_learns_the_same_word(task, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    from plain_loop import learn_one_word

    trial = Trial("COCO", "dog", "cat")
    model = load_model(task, PROFILE)
    before = model.word_table().clone()
    plain = learn_one_word(model, load_material(PROFILE, "COCO").train, trial, steps=3, rate=0.01)
    ours = learn_words(model, prepared(task, PROFILE, "COCO", "train"), [trial], steps=3, rate=0.01, progress=False).vectors[0]
    torch.testing.assert_close(plain, ours, rtol=1e-3, atol=2e-4)
    assert not torch.allclose(plain, before[model.vocabulary.token_of("cat")].expand_as(plain), atol=1e-3)
    assert torch.equal(model.word_table(), before)
