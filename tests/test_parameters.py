"""Chapters' parameters: what they may be, and that whatever else stops at once, also through papermill."""

import papermill
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from papermill.exceptions import PapermillExecutionError

from vwlib.book.build import list_chapters
from vwlib.book.parameters import CHAPTERS, Parameters, read_parameters
from vwlib.paths import ROOT
from vwlib.settings import LARGEST_SEED

THIRD = {"profile": "smoke", "dataset": "COCO", "concept": "dog", "anchor": "cup", "delta": 1}
FOURTH = "04_are_words_transferable"
GOOD = {
    "profile": "smoke",
    "dataset": "coco",
    "concepts": ["dog", "cup"],
    "anchors": [],
    "pictured": ["COCO"],
    "images": 2,
    "seed": 0,
}


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
    for wrong, trouble in ((["linear", "rigde"], "'rigde'"), (["ridge"], "must have 'linear'")):
        with pytest.raises(ValueError, match=trouble):
            read_parameters("02_transfer_maps", second | {"kinds": wrong})


def test_words_shown_must_be_the_datasets():
    fifth = {
        "profile": "miniature",
        "dataset": "PASCAL",
        "delta": 0.5,
        "concepts": ["train"],
        "anchors": ["cow"],
        "others": 1,
        "seed": 0,
    }
    assert read_parameters("05_solutions_are_everywhere", dict(fifth)).delta == 0.5
    with pytest.raises(ValueError, match="'laptop' is no PASCAL anchor word"):
        read_parameters("05_solutions_are_everywhere", fifth | {"anchors": ["laptop"]})


def test_without_a_profile_the_environment_decides(monkeypatch):
    monkeypatch.setenv("VWLIB_PROFILE", "smoke")
    assert read_parameters(FOURTH, GOOD | {"profile": ""}).profile.name == "smoke"
    monkeypatch.delenv("VWLIB_PROFILE")
    assert read_parameters(FOURTH, GOOD | {"profile": ""}).profile.name == "miniature"


def test_a_whole_number_is_a_radius_too():
    third = THIRD | {"repeats": 1, "images": 1, "seed": 0}
    assert read_parameters("03_learning_a_word", third).delta == 1.0


def test_the_profile_decides_which_concepts_there_are():
    assert read_parameters(FOURTH, GOOD | {"profile": "paper", "concepts": ["remote"]}).concepts == ["remote"]
    with pytest.raises(ValueError, match="'remote' is no COCO concept of the miniature world"):
        read_parameters(FOURTH, GOOD | {"concepts": ["remote"]})


def test_an_unknown_name_in_papermills_cell_is_refused_until_the_cell_is_mended():
    ran = ["", 'profile = ""', "# Parameters\nprofile = 'smoke'\ndatset = 'COCO'\n"]
    with pytest.raises(ValueError, match=r"'datset' is no parameter .* did you mean 'dataset'"):
        read_parameters(FOURTH, GOOD | {"In": ran, "datset": "COCO"})
    mended = [*ran, "# Parameters\nprofile = 'smoke'\ndataset = 'COCO'\n"]
    assert read_parameters(FOURTH, GOOD | {"In": mended, "datset": "COCO"}).dataset == "COCO"


def test_a_namespace_is_read_and_left_as_it_is():
    namespace = GOOD | {"rows": [1, 2], "In": ["rows = [1, 2]"]}
    before = dict(namespace)
    read_parameters(FOURTH, namespace)
    assert namespace == before


WRONG = [
    ({"profile": "huge"}, "'profile': 'huge'"),
    ({"profile": 3}, "'profile', got 3"),
    ({"profile": []}, r"'profile', got \[\]"),
    ({"dataset": "cocoa"}, "'dataset': 'cocoa' .* 'COCO'"),
    ({"concepts": ["dgo"]}, "'dgo' .* 'dog'"),
    ({"anchors": ["red"]}, "'red'"),
    ({"concepts": "dog"}, "'concepts', got 'dog'"),
    ({"concepts": {"dog": 1}}, "'concepts', got {'dog': 1}"),
    ({"concepts": ["dog", "dog"]}, "'concepts', got .* twice"),
    ({"concepts": [1]}, "'concepts', got 1"),
    ({"seed": 0.5}, "'seed', got 0.5"),
    ({"seed": True}, "'seed', got True"),
    ({"seed": 2**64 - 1}, "'seed', got 18446744073709551615"),
    ({"seed": -1}, "'seed', got -1"),
    ({"pictured": ["PASCAL"]}, "'smoke' has no words of PASCAL"),
]


@pytest.mark.parametrize(("wrong", "named"), WRONG)
def test_wrong_values_get_one_sentence(wrong, named):
    with pytest.raises(ValueError, match=f"^Chapter {FOURTH}.*{named}") as error:
        read_parameters(FOURTH, GOOD | wrong)
    assert "\n" not in str(error.value)


FIFTH = {"profile": "miniature", "dataset": "COCO", "delta": 0.5, "concepts": [], "anchors": [], "others": 1, "seed": 0}
SIXTH = {
    "profile": "miniature",
    "dataset": "COCO",
    "delta": 0.5,
    "task": "generation",
    "layers": 4,
    "concept": "",
    "anchor": "",
    "seed": 0,
}
LACKING = [
    ("05_solutions_are_everywhere", FIFTH | {"delta": 0.3}, "0.3"),
    ("05_solutions_are_everywhere", FIFTH | {"profile": "smoke", "delta": 0.1}, "0.1"),
    ("05_solutions_are_everywhere", FIFTH | {"profile": "smoke", "dataset": "PASCAL"}, "PASCAL"),
    ("05_solutions_are_everywhere", FIFTH | {"profile": "smoke", "concepts": ["dog"]}, "'dog'"),
    ("05_solutions_are_everywhere", FIFTH | {"profile": "smoke", "anchors": ["dog"]}, "'dog'"),
    ("06_the_final_layers", SIXTH | {"delta": 0.3}, "0.3"),
    ("06_the_final_layers", SIXTH | {"profile": "smoke", "concept": "dog"}, "'dog'"),
    ("06_the_final_layers", SIXTH | {"seed": 2**32}, "seed"),
]


@pytest.mark.parametrize(("chapter", "parameters", "named"), LACKING)
def test_what_the_study_lacks_is_refused_in_the_second_cell(chapter, parameters, named):
    with pytest.raises(ValueError, match=rf"^Chapter {chapter}.*{named}"):
        read_parameters(chapter, dict(parameters))


NINTH = {"profile": "smoke", "photos": "data/example/guitar", "name": "", "anchor": "bell", "beside": "COCO"}
NINTH |= {"delta": 0.0, "images": 1, "save": "", "seed": 0}


def test_a_file_to_save_to_is_looked_at_in_the_second_cell(tmp_path):
    (tmp_path / "pickle.safetensors").write_bytes(b"no words")
    for wrong in (
        "/proc/x.safetensors",
        "README.md",
        "data",
        str(tmp_path / "pickle.safetensors"),
        "/dev/null",
        "a\0b",
    ):
        with pytest.raises(ValueError, match="'save'"):
            read_parameters("09_your_own_word", NINTH | {"save": wrong})
    new = str(tmp_path / "new" / "words.safetensors")
    assert read_parameters("09_your_own_word", NINTH | {"save": new}).save == new and not (tmp_path / "new").exists()


def test_every_seed_that_is_read_starts_a_generator():
    third = THIRD | {"repeats": 3, "images": 12}
    torch.Generator().manual_seed(
        read_parameters("03_learning_a_word", third | {"seed": LARGEST_SEED - 2}).seed + 3 + 12
    )
    with pytest.raises(ValueError, match="seed"):
        read_parameters("03_learning_a_word", third | {"seed": LARGEST_SEED - 1})


#: What may be written behind a parameter's name: any json, and numbers that json has no place for.
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["COCO", "dog", "smoke", "paper"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)
NOTEBOOKS = [chapter.stem for chapter in list_chapters()]
DECLARED = {
    chapter: {
        name: eval(parameter["default"])
        for name, parameter in papermill.inspect_notebook(str(ROOT / "book" / f"{chapter}.ipynb")).items()
    }
    for chapter in NOTEBOOKS
}


@given(which=st.data())
@settings(max_examples=100, deadline=None)
def test_any_value_of_any_parameter_is_read_or_refused_in_one_sentence(which):
    chapter = which.draw(st.sampled_from(NOTEBOOKS))
    name = which.draw(st.sampled_from(sorted(DECLARED[chapter])))
    value = which.draw(VALUES)
    try:
        parameters = read_parameters(chapter, DECLARED[chapter] | {name: value})
    except ValueError as error:
        assert str(error).startswith(f"Chapter {chapter}") and "\n" not in str(error) and len(str(error)) < 2000
    else:
        assert type(parameters) is CHAPTERS.get(chapter, Parameters)


def test_a_value_that_cannot_be_written_is_refused_in_one_sentence():
    for value in (10**5000, "x" * 100_000):
        with pytest.raises(ValueError, match="parameter 'seed'") as caught:
            read_parameters(FOURTH, GOOD | {"seed": value})
        assert len(str(caught.value)) < 1000


def test_a_missing_parameter_is_named():
    with pytest.raises(ValueError, match="needs a value for its parameter 'seed'"):
        read_parameters(FOURTH, {name: value for name, value in GOOD.items() if name != "seed"})


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_each_chapter_sets_the_parameters_that_are_read_and_its_defaults_are_good(chapter):
    declared = papermill.inspect_notebook(str(ROOT / "book" / f"{chapter}.ipynb"))
    assert set(declared) == set(CHAPTERS.get(chapter, Parameters).model_fields)
    assert all(
        parameter["help"] and parameter["inferred_type_name"] in {"str", "int", "float", "list"}
        for parameter in declared.values()
    )
    read_parameters(chapter, {name: eval(parameter["default"]) for name, parameter in declared.items()})


@pytest.mark.notebook
@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        (
            {"profile": "smoke", "datset": "COCO"},
            "'datset' is no parameter of chapter 04_are_words_transferable: did you mean 'dataset'?",
        ),
        (
            {"profile": "smoke", "concepts": '["dgo"]'},
            "'dgo' is no COCO concept of the miniature world: did you mean 'dog'?",
        ),
    ],
)
def test_papermill_stops_at_wrong_parameters(parameters, sentence, tmp_path):
    source = ROOT / "book" / f"{FOURTH}.ipynb"
    with pytest.raises(PapermillExecutionError) as failure:
        papermill.execute_notebook(
            source, tmp_path / "out.ipynb", parameters, kernel_name="python3", cwd=source.parent, progress_bar=False
        )
    assert failure.value.ename == "ValueError"
    assert sentence in failure.value.evalue
    assert failure.value.exec_count <= 4  # before anything is computed
