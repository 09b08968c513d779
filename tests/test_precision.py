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
from vwlib.models.precision import faster_precision, precision_of
from vwlib.settings import load_profile
from vwlib.study.plan import as_words, chunk_digests, make_plan, trials_of, word_ids
from vwlib.study.store import Store, bank_of

SMOKE, MINIATURE = load_profile("smoke"), load_profile("miniature")


def forced(name: str, profile=MINIATURE):
    return profile.model_copy(update={"generator": profile.generator.model_copy(update={"precision": name})})


@pytest.mark.parametrize(
    "flags,expected", [("avx2 avx512_bf16", "bfloat16"), ("asimd bf16 sve", "bfloat16"), ("avx2 avx512f", "float32")]
)
def test_bfloat16_is_chosen_where_the_processor_has_instructions_for_it(flags, expected, monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text(f"model name : any\nflags : fpu {flags} sse\n")
    monkeypatch.setattr(precision, "Path", lambda _: tmp_path / "cpuinfo")
    assert faster_precision.__wrapped__("cpu") == expected
    monkeypatch.setattr(precision, "Path", lambda _: tmp_path / "nothing")
    assert faster_precision.__wrapped__("cpu") == "float32"


def test_what_a_profile_names_is_what_it_computes_in(monkeypatch):
    monkeypatch.setattr(precision, "faster_precision", lambda _: pytest.fail("asked"))
    assert [precision_of(forced(name).generator, "cpu") for name in ("float32", "float16")] == ["float32", "float16"]


@pytest.mark.parametrize("faster", ["float32", "bfloat16"])
def test_the_generator_and_training_compute_in_what_is_faster_here(faster, monkeypatch, lab):
    for module in (precision, training):
        monkeypatch.setattr(module, "faster_precision", lambda _: faster)
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
        monkeypatch.setattr("vwlib.study.plan.precision_of", lambda *_, faster=faster: faster)
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
