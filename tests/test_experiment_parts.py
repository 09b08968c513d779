"""The experiments' parts on made-up words and scores whose answer is known."""

import shutil
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from vwlib.concepts import DATASETS, concepts_of
from vwlib.datasets.splits import load_split
from vwlib.experiments import drawn, encoder, frequency, geometry, kinds, learning, records, solutions
from vwlib.experiments.base import Sources, lighter, off_diagonal, pairs_of, small_grid
from vwlib.learn import Learned
from vwlib.maps import MAPS
from vwlib.models import TASKS, load_model
from vwlib.models.base import CachedFeatures
from vwlib.models.loading import resolve
from vwlib.settings import load_profile
from vwlib.study.digest import as_words
from vwlib.study.plan import make_plan
from vwlib.trials import Trial

PROFILE = load_profile("smoke")
FULL = load_profile("miniature")


@dataclass(frozen=True, eq=False)
class Given(Sources):
    """Sources whose words are the anchors themselves, for three concepts and anchors."""

    def words(self, task, dataset, delta=None):
        names = [concept.name for concept in concepts_of(dataset, "miniature")[:3]]
        trials = [Trial(dataset, concept, anchor, delta) for concept in names for anchor in names]
        model = load_model(task, self.profile)
        table = model.word_table()
        return as_words(
            task,
            self.profile,
            trials,
            torch.stack([table[model.vocabulary.token_of(t.anchor)].repeat(4, 1) for t in trials]),
        )


def test_the_small_grid_is_off_the_diagonal():
    assert {(t.concept, t.anchor) for t in small_grid(PROFILE, "detection", "COCO")} == {
        ("laptop", "scissors"),
        ("scissors", "laptop"),
    }
    assert (
        len(small_grid(FULL, "classification", "COCO", own=True)) == 16
        and len(off_diagonal(FULL, small_grid(FULL, "generation", "COCO", own=True))) == 6
    )


def test_pairs_are_of_one_concept_and_different_anchors():
    words = Given(PROFILE).words("detection", "COCO")
    found = [(words[i].concept, words[j].concept, {words[i].anchor, words[j].anchor}) for i, j in pairs_of(words)]
    assert len(found) == 9 and all(one == other and len(anchors) == 2 for one, other, anchors in found)


def test_scoring_many_times_uses_fewer_images_and_never_more():
    assert (
        lighter(FULL).test_images == FULL.experiments.test_images < FULL.test_images
        and lighter(PROFILE).test_images == 2
    )
    assert lighter(FULL.model_copy(update={"test_images": 3})).test_images == 3


def test_a_model_and_its_copy_learn_the_same_offsets(tmp_path):
    for name in ("classifier", "classifier_twin"):
        shutil.copytree(resolve(PROFILE.classifier.source), tmp_path / name)
    settings = PROFILE.classifier.model_copy(update={"source": str(tmp_path / "classifier")})
    profile = PROFILE.model_copy(update={"classifier": settings})

    class Learning(Given):
        def words(self, task, dataset, delta=None):
            trials = small_grid(profile, task, dataset)
            return as_words(task, profile, trials, geometry.learn(task, profile, trials, progress=False).vectors)

    assert geometry.offset_cases(profile)[-1] == {"kind": "seeds", "dataset": "COCO"} and geometry.twin_weights(profile)
    found = geometry.offsets(profile, {"kind": "seeds", "dataset": "COCO"}, Learning(profile))
    assert (found["cosine"] > 0.999).all() and set(found["target"]) == {"to the twin", "from the twin"}


def test_words_are_carried_by_every_kind_of_map_and_gain_nothing_where_they_land_on_their_anchors(monkeypatch):
    def home(profile, vectors, source, target, kind):
        model = load_model(target, profile)
        anchors = [word.anchor for word in Given(profile).grid(source, "COCO")]
        return model.word_table()[[model.vocabulary.token_of(anchor) for anchor in anchors]][:, None]

    monkeypatch.setattr(kinds, "carry", home)
    table = kinds.map_kinds(PROFILE, {"source": "detection", "task": "classification"}, Given(PROFILE))
    assert list(table["map"].unique()) == list(MAPS) == kinds.kinds_known(PROFILE) and (table["gain"] == 0).all()
    assert (table.groupby("map")[["r2", "top1"]].nunique() == 1).all(axis=None) and (
        table["concept"] != table["anchor"]
    ).all()


def test_a_word_leans_to_what_it_is():
    anchors, concepts = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
    layers = torch.stack([anchors[0, 0], concepts[0, 0]])[None]
    assert encoder.leaning(layers, anchors, concepts).tolist() == [[-1, 1]]
    assert encoder.leaning((anchors + concepts) / 2, anchors, concepts).abs().max() == 0


def test_the_generators_encoder_is_cut_at_evenly_spaced_depths():
    assert encoder.depths(load_model("generation", FULL), FULL) == [0, 2, 4, 6, 8]
    assert encoder.depths(load_model("detection", FULL), FULL) == list(range(7))


@pytest.mark.parametrize(("best", "kept"), [("anchor", True), ("own", False), ("none", False)])
def test_an_output_is_kept_where_the_word_is_best_at_its_anchors_concept(monkeypatch, best, kept):
    names = list(load_split(PROFILE, "COCO").names)

    def scores(task, profile, dataset, vectors):
        words = Given(PROFILE).grid("classification", "COCO", 0.5)
        asked = [{"anchor": word.anchor, "own": word.concept, "none": None}[best] for word in words]
        return np.array([[float(name == concept) for name in names] for concept in asked])

    monkeypatch.setattr(solutions, "scores_by_concept", scores)
    table = solutions.perturbations(PROFILE, {"task": "classification", "dataset": "COCO"}, Given(PROFILE))
    assert set(table["kind"]) == {"optimised", "random", "random, vocabulary", "random, word"} and set(
        table["kept"]
    ) == {kept}


def test_a_parabola_ends_at_its_ends_and_is_straight_with_its_bend_in_the_middle():
    one, bend, other = (
        torch.zeros(1, 2, 3),
        torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(0)),
        torch.ones(1, 2, 3),
    )
    assert torch.equal(solutions.on_parabola(one, bend, other, torch.zeros(1)), one) and torch.equal(
        solutions.on_parabola(one, bend, other, torch.ones(1)), other
    )
    torch.testing.assert_close(
        solutions.on_parabola(one, (one + other) / 2, other, torch.full((1,), 0.25)), torch.full((1, 2, 3), 0.25)
    )


def test_bends_start_half_way_and_move():
    words = Given(PROFILE).words("classification", "COCO", 0.5)[:2]
    one, other = words[0].vectors[None], words[1].vectors[None]
    bend = solutions.learn_bends(
        "classification", PROFILE, [Trial("COCO", "laptop", "laptop and scissors")], ["laptop"], one, other
    )
    steps, rate = PROFILE.learning["classification"].steps, PROFILE.learning["classification"].rate
    moved = (bend - (one + other) / 2).abs().max()
    assert 0 < moved <= 1.01 * steps * rate  # Adam's steps are no longer than its rate


def test_words_that_are_alike_draw_alike_from_the_same_noise(monkeypatch):
    class Same(Given):
        def words(self, task, dataset, delta=None):
            found = super().words(task, dataset, delta)
            found = [word for word in found if word.concept != word.anchor]
            return as_words(
                task,
                PROFILE,
                [Trial(dataset, w.concept, w.anchor, delta) for w in found],
                found[0].vectors.repeat(len(found), 1, 1),
            )

    profile = PROFILE.model_copy(
        update={"experiments": PROFILE.experiments.model_copy(update={"grid": dict.fromkeys(TASKS, 3)})}
    )
    table = solutions.likeness(profile, {"dataset": "COCO"}, Same(profile)).pivot(
        index="concept", columns="kind", values="cosine"
    )
    assert (
        len(table) == 3 and (table["same noise"] > 0.999).all() and (table["other noise"] < table["same noise"]).all()
    )


def test_words_that_are_their_anchors_agree_as_the_anchors_do():
    table = solutions.agreement(PROFILE, {"dataset": "COCO"}, Given(PROFILE))
    agrees = table.pivot(index=["concept", "anchor"], columns="kind", values="agrees")
    assert (
        len(agrees) == 9
        and (agrees["learned"] == agrees["anchors"]).all()
        and (table["images"] == PROFILE.test_images).all()
    )


def test_a_word_that_diverged_has_no_value(monkeypatch):
    vectors = load_model("classification", PROFILE).word_table()[:8].reshape(2, 4, -1).cpu().clone()
    vectors[0] = torch.nan
    monkeypatch.setattr(
        learning,
        "learn_trials",
        lambda *_, **settings: Learned(vectors, torch.zeros(1, 2), dict.fromkeys(settings["snapshots"], vectors)),
    )
    table = learning.rates(PROFILE, {"task": "classification", "dataset": "COCO", "factor": "4"}, Given(PROFILE))
    assert table.groupby("steps")["value"].count().tolist() == [1, 1] and set(table["rate"]) == {
        4 * PROFILE.learning["classification"].rate
    }


def test_the_sweep_is_at_the_tasks_own_rates():
    rates = pd.DataFrame({"factor": [1.0, 4.0], "steps": [2, 2]})
    assert learning.sweep(PROFILE, {}, Sources(PROFILE, tables={"rates": rates}))["factor"].tolist() == [1.0]


def test_resampled_images_stay_with_their_concepts():
    frozen = CachedFeatures(["a"] * 50 + ["b"] * 50, {"image": torch.arange(100.0)})
    found = learning.resampled(frozen, 0)
    assert (
        found.concepts == frozen.concepts
        and found.tensors["image"][:50].max() < 50 <= found.tensors["image"][50:].min()
    )
    assert len(found.tensors["image"].unique()) < 80 and not torch.equal(
        found.tensors["image"], learning.resampled(frozen, 1).tensors["image"]
    )


@pytest.mark.parametrize(("depends_on", "data", "start"), [("start", 0, 1), ("data", 1, 0)])
def test_spreads_tell_data_from_starts(monkeypatch, depends_on, data, start):
    number = iter(range(2))
    monkeypatch.setattr(learning, "learn_anew", lambda *_: torch.zeros(4, 1, 1))
    scores = {"start": lambda: np.array([0.0, 0.5, 0.0, 0.5]), "data": lambda: np.full(4, 0.5 * next(number))}[
        depends_on
    ]
    monkeypatch.setattr(learning, "own_scores", lambda *_: scores())
    spread = learning.spreads(PROFILE, {"dataset": "COCO"}, Given(PROFILE)).groupby("kind")["spread"].mean()
    np.testing.assert_allclose([spread["data"], spread["start"]], [data * 0.5 / np.sqrt(2), start * 0.5 / np.sqrt(2)])


def test_what_is_explained_and_what_is_not():
    anchor, part, other = torch.eye(3)
    assert drawn.unexplained(2 * part - anchor, torch.stack([anchor, part])) == pytest.approx(0)
    assert drawn.unexplained(other - 5 * anchor, torch.stack([anchor, part])) == pytest.approx(
        1
    )  # leaving the anchor explains nothing
    assert drawn.unexplained(part + other, torch.stack([anchor, part])) == pytest.approx(0.5)


def test_matching_pursuit_finds_the_words_of_a_sum():
    algebra = drawn.Algebra.of(load_model("classification", PROFILE))
    vector = (
        algebra.rows.mean(0)
        + 3 * (algebra.row("orange") - algebra.rows.mean(0))
        + 2 * (algebra.row("cat") - algebra.rows.mean(0))
    )
    assert (
        algebra.best_two(vector, "phone", ()) == ["orange", "cat"]
        and algebra.residual(vector, "phone", ["orange", "cat"]) < 1e-6
    )
    assert "orange" not in algebra.best_two(vector, "phone", ("orange",))


def test_drawn_things_differ_from_picture_to_picture_and_not_from_run_to_run():
    one, other = (drawn.compound_examples(("orange", "cat"), 2, 0) for _ in range(2))
    assert one[0].image().tobytes() == other[0].image().tobytes() != one[1].image().tobytes()
    assert one[0].label == "orange cat" and one[0].boxes.shape == (1, 4)


def test_rarer_nouns_are_no_concepts_and_rarer():
    concepts = {concept.prompt_name for dataset in DATASETS for concept in concepts_of(dataset, "miniature")}
    known, nouns = frequency.name_frequency(frequency.load_sprites()), frequency.rarer_nouns(10)
    assert len(set(nouns)) == 10 and not concepts & set(nouns)
    assert max(known[noun] for noun in nouns) < 0.5 * min(known[name] for name in concepts)


def test_names_share_the_scenes_of_their_nouns():
    found = pd.Series(frequency.name_frequency(frequency.load_sprites()))
    assert found.sum() == pytest.approx(1) and found["cat"] == pytest.approx(4 * found["kitty"])


def test_days_are_told_once_the_log_has_every_chunk():
    class Logged:
        def __init__(self, names):
            self.names = names

        def notes(self):
            return pd.DataFrame({"chunk": self.names, "learning": 43200.0, "scoring": 43200.0})

    names = [chunk.name for chunk in make_plan(PROFILE)]
    for logged, days in ((names + names[:1], [len(names)]), (names[1:], [])):
        sources = Sources(PROFILE)
        vars(sources)["store"] = Logged(logged)
        assert records.timing(PROFILE, {}, sources)["days"].tolist() == days


def test_what_must_be_drawn_is_left_out_in_the_papers_world():
    paper = load_profile("paper")
    assert drawn.in_the_miniature(paper) == [] and {case["nouns"] for case in frequency.cases(paper)} == {"concepts"}


def test_solutions_are_words_that_do_at_least_half_of_what_their_concepts_name_does():
    rows = [("COCO", "cup", "name", "detection", None, 0.8), ("COCO", "cup", "detection", "detection", "good", 0.4)]
    rows += [
        ("COCO", "cup", "detection", "detection", "poor", 0.39),
        ("COCO", "cup", "detection", "generation", "poor", 1.0),
    ]
    rows += [("COCO", "dog", "name", "detection", None, 0.0), ("COCO", "dog", "detection", "detection", "idle", 0.0)]
    table = pd.DataFrame(rows, columns=["dataset", "concept", "trained_on", "evaluated_on", "word_id", "value"])
    words = [
        SimpleNamespace(word_id=name, concept=concept)
        for name, concept in (("good", "cup"), ("poor", "cup"), ("idle", "dog"))
    ]
    sources = SimpleNamespace(trials=table, grid=lambda *_, own: words)
    assert [word.word_id for word in solutions.solutions_of("detection", "COCO", sources)] == ["good"], (
        "a name that does nothing is no measure"
    )
