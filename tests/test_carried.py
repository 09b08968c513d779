"""Experiments of the second edition on made-up words whose answer is known: carried words, other axes, other judges."""

import shutil
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from vwlib.concepts import FRESH, concepts_of
from vwlib.datasets.splits import load_split, open_lab
from vwlib.examples import Pictures
from vwlib.experiments import looked
from vwlib.experiments.base import Sources
from vwlib.experiments.carried import CLASSIFIER, KINDS, TWIN, synonyms_of
from vwlib.experiments.running import EXPERIMENTS
from vwlib.experiments.words import anchors_of, validation_split, values_of, vectors_of
from vwlib.lab import Lab
from vwlib.models.loading import resolve
from vwlib.settings import load_profile
from vwlib.study.digest import as_words
from vwlib.trials import Trial

PROFILE, PAPER = load_profile("smoke"), load_profile("paper")
TRIALS = [Trial("COCO", "laptop", "dog"), Trial("COCO", "dog", "laptop"), Trial("COCO", "cup", "cup")]


@dataclass(frozen=True, eq=False)
class Given(Sources):
    """Sources whose words are some copies of their concept's own word and as many of their anchor."""

    lab: Lab | None = None

    def words(self, task, dataset, delta=None):
        model, trials = self.lab.model(task), [Trial(dataset, t.concept, t.anchor, delta) for t in TRIALS]
        halves = [[t.anchor for t in trials], [t.concept for t in trials]]
        vectors = torch.cat([model.embeddings_of(words, 2) for words in halves], dim=1)
        return as_words(task, self.profile, trials, vectors, "float32")


def rows_of(name, lab, case, **sizes) -> pd.DataFrame:
    """An experiment's rows for the given words."""
    found = EXPERIMENTS[name].sizes_of(lab.profile)
    vars(found).update(sizes)
    return EXPERIMENTS[name].rows(lab, case, Given(lab.profile, sizes=found, lab=lab))


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A lab whose classifier has a twin that is its copy."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("classifier", "classifier_twin"):
        shutil.copytree(resolve(PROFILE.classifier.source), folder / name)
    return open_lab(load_profile("smoke", classifier={"source": str(folder / "classifier")}))


def between_twins(table):
    return table[table["source"].isin([CLASSIFIER, TWIN]) & table["target"].isin([CLASSIFIER, TWIN])]


def test_a_word_carried_to_a_copy_scores_what_it_scored(copied):
    table = rows_of("twin", copied, {"dataset": "COCO"})
    assert set(zip(table["source"], table["target"], strict=True)) == {(CLASSIFIER, TWIN), (TWIN, CLASSIFIER)}
    words = Given(PROFILE, lab=copied).words(CLASSIFIER, "COCO")
    here = values_of(copied, CLASSIFIER, vectors_of(words), TRIALS)
    there = table[table["source"] == CLASSIFIER]
    assert there["value"].tolist() == table.loc[table["target"] == CLASSIFIER, "own"].tolist() == here.tolist()
    assert there["own"].tolist() == table.loc[table["source"] == TWIN, "value"].tolist()  # what the twin learned
    assert not EXPERIMENTS["twin"].cases(PAPER)


def test_a_name_carried_to_a_copy_is_the_name_though_the_map_never_saw_it(copied):
    table = rows_of("ceilings", copied, {"dataset": "COCO"})
    assert len(table) == 8 * 10 and not {"anchor", "delta"} & set(table)
    twins = between_twins(table)
    assert len(twins) == 20 and (twins["value"] == twins["own"]).all()
    assert synonyms_of(PROFILE, "dog") == {"dog", "dogs", "hound", "hounds"} and "hat" in synonyms_of(PAPER, "top hat")


def test_a_carried_anchor_is_as_long_as_a_learned_word(copied, lab, monkeypatch):
    floor = values_of(copied, CLASSIFIER, anchors_of(copied, CLASSIFIER, TRIALS), TRIALS)
    assert rows_of("twin", copied, {"dataset": "COCO"})["floor"].tolist() == [*floor, *floor]
    assert floor[2] > max(floor[:2])  # a cup that starts at "cup" needs no learning
    carried = []
    transfer = lab.transfer
    monkeypatch.setattr(lab, "transfer", lambda vectors, *ends: carried.append(vectors) or transfer(vectors, *ends))
    table = rows_of("carried_anchors", lab, {"dataset": "COCO"})
    assert {len(vectors[0]) for vectors in carried} == {PROFILE.vectors}
    assert table.groupby(["source", "target"]).size().to_list() == [len(TRIALS)] * 6


def test_other_maps_carry_all_words(lab):
    table = rows_of("other_maps", lab, {"source": "detection", "task": CLASSIFIER, "dataset": "COCO"})
    assert table.groupby("map", sort=False).size().to_dict() == dict.fromkeys(KINDS, len(TRIALS))
    datasets = {case["dataset"] for case in EXPERIMENTS["other_maps"].cases(load_profile("miniature"))}
    assert len(datasets) == 4 + len(FRESH)


def test_a_ball_reaches_as_far_as_it_is_wide(lab):
    sources = Given(PROFILE, sizes=SimpleNamespace(grid={CLASSIFIER: 3}, wider=(2.0, 4.0)), lab=lab)
    ids = [word.word_id for delta in (None, 0.5) for word in sources.words(CLASSIFIER, "COCO", delta)]
    scores = pd.DataFrame({"word_id": ids, "trained_on": CLASSIFIER, "evaluated_on": CLASSIFIER, "value": 0.25})
    vars(sources)["trials"] = scores
    table = EXPERIMENTS["ways"].rows(lab, {"task": CLASSIFIER, "dataset": "COCO"}, sources)
    assert (table["concept"] != table["anchor"]).all() and table["share"].isna().sum() == 2
    assert (table.loc[~(table["delta"] > 1), "value"] == 0.25).all()
    at = table.pivot(index=["concept", "anchor"], columns="delta", values="share")
    np.testing.assert_allclose(at[4.0], 2 * at[2.0])
    model = lab.model(CLASSIFIER)
    laptop, dog = (model.embeddings_of([name])[0, 0] for name in ("laptop", "dog"))
    known = model.word_table()[sorted(model.vocabulary.words().values())]
    nearest = (known - dog).norm(dim=-1).sort().values[1]  # the first is the word itself
    share = 0.5 * float(nearest / (laptop - dog).norm())
    assert at[0.5]["laptop", "dog"] == pytest.approx(share, rel=1e-4)


def test_scores_by_style_are_parts_of_the_whole(lab):
    table = rows_of("styles", lab, {"task": CLASSIFIER, "dataset": "COCO"})
    whole = values_of(lab, CLASSIFIER, vectors_of(Given(PROFILE, lab=lab).words(CLASSIFIER, "COCO")), TRIALS)
    own = table[table["trained_on"] == CLASSIFIER].pivot(index="concept", columns="style", values="value")
    styles = [(example.label, example.style == "twemoji") for example in lab.split("COCO").test]
    for trial, value in zip(TRIALS, whole, strict=True):
        seen, held_out = (styles.count((trial.concept, is_held_out)) for is_held_out in (False, True))
        if seen and held_out:
            parts = own.loc[trial.concept, "seen"] * seen + own.loc[trial.concept, "held out"] * held_out
            assert parts / (seen + held_out) == pytest.approx(value)
    assert {"anchor", "name", "generation"} < set(table["trained_on"])
    assert not EXPERIMENTS["styles"].cases(PAPER)


def test_both_judges_name_most_test_images_rightly(lab):
    examples = lab.split("COCO").test
    for names in looked.called(lab, "COCO", Pictures(examples)).values():
        assert np.mean([name == example.label for name, example in zip(names, examples, strict=True)]) > 0.6


def test_the_detector_judges_each_picture_that_the_judge_does(lab):
    table = rows_of("judged", lab, {"dataset": "COCO"}, judged=2)
    assert table.groupby("trained_on").size().to_dict() == {"generation": 6, "detection": 6, CLASSIFIER: 6, "name": 20}
    assert (table["agrees"] == (table["judge"] == table["detector"])).all()
    assert (table["judge_right"] == (table["judge"] == table["concept"])).all()


@pytest.fixture(scope="module")
def pictures(lab):
    """The table of pictures to look at."""
    return rows_of("looked", lab, {})


def test_pictures_to_look_at_are_chosen_by_a_rule_and_laid_out_without_what_they_mean(lab, pictures, tmp_path):
    pd.testing.assert_frame_equal(pictures, rows_of("looked", lab, {}))
    assert pictures["picture"].tolist() == [1, 2, 3, 4]
    files = looked.lay_out(pictures, "miniature", tmp_path)
    assert [file.name for file in files] == [*(f"{name}.png" for name in pictures["dataset"].unique()), "looked_at.csv"]
    assert list(pd.read_csv(files[-1])) == ["picture", "seen"]
    with pytest.raises(FileExistsError):  # what a person wrote is not replaced
        looked.lay_out(pictures, "miniature", tmp_path)


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        (None, "nobody has looked"),
        (["laptop", "nothing", "dog"], "each of the 4 pictures once"),
        (["laptop", "nothing", "dog", "a dog"], "picture 4 shows 'a dog'"),
    ],
)
def test_labels_that_do_not_fit_are_named(pictures, monkeypatch, tmp_path, seen, problem):
    monkeypatch.setattr(looked.Store, "read_table", lambda *_: pictures.assign(dataset="COCO"))
    if seen:
        write_labels(tmp_path, seen)
    with pytest.raises((ValueError, FileNotFoundError), match=problem):
        looked.read_looked("smoke", tmp_path)


def write_labels(root, seen):
    (root / "results" / "smoke").mkdir(parents=True)
    table = pd.DataFrame({"picture": range(1, len(seen) + 1), "seen": seen})
    table.to_csv(root / "results" / "smoke" / "looked_at.csv", index=False)


def test_the_confusion_counts_what_a_person_and_each_judge_saw(pictures, monkeypatch, tmp_path):
    made = pictures.assign(dataset="COCO", concept="dog", judge=["dog", "dog", "cat", "cup"], detector="dog")
    monkeypatch.setattr(looked.Store, "read_table", lambda *_: made)
    write_labels(tmp_path, ["dog", "nothing", "cat", "cat"])
    table = looked.confusion(looked.read_looked("smoke", tmp_path))
    assert table.loc["judge", "another"].to_dict() == {"the concept": 0, "another": 2, "the same": 0.5}
    assert table.loc["judge", "the concept"].to_dict() == {"the concept": 1, "another": 0, "the same": 1}
    assert table.loc["detector", "another"].to_dict() == {"the concept": 2, "another": 0, "the same": 0}
    assert table.loc["judge", "nothing"].to_dict() == {"the concept": 1, "another": 0, "the same": 0}


def test_the_rates_are_swept_on_images_that_score_nothing_else():
    test, validation = load_split(PROFILE, "COCO"), validation_split(PROFILE, "COCO")
    assert not {e.path for e in test.test} & {e.path for e in validation.test}
    assert [e.path for e in test.train] == [e.path for e in validation.train]
    assert {e.label for e in validation.test} == {c.name for c in concepts_of("COCO", "miniature")}
