"""In which precision the generator computes: the faster one on the machine at hand, and scores that do not depend on
it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from vwlib.datasets.splits import open_lab
from vwlib.miniature import training
from vwlib.miniature.training import training_autocast
from vwlib.models import load_model, precision
from vwlib.models.precision import Speeds, measure, precision_of
from vwlib.settings import load_profile
from vwlib.study.digest import as_words, trials_of
from vwlib.study.plan import chunk_digests, make_plan, word_ids
from vwlib.study.store import Store, bank_of

SMOKE, MINIATURE = load_profile("smoke"), load_profile("miniature")
ARTIFICIAL = {"float32": 8.0, "bfloat16": 2.0}  # ms


def forced(name: str, profile=MINIATURE):
    return profile.model_copy(update={"generator": profile.generator.model_copy(update={"precision": name})})


@pytest.mark.parametrize("bfloat16,expected", [(2.0, "bfloat16"), (6.0, "float32"), (300.0, "float32")])
def test_bfloat16_is_chosen_only_where_it_is_clearly_faster(bfloat16, expected):
    assert Speeds(64, 64, float32=8.0, bfloat16=bfloat16).precision == expected


def test_a_machine_is_measured_once(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "CACHE", tmp_path)
    timed = []
    monkeypatch.setattr(precision, "_milliseconds", lambda *what: timed.append(what) or ARTIFICIAL[what[-1]])
    first = measure.__wrapped__("cpu", 32, 8)
    assert first.precision == "bfloat16" and len(timed) == 2
    assert measure.__wrapped__("cpu", 32, 8) == first and len(timed) == 2
    assert measure.__wrapped__("cpu", 32, 16) != first and len(timed) == 4


def test_a_cache_that_cannot_be_written_to_does_not_matter(tmp_path, monkeypatch):
    (tmp_path / "precision").write_text("a file where a folder should be")
    monkeypatch.setattr(precision, "CACHE", tmp_path)
    assert measure.__wrapped__("cpu", 16, 8).precision in ("float32", "bfloat16")


def test_what_a_profile_names_is_not_measured(monkeypatch):
    monkeypatch.setattr(precision, "measure", lambda *_: pytest.fail("measured"))
    assert [precision_of(forced(name).generator, "cpu") for name in ("float32", "float16")] == ["float32", "float16"]


@pytest.mark.parametrize("faster", ["float32", "bfloat16"])
def test_the_generator_and_training_compute_in_what_is_faster_here(faster, monkeypatch):
    times = {"float32": 8.0, "bfloat16": 80.0} if faster == "float32" else ARTIFICIAL
    for module in (precision, training):
        monkeypatch.setattr(module, "measure", lambda device, rows, width: Speeds(rows, width, **times))
    generator = load_model("generation", SMOKE)
    weight = torch.ones(8, 8)
    for context in (generator.autocast(), training_autocast()):
        with context:
            assert (weight @ weight).dtype == getattr(torch, faster)
    assert generator.precision == faster
    assert as_words("generation", SMOKE, [], torch.empty(0, 4, 8)) == []


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
        pd.read_parquet(Store(MINIATURE).table_file()).query("evaluated_on == 'generation'").set_index("word_id")["value"]
    )
    found = open_lab(forced("float32")).evaluate("generation", torch.stack([word.vectors for word in words]), trials_of(words))
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
