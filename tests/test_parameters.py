"""Chapters' parameters: what they may be, and that whatever else stops at once, also through papermill."""

import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from vwlib.parameters import CHAPTERS, read_parameters
from vwlib.paths import ROOT

FOURTH = "04_are_words_transferable"
GOOD = {"profile": "smoke", "dataset": "coco", "concepts": ["dog", "cup"], "anchors": [], "pictured": ["COCO"], "images": 2, "seed": 0}


def test_good_parameters_are_read():
    parameters = read_parameters(FOURTH, dict(GOOD))
    assert (parameters.profile.name, parameters.dataset, parameters.concepts) == ("smoke", "COCO", ["dog", "cup"])


def test_a_list_may_be_json():
    assert read_parameters(FOURTH, GOOD | {"concepts": '["dog", "cup"]'}).concepts == ["dog", "cup"]


def test_datasets_are_listed_by_name():
    assert read_parameters(FOURTH, GOOD | {"pictured": '["coco", "pascal"]'}).pictured == ["COCO", "PASCAL"]
    for wrong in (["COCO", "COCO"], ["cocoa"], []):
        with pytest.raises(ValueError, match=r"^Chapter 04_are_words_transferable, parameter 'pictured'"):
            read_parameters(FOURTH, GOOD | {"pictured": wrong})


def test_kinds_of_map_are_known_and_the_papers_is_among_them():
    second = {"profile": "smoke", "folds": 5, "examples": [], "kinds": ["linear", "ridge"], "seed": 0}
    assert read_parameters("02_transfer_maps", dict(second)).kinds == ["linear", "ridge"]
    for wrong, trouble in ((["linear", "rigde"], "'rigde' is no kind of map; choose from linear, bias"), (["ridge"], "must have 'linear'")):
        with pytest.raises(ValueError, match=trouble):
            read_parameters("02_transfer_maps", second | {"kinds": wrong})


def test_words_shown_must_be_the_datasets():
    fifth = {"profile": "miniature", "dataset": "PASCAL", "delta": 0.5, "concepts": ["train"], "anchors": ["cow"], "others": 1, "seed": 0}
    assert read_parameters("05_solutions_are_everywhere", dict(fifth)).delta == 0.5
    with pytest.raises(ValueError, match="'laptop' is no PASCAL anchor word"):
        read_parameters("05_solutions_are_everywhere", fifth | {"anchors": ["laptop"]})


def test_without_a_profile_the_environment_decides(monkeypatch):
    monkeypatch.setenv("VWLIB_PROFILE", "smoke")
    assert read_parameters(FOURTH, GOOD | {"profile": ""}).profile.name == "smoke"
    monkeypatch.delenv("VWLIB_PROFILE")
    assert read_parameters(FOURTH, GOOD | {"profile": ""}).profile.name == "miniature"


def test_a_whole_number_is_a_radius_too():
    third = {"profile": "smoke", "dataset": "COCO", "concept": "dog", "anchor": "cup", "delta": 1, "repeats": 1, "images": 1, "seed": 0}
    assert read_parameters("03_learning_a_word", third).delta == 1.0


def test_the_profile_decides_which_concepts_there_are():
    assert read_parameters(FOURTH, GOOD | {"profile": "paper", "concepts": ["remote"]}).concepts == ["remote"]
    with pytest.raises(ValueError, match="'remote' is no COCO concept of the miniature world"):
        read_parameters(FOURTH, GOOD | {"concepts": ["remote"]})


def test_an_unknown_name_is_refused_and_taken_away():
    namespace = GOOD | {"datset": "COCO"}
    with pytest.raises(ValueError, match="'datset' is no parameter of chapter 04_are_words_transferable: did you mean 'dataset'"):
        read_parameters(FOURTH, namespace)
    read_parameters(FOURTH, namespace)


def test_what_a_chapter_sets_later_is_no_parameter():
    namespace = dict(GOOD) | {"In": [], "Out": {}, "_i1": "", "read_parameters": read_parameters}
    read_parameters(FOURTH, namespace)
    namespace["rows"] = [1, 2]
    assert read_parameters(FOURTH, namespace | {"seed": 3}).seed == 3


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"profile": "huge"}, "Chapter 04_are_words_transferable, parameter 'profile': 'huge' is no profile; choose from smoke, miniature, paper."),
        ({"profile": 3}, "Chapter 04_are_words_transferable, parameter 'profile', got 3: it must be text."),
        ({"dataset": "cocoa"}, "Chapter 04_are_words_transferable, parameter 'dataset': 'cocoa' is no dataset: did you mean 'COCO'? There are "),
        ({"concepts": ["dgo"]}, "Chapter 04_are_words_transferable: 'dgo' is no COCO concept of the miniature world: did you mean 'dog'? There are "),
        ({"anchors": ["red"]}, "Chapter 04_are_words_transferable: 'red' is no COCO anchor word of the miniature world: "),
        ({"concepts": "dog"}, "Chapter 04_are_words_transferable, parameter 'concepts', got 'dog': it must be a list, on the command line in quotes: "),
        ({"concepts": {"dog": 1}}, "Chapter 04_are_words_transferable, parameter 'concepts', got {'dog': 1}: it must be a list."),
        ({"concepts": ["dog", "dog"]}, "Chapter 04_are_words_transferable, parameter 'concepts', got ['dog', 'dog']: it names something twice."),
        ({"concepts": [1]}, "Chapter 04_are_words_transferable, parameter 'concepts', got 1: input should be a valid string."),
        ({"seed": 0.5}, "Chapter 04_are_words_transferable, parameter 'seed', got 0.5: input should be a valid integer."),
        ({"seed": True}, "Chapter 04_are_words_transferable, parameter 'seed', got True: input should be a valid integer."),
        ({"seed": -1}, "Chapter 04_are_words_transferable, parameter 'seed', got -1: input should be greater than or equal to 0."),
    ],
)
def test_wrong_values_get_one_sentence(wrong, sentence):
    with pytest.raises(ValueError) as error:
        read_parameters(FOURTH, GOOD | wrong)
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)


def test_a_missing_parameter_is_named():
    with pytest.raises(ValueError, match="needs a value for its parameter 'seed'"):
        read_parameters(FOURTH, {name: value for name, value in GOOD.items() if name != "seed"})


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_each_chapter_sets_the_parameters_that_are_read_and_its_defaults_are_good(chapter):
    declared = papermill.inspect_notebook(str(ROOT / "book" / f"{chapter}.ipynb"))
    assert set(declared) == set(CHAPTERS[chapter].model_fields)
    assert all(parameter["help"] and parameter["inferred_type_name"] in {"str", "int", "float", "list"} for parameter in declared.values())
    read_parameters(chapter, {name: eval(parameter["default"]) for name, parameter in declared.items()})


@pytest.mark.notebook
@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"profile": "smoke", "datset": "COCO"}, "'datset' is no parameter of chapter 04_are_words_transferable: did you mean 'dataset'?"),
        ({"profile": "smoke", "concepts": '["dgo"]'}, "'dgo' is no COCO concept of the miniature world: did you mean 'dog'?"),
    ],
)
def test_papermill_stops_at_wrong_parameters(parameters, sentence, tmp_path):
    source = ROOT / "book" / f"{FOURTH}.ipynb"
    with pytest.raises(PapermillExecutionError) as failure:
        papermill.execute_notebook(source, tmp_path / "out.ipynb", parameters, kernel_name="python3", cwd=source.parent, progress_bar=False)
    assert failure.value.ename == "ValueError"
    assert sentence in failure.value.evalue
