"""The second edition's language: statements are true, short, of its words, and say the same in the first edition's."""

import numpy as np
import pytest
import torch

from vwlib.miniature import architectures
from vwlib.miniature.architectures import tokenizer_of
from vwlib.miniature.captions import MAX_WORDS
from vwlib.miniature.export import export_first
from vwlib.miniature.geometry import table_geometry
from vwlib.miniature.lexicon import RELATIONS, read_lexicon
from vwlib.miniature.pool import Pool, render_pool
from vwlib.miniature.sprites import load_sprites
from vwlib.miniature.statements import describe, is_thing, is_true, name_prompt, nouns_by_text, state, vocabulary
from vwlib.miniature.text_towers import (
    TEXTS,
    Regions,
    TextForDenoiser,
    aligned,
    classifier_loss,
    clip_states,
    detector_loss,
    framed,
    generator_loss,
    padded,
    soft_cross_entropy,
    spelled_ids,
    told_early,
    widened_head,
)
from vwlib.miniature.tokenizer import spell
from vwlib.settings import MODELS

WORDS = set(vocabulary())


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vwlib.miniature.pool.CACHE", tmp_path_factory.mktemp("pools"))
        yield render_pool(load_sprites().with_reserve(), {"One": 0.3, "Few": 0.5, "Many": 0.2}, 300, 32, 5)


def test_the_language_is_large_and_names_are_names_only():
    assert len(WORDS) >= 8 * 256  # words for each dimension of the widest text encoder
    names = {name for names in read_lexicon()["name"].values() for name in names}
    own = {name for names in load_sprites().with_reserve().names.values() for name in names}
    assert own <= names
    for relation in RELATIONS[1:3]:
        assert not own & {text for texts in read_lexicon()[relation].values() for text in texts}


def test_every_statement_is_true_of_its_scene_and_false_of_most_others(pool):
    shown = {key: array for key, array in pool.arrays.items() if key != "images"}
    share = []
    for row in range(len(pool)):
        said = state(np.random.default_rng(row), pool, row)
        true = is_true(shown, said, 32)
        assert true[row], said.text
        share.append(true.mean())
    assert np.mean(share) < 0.1


def test_statements_are_short_and_of_the_language(pool):
    first = set(tokenizer_of("first").encoder)
    language = set(load_sprites().nouns)
    for row in range(len(pool)):
        said = state(np.random.default_rng(row), pool, row)
        assert set(said.text.split()) <= WORDS and len(said.words) <= MAX_WORDS
        assert len(said.first.split()) == len(said.words)
        noun = pool.sprites.nouns[pool.arrays["noun"][row, 0]]
        if noun in language and len(said.things) == 1:
            assert all(f"{word}</w>" in first for word in said.first.split()), said.first


def test_attributes_narrow_what_a_phrase_is_true_of(pool):
    for row in range(50):
        words, thing, _ = describe(np.random.default_rng(row), pool, row, 0, rich=1.0, relation="name")
        true = is_thing(pool.arrays, thing)
        assert true[row, 0] and words
        assert set(pool.arrays["noun"][true]) <= thing.nouns
        if thing.colour is not None:
            assert (pool.arrays["colour"][true] == thing.colour).all()


def test_a_name_is_true_of_every_noun_that_has_it():
    said = name_prompt(np.random.default_rng(0), "cat")
    assert said.things[0].nouns == nouns_by_text()["name", said.words[-1][0]]


def test_words_are_spelled_in_pieces_that_make_the_word():
    tokenizer, rng = tokenizer_of("second"), np.random.default_rng(0)
    for word in ("elephant", "cat", "a"):
        assert spell(word, tokenizer.bpe_ranks, rng, 0.0) == [f"{word}</w>"]
        assert "".join(spell(word, tokenizer.bpe_ranks, rng, 0.5)) == f"{word}</w>"
    assert len(spell("elephant", tokenizer.bpe_ranks, rng, 1.0)) == len("elephant")


def test_spelled_texts_fit_the_context_and_stand_for_the_known_words():
    rng = np.random.default_rng(1)
    words = ["a", "photo", "of", "a", "small", "elephant", "beside", "a", "crocodile"]
    for _ in range(50):
        spelled = spelled_ids(words, rng)
        assert len(framed(spelled)) <= MAX_WORDS + 2
        places = aligned(spelled, len(words))
        assert len(places) == 16 and places[0] == 0
        assert places[len(framed(spelled)) - 1] == len(words) + 1  # the end stands for the end
        assert sorted(set(places[1 : len(framed(spelled)) - 1])) == list(range(1, len(words) + 1))


@pytest.mark.parametrize("kind", TEXTS)
def test_each_training_has_texts_of_the_language(pool, kind):
    few = pool if kind != "classifier" else render_pool(load_sprites(), {"One": 1.0}, 3000, 16, 6)
    texts = TEXTS[kind](np.random.default_rng(0), few)
    assert len(texts) > 100 and {word for text in texts for word, _ in text.words} <= WORDS


def test_several_true_columns_share_the_target():
    logits = torch.zeros(2, 4)
    true = torch.tensor([[True, True, False, False], [False, False, False, False]])
    assert soft_cross_entropy(logits, true).item() == pytest.approx(np.log(4))
    assert padded([[1], [1, 2]]).tolist() == [[1, 0], [1, 2]]


def test_texts_are_told_early_where_they_differ_as_in_the_end_however_little():
    last = torch.randn(200, 64, generator=torch.Generator().manual_seed(0))
    other = torch.randn(200, 64, generator=torch.Generator().manual_seed(1))
    assert told_early([1e-3 * last + 5, last]).item() == pytest.approx(1, abs=1e-3)
    assert told_early([other, last]).item() < 0.05
    assert told_early([other, last, last]).item() == pytest.approx(0.5, abs=0.05)  # the mean of the early ones


def test_the_geometry_of_a_known_table_is_found():
    rng = torch.Generator().manual_seed(0)
    wide = table_geometry(torch.randn(4000, 64, generator=rng))
    assert wide.participation_ratio == pytest.approx(64 / (1 + 64 / 4000), rel=0.02)
    narrow = table_geometry(torch.randn(500, 8, generator=rng) @ torch.randn(8, 64, generator=rng))
    assert narrow.participation_ratio < 8 and narrow.nearest < wide.nearest
    axes = table_geometry(3 * torch.eye(5))
    assert axes.nearest == pytest.approx(2**0.5) and axes.norm == 3 and axes.words_per_dimension == 1
    with pytest.raises(ValueError, match="there are 1"):
        table_geometry(torch.ones(1, 3))


def learns(model, loss):
    value, figures = loss(np.random.default_rng(0), torch.Generator().manual_seed(0))
    value.backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert torch.isfinite(value) and all(torch.isfinite(figure) for figure in figures.values())
    return trained


def test_a_classifiers_text_encoder_learns_from_frozen_features(monkeypatch, tmp_path):
    monkeypatch.setattr("vwlib.miniature.pool.CACHE", tmp_path)
    pool = render_pool(load_sprites(), {"One": 1.0}, 3000, 16, 6)
    model = architectures.build_open_clip("classifier", 0, "second")
    model.visual.requires_grad_(False)
    features = torch.nn.functional.normalize(torch.randn(3000, 128), dim=-1)
    trained = learns(model, classifier_loss(pool, features, model, 2))
    assert "token_embedding.weight" in trained and not any(name.startswith("visual.") for name in trained)


def test_states_are_read_after_early_blocks_and_the_last():
    text, ids = architectures.build_text_encoder(1, "second").eval(), torch.tensor([[1, 2, 3]])
    every, few = (clip_states(text, ids, early) for early in (8, 2))
    assert len(every) == 8 and len(few) == 3
    assert all(torch.equal(a, b) for a, b in zip(few, (*every[:2], every[-1]), strict=True))
    torch.testing.assert_close(every[-1], text(input_ids=ids).last_hidden_state)


def test_a_detectors_text_encoder_learns_from_frozen_regions(monkeypatch, tmp_path):
    monkeypatch.setattr("vwlib.miniature.pool.CACHE", tmp_path)
    pool = render_pool(load_sprites().with_reserve(), {"Many": 1.0}, 12, 96, 7)
    first = architectures.build_detector(0).eval()
    regions = Regions.of(pool, first, tmp_path / "regions.safetensors")
    again = Regions.of(pool, first, tmp_path / "regions.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(vars(regions).values(), vars(again).values(), strict=True))
    model = architectures.build_detector(1, "second")
    lead = widened_head(model, first)
    torch.testing.assert_close(lead.T @ lead, torch.eye(64), atol=1e-5, rtol=0)
    narrow, wide = (one.class_head.dense0(torch.ones(2, 192)) for one in (first, model))
    torch.testing.assert_close(wide @ lead, narrow)  # cosines between regions stay
    assert learns(model, detector_loss(pool, regions, model, lead, 3))


def test_a_generators_text_encoder_learns_what_the_first_one_says(pool):
    first, denoiser = architectures.build_text_encoder(0).eval(), architectures.build_unet(0)
    text, unet = architectures.build_text_encoder(1, "second"), architectures.build_unet(1, "second")
    known = Pool(pool.arrays | {"noun": np.where(pool.arrays["noun"] >= 0, 0, -1)}, load_sprites())
    model = TextForDenoiser(text, unet)
    trained = learns(model, generator_loss(known, first, denoiser.add_embedding, model, 2))
    assert {"encoder_hid_proj.weight", "text.embeddings.token_embedding.weight"} <= trained


def test_the_first_editions_models_are_put_together_byte_by_byte(tmp_path):
    export_first(tmp_path)
    for name in ("classifier/open_clip_model.safetensors", "detector/model.safetensors"):
        assert (tmp_path / name).read_bytes() == (MODELS / name).read_bytes()
    for part in ("text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model"):
        name = f"generator/{part}.safetensors"
        assert (tmp_path / name).read_bytes() == (MODELS / name).read_bytes()
