"""The forty concepts, their anchors and the miniature's substitutes."""

import pandas as pd
import pytest

from vwlib.concepts import DATASETS, FRESH, WORLDS, anchors_of, concepts_of, find_anchor, find_concept, find_dataset
from vwlib.experiments.fresh import FILE, draw_fresh
from vwlib.ledger.deviations import substitutions
from vwlib.miniature import WORLD
from vwlib.miniature.architectures import tokenizer_of
from vwlib.miniature.sprites import read_nouns


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_every_dataset_has_ten_distinct_concepts_anchors_and_labels(dataset, world):
    concepts = concepts_of(dataset, world)
    for field in ("name", "anchor", "prompt_name", "label"):
        assert len({getattr(concept, field) for concept in concepts}) == 10
    assert all(concept.dataset == dataset for concept in concepts)


def test_both_worlds_stand_in_the_same_order():
    for dataset in DATASETS:
        assert [c.paper_name for c in concepts_of(dataset, "miniature")] == [
            c.name for c in concepts_of(dataset, "paper")
        ]
        assert [c.paper_anchor for c in concepts_of(dataset, "miniature")] == anchors_of(dataset, "paper")


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_miniature_draws_each_of_its_concepts(dataset):
    nouns = set(read_nouns()["noun"])
    assert {concept.prompt_name for concept in concepts_of(dataset, "miniature")} <= nouns


@pytest.mark.parametrize("dataset", DATASETS)
def test_each_miniature_anchor_is_a_single_token(dataset):
    tokenizer = tokenizer_of("second")
    assert [len(tokenizer.encode(anchor)) for anchor in anchors_of(dataset, "miniature")] == [1] * 10


def test_the_fresh_concepts_are_drawn_by_their_rule():
    pd.testing.assert_frame_equal(pd.read_csv(FILE), draw_fresh())
    assert dict(pd.read_csv(FILE)[["group", "layout"]].drop_duplicates().itertuples(index=False)) == FRESH


def test_the_fresh_concepts_share_no_name_with_the_forty_nor_within_a_group():
    nouns = read_nouns().set_index("noun")
    names = {noun: {noun, *row.synonyms, *WORLD["kin"].get(noun, ())} for noun, row in nouns.iterrows()}
    forty = {concept.prompt_name for dataset in DATASETS for concept in concepts_of(dataset, "miniature")}
    fresh = [concept for group in FRESH for concept in concepts_of(group, "miniature")]
    assert len({concept.name for concept in fresh}) == 120
    assert not {name for concept in fresh for name in names[concept.name]} & {n for c in forty for n in names[c]}
    tokenizer = tokenizer_of("second")
    for group in FRESH:
        ten = concepts_of(group, "miniature")
        assert len(set.union(*(names[c.name] for c in ten))) == sum(len(names[c.name]) for c in ten)
        assert nouns.loc[[c.name for c in ten], "category"].value_counts().max() <= 2
        assert all(len(tokenizer.encode(c.anchor)) == 1 for c in ten)
        assert {len(set(c.anchors) & (set(anchors_of(group, "miniature")) - {c.name})) for c in ten} == {3}


def test_substitutions_lists_what_differs_and_says_why():
    table = substitutions()
    assert list(table.columns) == ["dataset", "paper concept", "paper anchor", "miniature concept", "anchor", "why"]
    assert ("PASCAL" not in set(table["dataset"])) and (table["why"] != "").all()
    remote = table[table["paper concept"] == "remote"].iloc[0]
    assert (remote["miniature concept"], remote["anchor"]) == ("phone", "phone")
    assert not table.isin(["barrel", "gorilla", "umbrella"]).any(axis=None)


def test_what_is_no_substitute_gives_no_reason():
    for dataset in DATASETS:
        for concept in concepts_of(dataset, "miniature"):
            assert bool(concept.why) == concept.is_substitute


def test_labels_are_what_the_files_of_the_datasets_say():
    assert find_concept("sombrero", "ImageNet").label == "n04259630"
    assert find_concept("airplane", "PASCAL").label == "aeroplane"
    assert find_concept("backpack_dog", "DreamBooth").anchor == "backpack"


def test_dataset_names_may_be_written_in_any_case():
    assert [find_dataset(name) for name in ("coco", "Pascal", "imagenet")] == ["COCO", "PASCAL", "ImageNet"]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: concepts_of("Imagenett"), "'Imagenett' is no dataset: did you mean 'ImageNet'?"),
        (lambda: concepts_of("fresh-01"), "'fresh-01' is no dataset: there are ImageNet"),
        (lambda: concepts_of("COCO", "moon"), "'moon' is no world: there are paper, miniature."),
        (
            lambda: find_concept("lptop", "coco"),
            "'lptop' is no COCO concept of the paper world: did you mean 'laptop'?",
        ),
        (
            lambda: find_anchor("zebra", "PASCAL", "miniature"),
            "'zebra' is no PASCAL anchor word of the miniature world",
        ),
    ],
)
def test_unknown_names_get_one_sentence(call, sentence):
    with pytest.raises(ValueError) as error:
        call()
    assert sentence in str(error.value) and "\n" not in str(error.value)
