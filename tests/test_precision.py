"""In which precision the generator computes: the faster one on the machine at hand, and scores that do not depend on
it.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from vwlib.datasets.splits import open_lab
from vwlib.miniature.training import training_autocast
from vwlib.models import load_model, precision
from vwlib.models.loading import resolve
from vwlib.models.precision import Speeds, precision_of, speeds_of
from vwlib.settings import load_profile
from vwlib.study.digest import as_words, trials_of
from vwlib.study.plan import chunk_digests, make_plan, word_ids
from vwlib.study.store import Store, bank_of

SMOKE, MINIATURE = load_profile("smoke"), load_profile("miniature")


def forced(name: str, profile=MINIATURE):
    return profile.model_copy(update={"generator": profile.generator.model_copy(update={"precision": name})})


@pytest.mark.parametrize("bfloat16,expected", [(2.0, "bfloat16"), (6.0, "float32"), (300.0, "float32")])
def test_bfloat16_is_chosen_only_where_it_is_clearly_faster(bfloat16, expected):
    assert Speeds(float32=8.0, bfloat16=bfloat16).faster == expected


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """`speeds_of` with an empty cache folder and a memory of nothing."""
    monkeypatch.setattr(precision, "CACHE", tmp_path)
    monkeypatch.setattr(precision, "_measured", precision._measured.__wrapped__)
    return speeds_of


def test_a_machine_is_measured_once_with_a_product_of_the_models_own_size(measured, monkeypatch):
    timed, times = [], {"float32": 8.0, "bfloat16": 2.0}
    monkeypatch.setattr(precision, "_milliseconds", lambda *what: timed.append(what) or times[what[-1]])
    config = json.loads((resolve(MINIATURE.generator.source) / "unet" / "config.json").read_text())
    product = "cpu", 64 * 8 * 8, max(config["block_out_channels"])
    assert measured(MINIATURE.generator, "cpu") == measured(MINIATURE.generator, "cpu") == Speeds(8.0, 2.0)
    assert timed == [(*product, "float32"), (*product, "bfloat16")]
    measured(MINIATURE.generator.model_copy(update={"source": "nowhere", "image_size": 512}), "cpu")
    assert timed[-1] == ("cpu", precision.MOST // (4 * 320**2), 320, "bfloat16")


def test_a_cache_that_cannot_be_written_to_does_not_matter(measured, tmp_path, monkeypatch):
    (tmp_path / "precision").write_text("a file where a folder should be")
    monkeypatch.setattr(precision, "MOST", 2**20)
    assert measured(MINIATURE.generator, "cpu").faster in ("float32", "bfloat16")


def test_what_a_profile_names_is_not_measured(monkeypatch):
    monkeypatch.setattr(precision, "speeds_of", lambda *_: pytest.fail("measured"))
    assert [precision_of(forced(name).generator, "cpu") for name in ("float32", "float16")] == ["float32", "float16"]


@pytest.mark.parametrize("faster,milliseconds", [("float32", 80.0), ("bfloat16", 2.0)])
def test_the_generator_and_training_compute_in_what_is_faster_here(faster, milliseconds, monkeypatch, lab):
    monkeypatch.setattr(precision, "speeds_of", lambda *_: Speeds(8.0, milliseconds))
    weight = torch.ones(8, 8)
    for context in (lab.generator.autocast(), training_autocast()):
        with context:
            assert (weight @ weight).dtype == getattr(torch, faster)
    assert lab.generator.precision == faster


def test_a_study_may_be_read_and_continued_in_the_other_precision(monkeypatch):
    """Its chunks count as the same, and each word is found under the id of the precision in which it was learned."""
    chunk = next(chunk for chunk in make_plan(MINIATURE) if (chunk.kind, chunk.task) == ("words", "generation"))
    assert (
        chunk_digests(forced("bfloat16"), chunk)
        == chunk_digests(MINIATURE, chunk)
        != chunk_digests(forced("float32"), chunk)
    )
    ids = word_ids(MINIATURE, chunk)
    assert all(len(set(pair)) == 2 for pair in ids)
    nothing = torch.empty(len(ids), MINIATURE.vectors, 0)
    for faster in ("float32", "bfloat16"):
        monkeypatch.setattr("vwlib.study.digest.precision_of", lambda *_, faster=faster: faster)
        words = as_words("generation", MINIATURE, chunk.trials, nothing)
        assert {word.precision for word in words} == {faster} and all(
            word.word_id in pair for word, pair in zip(words, ids, strict=True)
        )
    part = Store(MINIATURE).load(chunk)
    assert part is not None and [word.concept for word in part.words] == [trial.concept for trial in chunk.trials]


def test_stored_words_score_alike_in_both_precisions():
    """The bank was scored in bfloat16. In float32 each of ten words scores as is stored within one of its four
    pictures, all together within 0.05.
    """
    bank = [
        word
        for word in bank_of(MINIATURE)
        if word.task == "generation" and word.dataset == "COCO" and word.delta is None
    ]
    words = sorted(bank, key=lambda word: word.word_id)[:10]
    assert {word.precision for word in words} == {"bfloat16"}
    stored = (
        pd.read_parquet(Store(MINIATURE).table_file())
        .query("evaluated_on == 'generation'")
        .set_index("word_id")["value"]
    )
    found = open_lab(forced("float32")).evaluate(
        "generation", torch.stack([word.vectors for word in words]), trials_of(words)
    )
    differences = pd.Series([one.value for one in found]) - stored[[word.word_id for word in words]].to_numpy()
    assert differences.abs().max() <= 0.25
    assert abs(differences.mean()) <= 0.05


def test_a_stored_word_draws_alike_in_both_precisions():
    word = next(word for word in bank_of(MINIATURE) if word.task == "generation" and word.delta is None)
    pictures = []
    for name in ("float32", "bfloat16"):
        model = load_model("generation", forced(name))
        ((picture,),) = model.generate(model.encode_words(word.vectors[None]), 1)
        pictures.append(np.asarray(picture, dtype=float))
    assert 0 < np.abs(pictures[0] - pictures[1]).mean() < 8  # of 255
