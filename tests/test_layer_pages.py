"""The page on layers: words of a study and real words in the encoders, and tables of made-up flips and groups."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import torch

from vwlib.book.pages.flips import flip_table, grouping_table, part_table, truncation_table
from vwlib.book.pages.layers import (
    REAL,
    LayerMap,
    contributions,
    draw_strip,
    layer_points,
    of_dataset,
    of_kinds,
    projections,
    strip_words,
    words_in,
)
from vwlib.concepts import TASKS
from vwlib.experiments.layer_statistics import half_projection_layer
from vwlib.models import load_model
from vwlib.settings import load_profile
from vwlib.study.read import StoredStudy
from vwlib.words import Word

PROFILE = load_profile("smoke")
NAMES = ("laptop", "scissors", "donut", "bear")


@pytest.fixture(scope="module")
def study() -> StoredStudy:
    """A study of 2 x 2 words near their anchors in each model, that were never learned: the anchor's embedding and some
    noise.
    """
    rows, bank, stream = [], {}, torch.Generator().manual_seed(0)
    for task, concept, anchor in itertools.product(TASKS, NAMES[:2], NAMES[:2]):
        model = load_model(task, PROFILE)
        start = model.word_table()[model.vocabulary.token_of(anchor)].repeat(PROFILE.vectors, 1)
        vectors = start + 0.1 * start.std() * torch.randn(start.shape, generator=stream)
        word = Word(
            vectors,
            task,
            "COCO",
            concept,
            anchor,
            0.5,
            0,
            "smoke",
            5,
            0.02,
            8,
            PROFILE.prompt,
            "float32",
            "model",
            "images",
        )
        bank[word.word_id] = word
        rows.append(("COCO", concept, anchor, task, 0.5, word.word_id))
    return StoredStudy(
        PROFILE, pd.DataFrame(rows, columns=["dataset", "concept", "anchor", "trained_on", "delta", "word_id"]), bank
    )


def flips(learned, real, transferred=None, depth=8, **further):
    """Words of 4 x 4 concepts and anchors that flip at these layers."""
    grid = [(c, a) for c, a in itertools.product(NAMES, NAMES) if c != a]
    kinds = {"learned": learned, REAL: real, "transferred": learned if transferred is None else transferred}
    rows = [("generation", kind, "COCO", c, a, layer, depth) for kind, layer in kinds.items() for c, a in grid]
    return pd.DataFrame(rows, columns=["task", "kind", "dataset", "concept", "anchor", "crossing", "depth"]).assign(
        **further
    )


def test_learned_words_stand_near_their_anchor_and_real_words_do_not_know_it(study, lab):
    vectors, words = words_in(lab, study, "COCO", "detection", "detection", 0.5)
    assert vectors.shape[:2] == (4, PROFILE.vectors)
    assert words["concept"].tolist() == ["laptop", "laptop", "scissors", "scissors"]
    real, same = words_in(lab, study, "COCO", REAL, "detection", 0.5)
    assert torch.equal(real[0], real[1]) and not torch.equal(real[0], real[2])
    assert same["anchor"].tolist() == words["anchor"].tolist()


def test_transferred_words_have_the_targets_width(study, lab):
    vectors, _ = words_in(lab, study, "COCO", "generation", "detection", 0.5)
    assert vectors.shape[-1] == load_model("detection", PROFILE).table.embedding_dim


def test_a_radius_that_the_study_does_not_have_is_named(study, lab):
    with pytest.raises(ValueError, match=r"0\.3"):
        words_in(lab, study, "COCO", "detection", "detection", 0.3)


def test_points_have_a_row_of_panels_for_each_label(study, lab):
    points = layer_points(
        lab, study, "COCO", {"learned": ("detection", "detection"), "real": (REAL, "detection")}, 0.5, layers=2
    )
    assert points.groupby(["words", "layer"], sort=False).size().to_dict() == {
        ("learned", 1): 4,
        ("learned", 6): 4,
        ("real", 1): 4,
        ("real", 6): 4,
    }


def test_projections_are_of_all_words_in_all_encoders_and_real_words_arrive(study, lab):
    shares = projections(lab, study, "COCO", 0.5)
    assert set(zip(shares["task"], shares["source"], strict=True)) == set(itertools.product(TASKS, (*TASKS, REAL)))
    assert list(shares["kind"].unique()) == ["learned", REAL, "transferred"]
    ends = shares[(shares["kind"] == REAL) & (shares["layer"] == shares.groupby("task")["layer"].transform("max"))]
    assert ends["value"].tolist() == pytest.approx([1.0] * 6, abs=1e-4)
    assert set(flip_table(half_projection_layer(shares), "half")["encoder of"]) == set(TASKS)


def test_contributions_stand_in_a_table_and_those_of_real_words_add_up_to_one(study, lab):
    table = part_table(contributions(lab, study, "COCO", 0.5))
    assert len(table) == 3 * len(TASKS)
    assert table[table["words"] == REAL]["both"].str.startswith("1.00").all()


def test_the_strip_has_a_row_for_each_text_and_begins_at_the_next_anchor(study, lab):
    shown = strip_words(study, "COCO", 0.5)
    assert (shown.trial.concept, shown.trial.anchor) == ("laptop", "scissors")
    pictures, texts, blocks = draw_strip(lab, shown, pictures=2)
    assert [len(row) for row in pictures] == [2] * 5 == [len(blocks)] * len(texts)
    assert blocks == ["1 block", "8 blocks"]
    assert strip_words(study, "COCO", 0.5, "scissors").trial.anchor == "laptop"
    anchor = lab.generator.embeddings_of([shown.trial.anchor], lab.profile.vectors)
    with torch.no_grad():
        ((whole,),) = lab.generator.generate(lab.generator.encode_words(anchor), 1)
    # The last column is the whole model's; a processor may round a batch of another size in another way.
    first, last = (np.abs(np.asarray(pictures[0][column], float) - np.asarray(whole)).mean() for column in (0, -1))
    assert last < 1 < first


def test_tables_are_read_for_words_near_their_anchor_and_real_ones():
    table = flips(6, 3).replace({"kind": {REAL: "swap"}}).assign(delta=0.5)
    table.loc[table["kind"] == "swap", "delta"] = np.nan
    chosen = of_kinds(pd.concat([table, table.assign(delta=1.0).query("kind != 'swap'")]), 0.5)
    assert chosen.groupby("kind", sort=False).size().to_dict() == {"learned": 12, REAL: 12, "transferred": 12}
    assert len(of_dataset(table, "PASCAL")) == len(table)


LATER = "flip later than real words"


@pytest.mark.parametrize(
    ("learned", "real", "when"),
    [(7, 2, "later"), (2, 6, "earlier"), (6, 6, "not clearly earlier or later"), (7, np.nan, "–"), (np.nan, 8, "–")],
)
def test_the_table_says_whether_learned_words_flip_later_than_real_ones(learned, real, when):
    table = flips(learned, real)
    others = (table.assign(dataset=name, concept=table["concept"] + name) for name in ("PASCAL", "ImageNet"))
    shown = flip_table(pd.concat([table, *others])).set_index("words")
    assert shown.loc["learned", "so they flip"] == when and shown.loc[REAL, LATER] == "–"


def test_words_of_four_concepts_are_too_few_though_all_flip_later():
    shown = flip_table(flips(7, 2)).set_index("words").loc["learned"]
    assert shown["so they flip"] == "not clearly earlier or later" and shown["layers later"] == "+5.0"


def test_words_that_never_flip_are_left_out_of_the_comparison():
    few = flips(np.nan, 4)
    few.loc[few.query("kind == 'learned'").index[::2], "crossing"] = 6.0
    shown = flip_table(few).set_index("words").loc["learned"]
    assert (shown["number"], shown["never flip"], shown["flip at the same layer"]) == (12, "50%", "0%")
    assert shown[LATER].startswith("100%")


def test_flips_stand_in_a_table_with_words_that_never_do():
    table = flip_table(flips(5, 2, np.nan)).set_index("words")
    half = {"learned": "5 of 8", REAL: "2 of 8", "transferred": "never"}
    assert table["half have flipped by layer"].to_dict() == half
    assert table["never flip"].to_dict() == {"learned": "0%", REAL: "0%", "transferred": "100%"}


def agreement(first, last):
    """A table of indices by layer: the first and the last layer's difference of the learned words; real words group by
    concept from layer 2 on.
    """
    learned = [("learned", 0, 0.0), ("learned", 1, first), ("learned", 4, 0.0), ("learned", 8, last)]
    rows = [
        (*row, row[2] - 0.1, row[2] + 0.1)
        for row in [*learned, *((REAL, layer, 0.9 if layer > 1 else 0.0) for layer in range(9))]
    ]
    return pd.DataFrame(rows, columns=["kind", "layer", "ari", "low", "high"]).assign(
        task="generation", by="concept - anchor"
    )


def test_the_table_says_how_layers_group_words_beside_the_paper():
    first, last = grouping_table(agreement(-0.8, 0.05), layers=2).to_dict("records")
    assert (first["layer"], first["in the paper"], first["here"]) == (1, "by anchor", "by anchor")
    assert (last["layer"], last["in the paper"], last["here"]) == (8, "by concept", "neither clearly")
    assert first["concept less anchor"].startswith("-0.80") and last["real words"] == "by concept"


def test_scores_are_averaged_with_half_of_the_blocks_and_with_all():
    rows = [
        flips(0, 0).assign(anchor_concept=lambda t: t["anchor"], blocks=b, of=of, value=v)
        for b, of, v in ((0, "anchor", 0.9), (2, "anchor", 0.75))
    ]
    rows += [flips(0, 0).assign(anchor_concept=lambda t: t["anchor"], blocks=4, of="concept", value=0.5)]
    table = truncation_table(pd.concat(rows)).set_index("words")
    assert table.loc["learned", "half: anchor"].startswith("0.75") and table.loc["learned", "all: concept"].startswith(
        "0.50"
    )
    assert table.loc["learned", ["half: concept", "all: anchor"]].tolist() == ["–", "–"]


def test_the_map_of_layers_has_every_word_at_every_layer_by_its_name():
    cells = list(itertools.product(("cat", "dog"), ("bell", "cup"), (2, 5)))
    rows = [
        ("learned", concept, anchor, layer, number, -number) for number, (concept, anchor, layer) in enumerate(cells)
    ]
    shown = LayerMap(pd.DataFrame(rows, columns=["words", "concept", "anchor", "layer", "x", "y"]))
    index = json.loads(shown._repr_html_().split('class="layers-data">')[1].split("</script>")[0])
    assert "<noscript><p>The map to point at needs JavaScript." in shown._repr_html_()
    own = index["rows"]["learned"]
    assert own["layers"] == [2, 5] and own["words"] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert (index["concepts"], index["anchors"]) == (["cat", "dog"], ["bell", "cup"])
    for places in own["at"]:
        assert len(places) == 8 and places[0] < places[2] < places[6] and places[1] > places[7], (
            "x rises with the number, y falls"
        )
