"""The explorer: sheets of pictures, and an index whose every entry is what the study's own tables say."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from vwlib.book.pages.explorer import DIVERGED, OTHER, explorer_files, explorer_sources, key_of, make_explorer
from vwlib.concepts import TASKS
from vwlib.experiments.displacements import nearest_words
from vwlib.experiments.sheets import SIDE, sheet_of
from vwlib.models import load_model
from vwlib.settings import load_profile

PROFILE = load_profile("smoke")


@pytest.fixture(scope="module")
def sources():
    study, tables, _ = explorer_sources(PROFILE)
    return study, tables


@pytest.fixture(scope="module")
def index(sources):
    return make_explorer(*sources).index


def words_of(study):
    """Every group's name with its words, concepts outermost."""
    for dataset in study.datasets:
        for task in TASKS:
            for delta in (*study.deltas, None):
                cells = [(concept, anchor) for concept in study.concepts(dataset) for anchor in study.anchors(dataset)]
                yield key_of(dataset, task, np.nan if delta is None else delta), dataset, task, delta, cells


def test_a_sheet_has_a_square_for_each_picture_and_white_where_there_is_none():
    red, blue = Image.new("RGB", (128, 128), "red"), Image.new("RGB", (128, 64), "blue")
    sheet = Image.open(io.BytesIO(sheet_of([[red, None], [blue, red]])))
    assert sheet.size == (2 * SIDE, 2 * SIDE) and sheet.format == "WEBP"
    seen = [sheet.convert("RGB").getpixel(place) for place in ((20, 20), (80, 20), (20, 80), (20, 120), (80, 80))]
    assert np.allclose(seen, [(254, 0, 0), (255, 255, 255), (0, 0, 254), (255, 255, 255), (254, 0, 0)], atol=6)


def test_every_word_of_the_study_is_in_the_index(sources, index):
    study, _ = sources
    assert sorted(index["groups"]) == sorted(name for name, *_ in words_of(study)) and index["deltas"] == [
        *study.deltas,
        None,
    ]
    for name, *_, cells in words_of(study):
        group = index["groups"][name]
        assert {len(group[column]) for column in ("named", "boxes", "moved", "nearest", "at")} == {len(cells)}
        assert all(len(box) == 5 and min(box) >= 0 and max(box[:4]) <= 1000 for box in group["boxes"])
        assert all(
            len(places) == 2 * PROFILE.vectors and min(places) >= 0 and max(places) <= 1000 for places in group["at"]
        )


def test_scores_are_those_of_the_table_with_floor_and_ceiling(sources, index):
    study, _ = sources
    for name, dataset, task, delta, cells in words_of(study):
        own = study.table[(study.table["dataset"] == dataset) & (study.table["trained_on"] == task)]
        own = own[own["delta"].isna() if delta is None else own["delta"] == delta].set_index(
            ["evaluated_on", "concept", "anchor"]
        )["value"]
        assert all(
            index["groups"][name]["scores"][target] == [round(own[target, *cell], 3) for cell in cells]
            for target in TASKS
        )
    floor = study.table[study.table["trained_on"] == "anchor"].set_index(
        ["dataset", "evaluated_on", "concept", "anchor"]
    )["value"]
    (dataset,), cells = study.datasets, cells
    assert index["datasets"][dataset]["anchor"]["scores"]["detection"] == [
        round(floor[dataset, "detection", *cell], 3) for cell in cells
    ]


def test_nearest_words_are_those_of_the_vectors(sources, index):
    study, _ = sources
    for name, dataset, task, delta, cells in words_of(study):
        for place, (concept, anchor) in enumerate(cells):
            vectors = study.words_of(dataset, concept, anchor, delta).vectors[task]
            told = [index["maps"][task]["words"][word] for word in index["groups"][name]["nearest"][place]]
            assert told == [words[0] for words in nearest_words(vectors, load_model(task, PROFILE), 1)]


def test_every_file_that_the_index_names_is_made(sources, index):
    files = explorer_files(sources[0], sources[1]["sheets"])
    named = [group["sheet"] for group in index["groups"].values()]
    for found in index["datasets"].values():
        named += [found["tests"], found["anchor"]["sheet"], found["name"]["sheet"]]
    assert sorted(named) == sorted(files)
    rows, columns = PROFILE.study.concepts, PROFILE.study.anchors
    sizes = {name: Image.open(io.BytesIO(content)).size for name, content in files.items()}
    assert {sizes[group["sheet"]] for group in index["groups"].values()} == {(columns * SIDE, rows * SIDE)}


def test_the_page_holds_the_index_and_nothing_that_ends_the_script(sources):
    shown = make_explorer(*sources)
    shown.index["maps"]["generation"]["words"][0] = "</script><b>"
    page = shown._repr_html_()
    content = page.split('class="explorer-data">')[1]
    assert content.count("</script>") == 1 and json.loads(content.split("</script>")[0]) == shown.index


def test_a_word_that_diverged_leaves_a_gap(sources):
    study, tables = sources
    broken = tables["sheets"].copy()
    row = int(np.flatnonzero((broken["trained_on"] == "detection") & broken["delta"].isna())[0])
    place = broken.index[row]
    broken.at[place, "named"], broken.at[place, "boxes"] = (
        ["", *broken.at[place, "named"][1:]],
        [[], *broken.at[place, "boxes"][1:]],
    )
    group = make_explorer(study, tables | {"sheets": broken}).index["groups"][
        key_of(broken.at[place, "dataset"], "detection", np.nan)
    ]
    assert group["named"][0] == DIVERGED and group["boxes"][0] == [] and len(group["boxes"][1]) == 5


def test_a_name_that_the_study_does_not_learn_is_another_concept(sources):
    study, tables = sources
    foreign = tables["sheets"].copy()
    for source in ("generation", "anchor"):
        place = foreign.index[(foreign["trained_on"] == source) & foreign["delta"].isna()][0]
        foreign.at[place, "named"] = ["teapot", *foreign.at[place, "named"][1:]]
    index = make_explorer(study, tables | {"sheets": foreign}).index
    (dataset,) = study.datasets
    assert (
        index["groups"][key_of(dataset, "generation", np.nan)]["named"][0]
        == index["datasets"][dataset]["anchor"]["named"][0]
        == OTHER
    )
    assert OTHER != DIVERGED and set(index["datasets"][dataset]["anchor"]) == {"sheet", "named", "scores"}
