"""Layers: parity with the libraries' own hidden states, truncation that leaves no trace, and numbers that know made-up
answers.
"""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import adjusted_rand_score

from vwlib import layers
from vwlib.models import TASKS, load_model
from vwlib.settings import load_profile
from vwlib.splice import spliced
from vwlib.study.compat import load_material, prepared
from vwlib.trials import Trial, make_trials

PROFILE = load_profile("smoke")
NAMES = ("anchor", "concept")


@pytest.fixture(params=TASKS)
def model(request):
    return load_model(request.param, PROFILE)


@pytest.fixture
def words(model):
    """Three words of four vectors."""
    return model.word_table()[:12].reshape(3, 4, -1).clone()


@torch.no_grad()
def library_states(model, vectors):
    """Hidden states (layer, word, token, d) and ids by the library's own way, without our hooks on the blocks."""
    ids = model.vocabulary.prompt(model.prompt, vectors.shape[1]).expand(len(vectors), -1)
    with spliced(model.table, vectors):
        if model.task == "classification":
            clip = model.model
            embedded = clip.token_embedding(ids) + clip.positional_embedding
            _, states = clip.transformer.forward_intermediates(embedded, attn_mask=clip.attn_mask)
            return torch.stack([embedded, *states]), ids
        encoder = model.pipeline.text_encoder if model.task == "generation" else model.model.owlv2.text_model
        return torch.stack(encoder(input_ids=ids, output_hidden_states=True).hidden_states), ids


def traces(model):
    """All that a hook or a truncation could leave behind."""
    modules = [model.table, *layers.text_blocks(model)]
    return [(dict(m._forward_hooks), dict(m._forward_pre_hooks), vars(m).get("forward")) for m in modules]


def grid(count=4):
    return pd.DataFrame([(f"c{c}", f"a{a}") for c in range(count) for a in range(count)], columns=["concept", "anchor"])


def clustered(by, table, seed=0, noise=0.01):
    """Made-up activations (word, d) that lie together by one column of the table."""
    labels = pd.factorize(table[by])[0]
    return torch.eye(8)[labels] + noise * torch.randn(len(table), 8, generator=torch.Generator().manual_seed(seed))


def test_activations_are_the_librarys_hidden_states(model, words):
    states, ids = library_states(model, words)
    end = (ids[0] == model.vocabulary.end).int().argmax()
    found = layers.activations(model, words)
    assert len(found) == len(layers.text_blocks(model)) + 1
    torch.testing.assert_close(found, states[:, :, end], rtol=1e-5, atol=1e-5)


def test_activations_do_not_depend_on_the_batch(model, words):
    torch.testing.assert_close(
        layers.activations(model, words, at_once=2), layers.activations(model, words), rtol=1e-4, atol=1e-4
    )


def test_each_run_is_recorded_and_gradients_are_kept(model, words):
    words.requires_grad_()
    with layers.recorded(model) as runs:
        model.encode_prompts(["dog"])
        model.encode_words(words)
    assert [run.shape[1] for run in runs] == [1, 3]
    runs[1][-1].sum().backward()
    assert words.grad.abs().sum() > 0


@torch.no_grad()
def test_no_truncation_is_the_untouched_model(model, words):
    whole = model.encode_words(words)
    with layers.truncated(model, len(layers.text_blocks(model))):
        assert torch.equal(model.encode_words(words), whole)
    with layers.truncated(model, 1):
        assert not torch.equal(model.encode_words(words), whole)
    assert torch.equal(model.encode_words(words), whole)


@torch.no_grad()
def test_a_truncated_encoder_is_norm_and_projection_of_the_layer(model, words):
    states, ids = library_states(model, words)
    for blocks, layer in enumerate(states):
        with layers.truncated(model, blocks):
            found = model.encode_words(words)
        if model.task == "generation":
            expected = model.pipeline.text_encoder.final_layer_norm(layer)
        elif model.task == "detection":
            pooled = model.model.owlv2.text_model.final_layer_norm(layer)[torch.arange(3), ids.argmax(-1)]
            expected = F.normalize(model.model.owlv2.text_projection(pooled), dim=-1)
        else:
            pooled = model.model.ln_final(layer)[torch.arange(3), ids.argmax(-1)]
            expected = F.normalize(pooled @ model.model.text_projection, dim=-1)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("recorded_first", [True, False])
def test_recording_and_truncating_nest(model, words, recorded_first):
    """Layers that are cut away repeat the last one that is left."""
    whole = layers.activations(model, words)
    contexts = [lambda: layers.recorded(model), lambda: layers.truncated(model, 2)]
    outer, inner = contexts if recorded_first else contexts[::-1]
    with outer() as a, inner() as b:
        model.encode_words(words)
    (cut,) = a if recorded_first else b
    assert torch.equal(cut[:3], whole[:3]) and all(torch.equal(layer, whole[2]) for layer in cut[3:])


def test_nothing_is_left_behind(model, words):
    model.encode_words(words)
    before = traces(model)
    layers.activations(model, words)
    with (
        pytest.raises(RuntimeError, match="stop"),
        layers.recorded(model),
        layers.truncated(model, 3),
        layers.truncated(model, 1),
    ):
        raise RuntimeError("stop")
    with layers.truncated(model, 3):
        within = traces(model)
        with layers.truncated(model, 1):
            pass
        assert traces(model) == within != before
    assert traces(model) == before


@pytest.mark.parametrize("blocks", [-1, 99])
def test_blocks_that_are_not_there_are_refused(model, blocks):
    with (
        pytest.raises(ValueError, match=f"{model.task} model has . blocks; it cannot be cut to its first {blocks}"),
        layers.truncated(model, blocks),
    ):
        pass


def test_vectors_of_another_shape_are_refused(model, words):
    for wrong in (words[0], words[..., 1:], words[:0]):
        with pytest.raises(ValueError, match=r"reads words of shape \(word, vector, "):
            layers.activations(model, wrong)


def test_the_papers_layers_are_evenly_spaced():
    assert layers.evenly_spaced(24) == [1, 8, 16, 24] and layers.evenly_spaced(12) == [1, 4, 8, 12]
    assert layers.evenly_spaced(2) == [1, 2]


def test_a_real_word_is_its_rows_of_the_table(model):
    vectors = layers.real_words(model, ["cat", "dog"], copies=4)
    assert torch.equal(vectors[1], model.word_table()[model.vocabulary.token_of("dog")].expand(4, -1))
    with pytest.raises(ValueError, match="tokens in this vocabulary"):
        layers.real_words(model, ["top hat"])


def test_labels_know_what_the_anchor_names():
    table = layers.label_words(
        [Trial("ImageNet", "violin", "hat", 0.5), Trial("ImageNet", "fish", "fish")], "miniature"
    )
    assert list(table["anchor_concept"]) == ["top hat", "fish"]
    assert list(table["delta"].fillna(-1)) == [0.5, -1]


@pytest.mark.parametrize("by", NAMES)
def test_perfect_clusters_are_recognised(by):
    table = grid()
    found = layers.cluster_agreement(clustered(by, table)[None], table, draws=200).set_index("by")
    other = next(name for name in NAMES if name != by)
    assert tuple(found.loc[by, ["ari", "low", "high"]]) == (1, 1, 1)
    assert found.loc[other, "ari"] == pytest.approx(-0.25)  # no two words of four by four share both
    assert found.loc[other, "low"] < -0.25 < found.loc[other, "high"] < 0.1
    assert found.loc["concept - anchor", "ari"] == pytest.approx(
        found.loc["concept", "ari"] - found.loc["anchor", "ari"]
    )


def test_agreement_turns_from_anchor_to_concept_and_equal_words_agree_with_nothing():
    table = grid()
    equal = torch.ones(len(table), 8)
    found = layers.cluster_agreement(
        torch.stack([equal, clustered("anchor", table), clustered("concept", table)]), table, draws=100
    )
    assert list(found.loc[found["by"] == "concept - anchor", "ari"].round()) == [0, -1, 1]


def test_unclustered_activations_agree_with_neither():
    table = grid(8)
    noise = torch.randn(1, len(table), 8, generator=torch.Generator().manual_seed(1))
    found = layers.cluster_agreement(noise, table, draws=500)
    assert (found["ari"].abs() < 0.1).all() and ((found["low"] < 0.05) & (found["high"] > -0.05)).all()


def test_weighted_index_is_sklearns_and_ignores_copies():
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(0, 4, 50), rng.integers(0, 3, 50)
    weights = np.stack([np.ones(50), np.full(50, 3), np.arange(50) < 20]).astype(float)
    expected = [adjusted_rand_score(labels, clusters)] * 2 + [adjusted_rand_score(labels[:20], clusters[:20])]
    np.testing.assert_allclose(layers.weighted_rand(labels, clusters, weights), expected)


def test_resamples_are_of_concepts_and_anchors():
    concept, anchor = np.divmod(np.arange(12), 4)
    weights = layers.crossed_weights(concept, anchor, 50, np.random.default_rng(0)).reshape(-1, 3, 4)
    assert 0 < len(weights) <= 50 and (weights.sum((1, 2)) == 12).all()
    assert all(np.linalg.matrix_rank(draw) == 1 for draw in weights)


def test_one_group_is_no_grouping():
    table = grid().assign(anchor="a")
    with pytest.raises(ValueError, match="two anchors or more"):
        layers.cluster_agreement(clustered("concept", table)[None], table)


def test_labels_must_be_of_the_same_words():
    with pytest.raises(ValueError, match="The table names 16 words and there are activations or vectors of 9"):
        layers.cluster_agreement(torch.zeros(2, 9, 8), grid())


def test_tsne_keeps_clusters_and_repeats():
    table = grid()
    stack = torch.stack([clustered(by, table) for by in ("anchor", "anchor", "concept")])
    points = layers.tsne_of_layers(stack, table, random_state=1)
    assert list(points["layer"].unique()) == [1, 2] and len(points) == 32
    pd.testing.assert_frame_equal(points, layers.tsne_of_layers(stack, table, random_state=1))
    last = points[points["layer"] == 2]
    within = last.groupby("concept")[["x", "y"]].std().mean().mean()
    assert within < 0.5 * last[["x", "y"]].std().mean()


def test_tsne_refuses_what_it_cannot_lay_out():
    table = grid(2)
    with pytest.raises(ValueError, match="at least four words; there are 3"):
        layers.tsne_of_layers(torch.zeros(2, 3, 8), table[:3])
    with pytest.raises(ValueError, match="same activation at layer 1"):
        layers.tsne_of_layers(torch.zeros(2, 4, 8), table)


def test_real_words_cluster_by_themselves_in_all_models(model):
    """A plain swap goes through the functions of learned words: four copies of each concept's word, whatever the
    anchor.
    """
    table = layers.label_words(make_trials(PROFILE, "COCO"), "miniature")
    found = layers.activations(model, layers.real_words(model, table["concept"].tolist(), copies=4))
    agreement = layers.cluster_agreement(found, table, draws=20)
    assert set(agreement.loc[(agreement["by"] == "concept") & (agreement["layer"] > 0), "ari"]) == {1}
    assert set(agreement.loc[(agreement["by"] == "concept") & (agreement["layer"] == 0), "ari"]) == {0}


def test_attention_and_mlps_add_up_to_the_last_layer(model, words):
    states, parts = layers.activations(model, words), layers.part_activations(model, words, at_once=2)
    assert parts.shape == (len(states) - 1, 2, *states.shape[1:])
    torch.testing.assert_close(states[0] + parts.sum((0, 1)), states[-1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(states[0] + parts[0].sum(0), states[1], rtol=1e-4, atol=1e-4)


def test_the_parts_of_the_way_add_up_to_the_way(model, words):
    table = pd.DataFrame({"concept": ["c"] * 3, "anchor": ["a"] * 3})
    names = layers.real_words(model, ["laptop", "scissors"], 4)
    anchors, concepts = names[:1].expand(3, -1, -1), names[1:].expand(3, -1, -1)
    here, start, end = (layers.activations(model, v) for v in (words, anchors, concepts))
    added, before = (layers.part_activations(model, v) for v in (words, anchors))
    by_part = layers.way_by_part(added, before, start[-1], end[-1], table)
    whole = layers.way_to_concept(here, start, end, table)
    last = whole[whole["layer"] == len(here) - 1].set_index("word")["value"]
    assert by_part.groupby("word")["value"].sum().tolist() == pytest.approx(last.tolist(), abs=1e-3)
    assert set(by_part["part"]) == {"attention", "MLP"}


def test_truncation_is_scored_with_none_to_all_blocks(model):
    """The whole model's rows are those of the plain evaluation, for the concept and for the anchor."""
    table = layers.label_words(
        [Trial("COCO", "laptop", "scissors"), Trial("COCO", "scissors", "scissors")], "miniature"
    )
    vectors, names = layers.real_words(model, ["laptop", "scissors"]), load_material(PROFILE, "COCO").names
    test = prepared(model.task, PROFILE, "COCO", "test")
    count = len(layers.text_blocks(model))
    scores = layers.truncation_scores(model, vectors, table, names, test, at_once=1)
    assert sorted(scores["blocks"].unique()) == list(range(count + 1)) and len(scores) == 4 * (count + 1)
    assert set(scores["task"]) == {model.task} and scores["value"].between(0, 1).all()
    last = scores[scores["blocks"] == count].set_index(["word", "of"])["value"]
    concept, anchor = (model.evaluate(vectors[:1], [name], names, test)[0].value for name in ("laptop", "scissors"))
    assert (last[0, "concept"], last[0, "anchor"]) == pytest.approx((concept, anchor))
    assert last[1, "concept"] == pytest.approx(last[1, "anchor"])


def test_the_strip_ends_with_the_whole_models_picture():
    model = load_model("generation", PROFILE)
    vectors, whole = layers.real_words(model, ["cat", "dog"]), len(layers.text_blocks(model))
    strip = layers.draw_truncated(model, vectors, [0, whole], seed=3)
    assert [len(row) for row in strip] == [2, 2]
    with torch.no_grad():
        drawn = [row[0] for row in model.generate(model.encode_words(vectors), 1, seed=3)]
    assert all(
        np.array_equal(np.asarray(row[-1]), np.asarray(picture)) for row, picture in zip(strip, drawn, strict=True)
    )


def made_scores(curves):
    """A made-up table: for each word the scores of its concept and of its anchor at 0, 1, 2, ... blocks."""
    rows = [
        (word, f"c{word}", "a", f"c{word}" if diagonal else "ca", None, blocks, of, value)
        for word, (diagonal, *scores) in enumerate(curves)
        for of, values in zip(("concept", "anchor"), scores, strict=True)
        for blocks, value in enumerate(values)
    ]
    return pd.DataFrame(
        rows, columns=["word", "concept", "anchor", "anchor_concept", "delta", "blocks", "of", "value"]
    ).sample(frac=1, random_state=0)


def test_crossing_layers_of_a_made_up_table():
    late = (False, [0, 0, 0.2, 1], [0, 1, 0.2, 0])
    flickering = (False, [0, 0.5, 0, 1], [0, 0.2, 0.1, 0])
    never = (False, [0, 0, 0, 0.1], [0, 1, 1, 0.1])
    diagonal = (True, [0, 0, 0, 1], [0, 0, 0, 1])
    found = layers.crossing_layers(made_scores([late, flickering, never, diagonal])).set_index("word")
    assert sorted(found.index) == [0, 1, 2]
    assert dict(found["crossing"].dropna()) == {0: 3, 1: 3}
    assert set(found["depth"]) == {3}


def test_a_word_does_not_turn_by_what_its_names_score_without_it():
    """Before the first block no word has been seen, so that a coin decides which of two names scores higher."""
    by_chance = (False, [0.1, 0, 0, 0], [0, 1, 1, 1])
    turned_at_once = (False, [0.1, 1, 1, 1], [0, 0, 0, 0])
    assert list(layers.crossing_layers(made_scores([by_chance, turned_at_once]))["crossing"].fillna(-1)) == [-1, 1]


def test_the_way_of_a_swap_is_complete_and_of_the_anchor_nothing():
    table = pd.DataFrame({"concept": ["c", "d"], "anchor": ["a", "a"]})
    anchors, concepts = torch.zeros(4, 2, 3), torch.zeros(4, 2, 3)
    concepts[:, :, 0] = torch.tensor([0.0, 0.2, 1.0, 2.0])[:, None]
    swap = layers.way_to_concept(concepts, anchors, concepts, table)
    assert list(swap.loc[swap["word"] == 0, "value"]) == pytest.approx([0, 0.1, 0.5, 1])
    assert list(layers.half_way(swap)["half"]) == [2, 2] and set(layers.half_way(swap)["depth"]) == {3}
    still = layers.way_to_concept(anchors, anchors, concepts, table)
    assert not still["value"].any() and layers.half_way(still)["half"].isna().all()


def test_there_is_no_way_from_a_word_to_itself():
    with pytest.raises(ValueError, match="'a' is the own word of 'c'"):
        layers.way_to_concept(
            torch.zeros(2, 1, 3),
            torch.ones(2, 1, 3),
            torch.ones(2, 1, 3),
            pd.DataFrame({"concept": ["c"], "anchor": ["a"]}),
        )


def test_every_combination_of_tables_can_be_told_apart():
    """Crossings of several word sets in one table are counted by set."""
    tables = [
        made_scores([(False, [0, 1], [1, 0])]).assign(task=task, kind=kind)
        for task, kind in itertools.product(TASKS, ("learned", "real"))
    ]
    found = layers.crossing_layers(pd.concat(tables))
    assert len(found) == 6 and set(found["crossing"]) == {1}


def test_a_probe_takes_real_words_for_what_they_are_and_anchors_for_anchors(model):
    """Own words and anchor words in the model's prompt, where the words of a trial stand; probes were fitted on other
    prompts.
    """
    own = {"laptop": "laptop", "scissors": "scissors", "dog": "dog"}
    trials = [Trial("COCO", concept, anchor) for concept, anchor in itertools.product(own, repeat=2)]
    table = layers.label_words(trials, "miniature")
    concepts, anchors = (layers.real_words(model, table[column].tolist(), copies=4) for column in ("concept", "anchor"))
    named, started = (layers.probe_scores(model, vectors, table, own) for vectors in (concepts, anchors))
    assert sorted(named["layer"].unique()) == list(range(1, len(layers.text_blocks(model)) + 1))
    assert named["accuracy"].min() > 0.8, "three words are hard to mistake for each other"
    off = named["concept"] != named["anchor_concept"]
    assert named.loc[off, "value"].min() > 0.5 > started.loc[off, "value"].max()
    assert set(named.loc[~off, "value"]) == {0.5}
    assert set(layers.probe_crossings(named)["probe"]) == {1} and layers.probe_crossings(started)["probe"].isna().all()
    assert len(layers.probe_crossings(named)) == 6


def test_a_probe_without_a_words_name_or_with_too_few_prompts_is_refused(model):
    table = layers.label_words([Trial("COCO", "laptop", "scissors")], "miniature")
    vectors = layers.real_words(model, ["laptop"])
    with pytest.raises(ValueError, match="knows no own word of 'scissors'; it knows those of laptop, dog"):
        layers.probe_scores(model, vectors, table, {"laptop": "laptop", "dog": "dog"})
    with pytest.raises(ValueError, match="five prompts or more; there are 2"):
        layers.probe_scores(model, vectors, table, {"laptop": "laptop", "scissors": "scissors"}, ["a {}", "the {}"])
