"""The forty concepts, their anchors and the miniature's substitutes."""

import pytest

from vwlib.concepts import DATASETS, WORLDS, anchors_of, concepts_of, find_anchor, find_concept, find_dataset
from vwlib.ledger.deviations import substitutions
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
