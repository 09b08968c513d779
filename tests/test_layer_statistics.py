"""Statistics of layers: clusters, probes and flips with made-up answers, and of real models at smoke."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from vwlib.concepts import TASKS
from vwlib.experiments import layer_statistics as statistics
from vwlib.layers import hidden_states
from vwlib.settings import load_profile
from vwlib.trials import Trial, make_trials

PROFILE = load_profile("smoke")
NAMES = ("anchor", "concept")


@pytest.fixture(params=TASKS)
def model(request, lab):
    return lab.model(request.param)


def grid(count=4):
    return pd.DataFrame([(f"c{c}", f"a{a}") for c in range(count) for a in range(count)], columns=["concept", "anchor"])


def clustered(by, table, seed=0, noise=0.01):
    """Made-up activations (word, d) that lie together by one column of the table."""
    labels = pd.factorize(table[by])[0]
    return torch.eye(8)[labels] + noise * torch.randn(len(table), 8, generator=torch.Generator().manual_seed(seed))


def test_labels_know_what_the_anchor_names():
    table = statistics.label_words(
        [Trial("ImageNet", "violin", "hat", 0.5), Trial("ImageNet", "fish", "fish")], "miniature"
    )
    assert list(table["anchor_concept"]) == ["top hat", "fish"]
    assert list(table["delta"].fillna(-1)) == [0.5, -1]


@pytest.mark.parametrize("by", NAMES)
def test_perfect_clusters_are_recognised(by):
    table = grid()
    found = statistics.cluster_agreement(clustered(by, table)[None], table, draws=200).set_index("by")
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
    found = statistics.cluster_agreement(
        torch.stack([equal, clustered("anchor", table), clustered("concept", table)]), table, draws=100
    )
    assert list(found.loc[found["by"] == "concept - anchor", "ari"].round()) == [0, -1, 1]


def test_unclustered_activations_agree_with_neither():
    table = grid(8)
    noise = torch.randn(1, len(table), 8, generator=torch.Generator().manual_seed(1))
    found = statistics.cluster_agreement(noise, table, draws=500)
    assert (found["ari"].abs() < 0.1).all() and ((found["low"] < 0.05) & (found["high"] > -0.05)).all()


def test_weighted_index_is_sklearns_and_ignores_copies():
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(0, 4, 50), rng.integers(0, 3, 50)
    weights = np.stack([np.ones(50), np.full(50, 3), np.arange(50) < 20]).astype(float)
    expected = [adjusted_rand_score(labels, clusters)] * 2 + [adjusted_rand_score(labels[:20], clusters[:20])]
    np.testing.assert_allclose(statistics.weighted_rand(labels, clusters, weights), expected)


def test_resamples_are_of_concepts_and_anchors():
    concept, anchor = np.divmod(np.arange(12), 4)
    weights = statistics.bootstrap_weights(concept, anchor, 50, np.random.default_rng(0)).reshape(-1, 3, 4)
    assert 0 < len(weights) <= 50 and (weights.sum((1, 2)) == 12).all()
    assert all(np.linalg.matrix_rank(draw) == 1 for draw in weights)


def test_one_group_is_no_grouping():
    table = grid().assign(anchor="a")
    with pytest.raises(ValueError, match="two anchors or more"):
        statistics.cluster_agreement(clustered("concept", table)[None], table)


def test_labels_must_be_of_the_same_words():
    with pytest.raises(ValueError, match="16 words"):
        statistics.cluster_agreement(torch.zeros(2, 9, 8), grid())


def test_tsne_keeps_clusters_and_repeats():
    table = grid()
    stack = torch.stack([clustered(by, table) for by in ("anchor", "anchor", "concept")])
    points = statistics.tsne_of_layers(stack, table, random_state=1)
    assert list(points["layer"].unique()) == [1, 2] and len(points) == 32
    pd.testing.assert_frame_equal(points, statistics.tsne_of_layers(stack, table, random_state=1))
    last = points[points["layer"] == 2]
    within = last.groupby("concept")[["x", "y"]].std().mean().mean()
    assert within < 0.5 * last[["x", "y"]].std().mean()


def test_tsne_refuses_what_it_cannot_lay_out():
    table = grid(2)
    with pytest.raises(ValueError, match="at least four words; there are 3"):
        statistics.tsne_of_layers(torch.zeros(2, 3, 8), table[:3])
    with pytest.raises(ValueError, match="layer 1"):
        statistics.tsne_of_layers(torch.zeros(2, 4, 8), table)


def test_real_words_cluster_by_themselves_in_all_models(model):
    """A plain swap goes through the functions of learned words: four copies of each concept's word, whatever the
    anchor.
    """
    table = statistics.label_words(make_trials(PROFILE, "COCO"), "miniature")
    found = hidden_states(model, model.embeddings_of(table["concept"].tolist(), 4))
    agreement = statistics.cluster_agreement(found, table, draws=20)
    assert set(agreement.loc[(agreement["by"] == "concept") & (agreement["layer"] > 0), "ari"]) == {1}
    assert set(agreement.loc[(agreement["by"] == "concept") & (agreement["layer"] == 0), "ari"]) == {0}


def test_truncation_is_scored_with_none_to_all_blocks(model, lab):
    """The whole model's rows are those of the plain evaluation, for the concept and for the anchor."""
    table = statistics.label_words(
        [Trial("COCO", "laptop", "scissors"), Trial("COCO", "scissors", "scissors")], "miniature"
    )
    vectors, names = model.embeddings_of(["laptop", "scissors"]), lab.split("COCO").names
    test = lab.features(model.task, "COCO", "test")
    count = len(model.blocks)
    scores = statistics.truncation_scores(model, vectors, table, names, test, at_once=1)
    assert sorted(scores["blocks"].unique()) == list(range(count + 1)) and len(scores) == 4 * (count + 1)
    assert set(scores["task"]) == {model.task} and scores["value"].between(0, 1).all()
    last = scores[scores["blocks"] == count].set_index(["word", "of"])["value"]
    concept, anchor = (model.evaluate(vectors[:1], [name], names, test)[0].value for name in ("laptop", "scissors"))
    assert (last[0, "concept"], last[0, "anchor"]) == pytest.approx((concept, anchor))
    assert last[1, "concept"] == pytest.approx(last[1, "anchor"])


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
    found = statistics.flip_layers(made_scores([late, flickering, never, diagonal])).set_index("word")
    assert sorted(found.index) == [0, 1, 2]
    assert dict(found["crossing"].dropna()) == {0: 3, 1: 3}
    assert set(found["depth"]) == {3}


def test_a_word_does_not_turn_by_what_its_names_score_without_it():
    """Before the first block no word has been seen, so that a coin decides which of two names scores higher."""
    by_chance = (False, [0.1, 0, 0, 0], [0, 1, 1, 1])
    turned_at_once = (False, [0.1, 1, 1, 1], [0, 0, 0, 0])
    assert list(statistics.flip_layers(made_scores([by_chance, turned_at_once]))["crossing"].fillna(-1)) == [-1, 1]


def test_every_combination_of_tables_can_be_told_apart():
    """Crossings of several word sets in one table are counted by set."""
    tables = [
        made_scores([(False, [0, 1], [1, 0])]).assign(task=task, kind=kind)
        for task, kind in itertools.product(TASKS, ("learned", "real"))
    ]
    found = statistics.flip_layers(pd.concat(tables))
    assert len(found) == 6 and set(found["crossing"]) == {1}


def test_a_probe_takes_real_words_for_what_they_are_and_anchors_for_anchors(model):
    """Own words and anchor words in the model's prompt, where the words of a trial stand; probes were fitted on other
    prompts.
    """
    own = {"laptop": "laptop", "scissors": "scissors", "dog": "dog"}
    trials = [Trial("COCO", concept, anchor) for concept, anchor in itertools.product(own, repeat=2)]
    table = statistics.label_words(trials, "miniature")
    concepts, anchors = (model.embeddings_of(table[column].tolist(), 4) for column in ("concept", "anchor"))
    named, started = (statistics.probe_scores(model, [(vectors, table)], own) for vectors in (concepts, anchors))
    assert sorted(named["layer"].unique()) == list(range(1, len(model.blocks) + 1))
    assert named["accuracy"].min() > 0.8, "three words are hard to mistake for each other"
    off = named["concept"] != named["anchor_concept"]
    assert named.loc[off, "value"].min() > 0.5 > started.loc[off, "value"].max()
    assert set(named.loc[~off, "value"]) == {0.5}
    assert (
        set(statistics.probe_flip_layers(named)["probe"]) == {1}
        and statistics.probe_flip_layers(started)["probe"].isna().all()
    )
    assert len(statistics.probe_flip_layers(named)) == 6


def test_a_probe_without_a_words_name_or_with_too_few_prompts_is_refused(model):
    table = statistics.label_words([Trial("COCO", "laptop", "scissors")], "miniature")
    vectors = model.embeddings_of(["laptop"])
    with pytest.raises(ValueError, match="knows no own word of 'scissors'; it knows those of laptop, dog"):
        statistics.probe_scores(model, [(vectors, table)], {"laptop": "laptop", "dog": "dog"})
    with pytest.raises(ValueError, match="five prompts or more; there are 2"):
        own = {"laptop": "laptop", "scissors": "scissors"}
        statistics.probe_scores(model, [(vectors, table)], own, ["a {}", "the {}"])
