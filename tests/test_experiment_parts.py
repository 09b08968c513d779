"""The experiments' parts on made-up words and scores whose answer is known."""

import shutil
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from vwlib.concepts import DATASETS, TASKS, concepts_of
from vwlib.datasets.splits import open_lab
from vwlib.experiments import displacements, drawn, encoder, learning, map_quality, pairs, perturbations
from vwlib.experiments.base import Sources
from vwlib.experiments.running import EXPERIMENTS
from vwlib.experiments.words import grid_trials, off_diagonal, pairs_of, reduced
from vwlib.lab import Lab
from vwlib.learn import Learned
from vwlib.maps import MAPS
from vwlib.models.base import CachedFeatures
from vwlib.models.loading import resolve
from vwlib.settings import load_profile
from vwlib.study.digest import as_words
from vwlib.study.plan import make_plan
from vwlib.study.progress import append_run
from vwlib.study.store import Store
from vwlib.trials import Trial

PROFILE, FULL, PAPER = load_profile("smoke"), load_profile("miniature"), load_profile("paper")


@dataclass(frozen=True, eq=False)
class Given(Sources):
    """Sources whose words are the anchors themselves, for three concepts and anchors."""

    lab: Lab | None = None

    def words(self, task, dataset, delta=None):
        names = [concept.name for concept in concepts_of(dataset, "miniature")[:3]]
        trials = [Trial(dataset, concept, anchor, delta) for concept in names for anchor in names]
        return self.as_words(task, trials, self.lab.model(task).embeddings_of([t.anchor for t in trials], 4))

    def as_words(self, task, trials, vectors):
        return as_words(task, self.profile, trials, vectors, "float32")


@pytest.fixture
def given(lab):
    """Made-up sources of an experiment by name, with other sizes where they are named."""

    def sources(name, kind=Given, **sizes):
        found = EXPERIMENTS[name].sizes_of(PROFILE)
        vars(found).update(sizes)
        return kind(PROFILE, sizes=found, lab=lab)

    return sources


def test_the_grid_is_off_the_diagonal():
    assert {(t.concept, t.anchor) for t in grid_trials(PROFILE, "COCO", 2)} == {
        ("laptop", "scissors"),
        ("scissors", "laptop"),
    }
    assert len(grid_trials(FULL, "COCO", 4, own=True)) == 16
    assert len(off_diagonal(FULL, grid_trials(FULL, "COCO", 3, own=True))) == 6


def test_pairs_are_of_one_concept_and_different_anchors(given):
    words = given("agreement").words("detection", "COCO")
    found = [(words[i].concept, words[j].concept, {words[i].anchor, words[j].anchor}) for i, j, _ in pairs_of(words)]
    assert len(found) == 9
    assert all(one == other and len(anchors) == 2 for one, other, anchors in found)


def test_scoring_many_times_uses_fewer_images_and_never_more(lab):
    few = reduced(lab, 2, 1).profile
    assert (few.test_images, few.generator.images_per_word) == (2, 1)
    assert reduced(lab, 50, 1).profile.test_images == PROFILE.test_images


def test_a_model_and_its_copy_learn_the_same_offsets(tmp_path):
    for name in ("classifier", "classifier_twin"):
        shutil.copytree(resolve(PROFILE.classifier.source), tmp_path / name)
    profile = load_profile("smoke", classifier={"source": str(tmp_path / "classifier")})
    lab = open_lab(profile)

    class Learning(Given):
        def words(self, task, dataset, delta=None):
            trials = grid_trials(profile, dataset, 2)
            return self.as_words(task, trials, lab.learn(task, trials, progress=False).vectors)

    case = {"kind": "seeds", "dataset": "COCO"}
    assert displacements.offset_cases(profile)[-1] == case
    assert displacements.twin_weights(profile)
    found = EXPERIMENTS["offsets"].rows(lab, case, Learning(profile, sizes=EXPERIMENTS["offsets"].sizes_of(profile)))
    assert (found["cosine"] > 0.999).all()
    assert set(found["target"]) == {"to the twin", "from the twin"}


def test_words_are_mapped_by_every_kind_and_gain_nothing_where_they_land_on_their_anchors(lab, given, monkeypatch):
    case, sources = {"source": "detection", "task": "classification"}, given("map_kinds")
    anchors = [word.anchor for word in sources.grid("detection", "COCO")]
    monkeypatch.setattr(lab, "transfer", lambda *_: lab.model("classification").embeddings_of(anchors))
    quality = pd.DataFrame({"r2": [0.5], "top1": [0.25]})
    monkeypatch.setattr(map_quality, "held_out_quality", lambda *_, kind: quality)
    table = EXPERIMENTS["map_kinds"].rows(lab, case, sources)
    assert list(table["map"].unique()) == list(MAPS) == EXPERIMENTS["map_kinds"].inputs(PROFILE)
    assert (table["gain"] == 0).all()
    assert (table["r2"] == 0.5).all()
    assert (table["concept"] != table["anchor"]).all()


def test_a_word_at_its_anchor_has_moved_nowhere(lab, given):
    words = given("agreement").words("detection", "COCO")[:2]
    trials, vectors = [Trial(w.dataset, w.concept, w.anchor) for w in words], torch.stack([w.vectors for w in words])
    table = displacements.displacement_table(lab.model("detection"), trials, vectors)
    assert len(table) == 8
    assert (table["distance"] == 0).all()
    assert table["is_anchor"].all()


def test_a_word_leans_to_what_it_is():
    anchors, concepts = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
    layers = torch.stack([anchors[0, 0], concepts[0, 0]])[None]
    assert encoder.relative_distance(layers, anchors, concepts).tolist() == [[-1, 1]]
    assert encoder.relative_distance((anchors + concepts) / 2, anchors, concepts).abs().max() == 0


def test_the_generators_encoder_is_cut_at_evenly_spaced_depths(lab):
    assert encoder.depths(lab.model("generation"), 5) == [0, 2, 4, 6, 8]
    assert encoder.depths(lab.model("detection"), 5) == list(range(7))


@pytest.mark.parametrize(("best", "kept"), [("anchor", True), ("own", False), ("none", False)])
def test_an_output_is_kept_where_the_word_is_best_at_its_anchors_concept(lab, given, monkeypatch, best, kept):
    names, sources = list(lab.split("COCO").names), given("perturbations")

    def scores(*_):
        words = sources.grid("classification", "COCO", 0.5)
        asked = [{"anchor": word.anchor, "own": word.concept, "none": None}[best] for word in words]
        return np.array([[float(name == concept) for name in names] for concept in asked])

    monkeypatch.setattr(perturbations, "scores_by_concept", scores)
    table = EXPERIMENTS["perturbations"].rows(lab, {"task": "classification", "dataset": "COCO"}, sources)
    assert set(table["kind"]) == {"optimised", "random", "random, vocabulary", "random, word"}
    assert set(table["kept"]) == {kept}


def test_a_word_has_a_score_for_each_concept(lab):
    names = list(lab.split("COCO").names)
    own = lab.model("classification").embeddings_of([c.anchor for c in concepts_of("COCO", "miniature")])[:2]
    scores = perturbations.scores_by_concept(lab, "classification", "COCO", own)
    assert scores.shape == (2, len(names))
    assert scores.argmax(1).tolist() == [0, 1]


def test_a_parabola_ends_at_its_ends_and_is_straight_with_its_bend_in_the_middle():
    one, other = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
    bend = torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pairs.on_parabola(one, bend, other, torch.zeros(1)), one)
    assert torch.equal(pairs.on_parabola(one, bend, other, torch.ones(1)), other)
    quarter = pairs.on_parabola(one, (one + other) / 2, other, torch.full((1,), 0.25))
    torch.testing.assert_close(quarter, torch.full((1, 2, 3), 0.25))


def test_bends_start_half_way_and_move(lab, given):
    words = given("segments").words("classification", "COCO", 0.5)[:2]
    one, other = words[0].vectors[None], words[1].vectors[None]
    trials = [Trial("COCO", "laptop", "laptop and scissors")]
    bend = pairs.learn_bends(lab, "classification", trials, ["laptop"], one, other)
    learning = PROFILE.learning["classification"]
    moved = (bend - (one + other) / 2).abs().max()
    assert 0 < moved <= 1.01 * learning.steps * learning.rate  # Adam's steps are no longer than its rate


def test_segments_go_from_one_solution_to_the_other(lab, given, monkeypatch):
    sources = given("segments")
    monkeypatch.setattr(pairs, "solutions_of", lambda task, dataset, _: sources.words(task, dataset)[:2])
    table = pairs.segments(lab, {"task": "classification", "dataset": "COCO"}, sources)
    for kind, shares in {"curve": [0, 0.5, 1], "ends": [np.nan], "middle": [0.5], "segment": [0, 0.5, 1]}.items():
        np.testing.assert_array_equal(table.loc[table["kind"] == kind, "t"], shares)
    assert set(table["anchor"]) == {"laptop and scissors"}
    values = table.set_index(["kind", "t"])["value"]
    assert values["segment", 0.0] == values["curve", 0.0]
    assert values["ends"].iloc[0] == (values["segment", 0.0] + values["segment", 1.0]) / 2


def test_words_that_are_alike_draw_alike_from_the_same_noise(lab, given):
    class Same(Given):
        def words(self, task, dataset, delta=None):
            found = [word for word in super().words(task, dataset, delta) if word.concept != word.anchor]
            trials = [Trial(dataset, w.concept, w.anchor, delta) for w in found]
            return self.as_words(task, trials, found[0].vectors.repeat(len(found), 1, 1))

    table = pairs.likeness(lab, {"dataset": "COCO"}, given("likeness", Same, grid=dict.fromkeys(TASKS, 3)))
    table = table.pivot(index="concept", columns="kind", values="cosine")
    assert len(table) == 3
    assert (table["same noise"] > 0.999).all()
    assert (table["other noise"] < table["same noise"]).all()


def test_words_that_are_their_anchors_agree_as_the_anchors_do(lab, given):
    table = pairs.agreement(lab, {"dataset": "COCO"}, given("agreement"))
    agrees = table.pivot(index=["concept", "anchor"], columns="kind", values="agrees")
    assert len(agrees) == 9
    assert (agrees["learned"] == agrees["anchors"]).all()
    assert (table["images"] == PROFILE.test_images).all()


def test_a_word_that_diverged_has_no_value(lab, given, monkeypatch):
    vectors = lab.model("classification").word_table()[:8].reshape(2, 4, -1).clone()
    vectors[0] = torch.nan
    monkeypatch.setattr(
        lab, "learn", lambda *_, snapshots, **__: Learned(vectors, torch.zeros(5, 2), dict.fromkeys(snapshots, vectors))
    )
    case = {"task": "classification", "dataset": "COCO", "factor": "4"}
    table = EXPERIMENTS["rates"].rows(lab, case, given("rates"))
    assert table.groupby("steps")["value"].count().tolist() == [1, 1]
    assert set(table["rate"]) == {4 * PROFILE.learning["classification"].rate}


def test_words_of_a_patience_are_those_that_stopped_with_it(lab, given, monkeypatch):
    changes = {"steps": 8, "progress": False}
    whole, usual = {}, lab.learn

    def learn(task, trials, **how):
        whole["trials"] = trials
        return usual(task, trials, **how | changes)

    monkeypatch.setattr(lab, "learn", learn)
    case = {"task": "classification", "dataset": "COCO"}
    longer = {**PROFILE.learning, "classification": PROFILE.learning["classification"].model_copy(update={"steps": 8})}
    monkeypatch.setattr(lab, "profile", PROFILE.model_copy(update={"learning": longer}))
    table = EXPERIMENTS["stopping"].rows(lab, case, given("stopping"))
    stopped = usual("classification", whole["trials"], patience=2, **changes)
    assert table.loc[table["patience"] == 2, "steps"].tolist() == stopped.steps.tolist()
    assert (table.loc[table["patience"] == 0, "steps"] == 8).all() and (table["steps"] > 1).all()
    assert table["value"].between(0, 1).all() and table["delta"].isna().mean() == 0.5


def test_the_sweep_is_at_the_tasks_own_rates():
    table = pd.DataFrame({"factor": [1.0, 4.0], "steps": [2, 2]})
    assert learning.own_rates(None, {}, Sources(PROFILE, tables={"rates": table}))["factor"].tolist() == [1.0]


def test_resampled_images_stay_with_their_concepts():
    features = CachedFeatures(["a"] * 50 + ["b"] * 50, {"image": torch.arange(100.0)})
    found, other = (learning.resampled(features, seed) for seed in (0, 1))
    assert found.concepts == features.concepts
    assert found.tensors["image"][:50].max() < 50 <= found.tensors["image"][50:].min()
    assert len(found.tensors["image"].unique()) < 80
    assert not torch.equal(found.tensors["image"], other.tensors["image"])


@pytest.mark.parametrize(("depends_on", "data", "start"), [("start", 0, 1), ("data", 1, 0)])
def test_spreads_tell_data_from_starts(lab, given, monkeypatch, depends_on, data, start):
    number = iter(range(2))
    made_up = {"start": lambda: np.array([0.0, 0.5, 0.0, 0.5]), "data": lambda: np.full(4, 0.5 * next(number))}
    monkeypatch.setattr(Lab, "learn", lambda *_, **__: Learned(torch.zeros(4, 1, 1), torch.zeros(1, 4)))
    monkeypatch.setattr(learning, "values_of", lambda *_: made_up[depends_on]())
    table = EXPERIMENTS["spreads"].rows(lab, {"dataset": "COCO"}, given("spreads"))
    spread = table.groupby("kind")["spread"].mean()
    np.testing.assert_allclose([spread["data"], spread["start"]], [data * 0.5 / np.sqrt(2), start * 0.5 / np.sqrt(2)])


def test_what_is_explained_and_what_is_not():
    anchor, part, other = torch.eye(3)
    words = torch.stack([anchor, part])
    assert drawn.unexplained(2 * part - anchor, words) == pytest.approx(0)
    assert drawn.unexplained(other - 5 * anchor, words) == pytest.approx(1)  # leaving the anchor explains nothing
    assert drawn.unexplained(part + other, words) == pytest.approx(0.5)


def test_matching_pursuit_finds_the_words_of_a_sum(lab):
    algebra = drawn.Algebra.of(lab.model("classification"))
    mean = algebra.rows.mean(0)
    vector = mean + 3 * (algebra.row("orange") - mean) + 2 * (algebra.row("cat") - mean)
    assert algebra.best_two(vector, "phone", ()) == ["orange", "cat"]
    assert algebra.residual(vector, "phone", ["orange", "cat"]) < 1e-6
    assert "orange" not in algebra.best_two(vector, "phone", ("orange",))


def test_drawn_things_differ_from_picture_to_picture_and_not_from_run_to_run():
    one, other = (drawn.compound_examples(("orange", "cat"), 2, 0) for _ in range(2))
    assert one[0].image().tobytes() == other[0].image().tobytes() != one[1].image().tobytes()
    assert one[0].label == "orange cat"
    assert one[0].boxes.shape == (1, 4)


def test_rarer_nouns_are_no_concepts_and_rarer():
    concepts = {concept.prompt_name for dataset in DATASETS for concept in concepts_of(dataset, "miniature")}
    known, nouns = drawn.name_frequency(drawn.load_sprites()), drawn.rarer_nouns(10)
    assert len(set(nouns)) == 10
    assert not concepts & set(nouns)
    assert max(known[noun] for noun in nouns) < 0.5 * min(known[name] for name in concepts)


def test_names_share_the_scenes_of_their_nouns():
    found = pd.Series(drawn.name_frequency(drawn.load_sprites()))
    assert found.sum() == pytest.approx(1)
    assert found["cat"] == pytest.approx(4 * found["kitty"])


def test_days_are_told_once_the_log_has_every_chunk(tmp_path):
    names = [chunk.name for chunk in make_plan(PROFILE)]
    record = {"kind": "words", "task": "detection", "words": 4, "steps": 5, "learning": 43200, "scoring": 43200}
    lab, sources = SimpleNamespace(profile=PROFILE), Sources(PROFILE, tmp_path)
    for logged, days in ((names[1:], []), (names[:1] * 2, [len(names)])):
        for name in logged:
            append_run(Store(PROFILE, tmp_path).log_file, {"chunk": name} | record)
        assert learning.timing(lab, {}, sources)["days"].tolist() == days


def test_what_must_be_drawn_is_left_out_in_the_papers_world():
    assert EXPERIMENTS["compounds"].cases(PAPER) == EXPERIMENTS["instances"].cases(PAPER) == []
    assert {case["nouns"] for case in drawn.frequency_cases(PAPER)} == {"concepts"}


def test_solutions_are_words_that_do_at_least_half_of_what_their_concepts_name_does():
    rows = [
        ("COCO", "cup", "name", "detection", None, 0.8),
        ("COCO", "cup", "detection", "detection", "good", 0.4),
        ("COCO", "cup", "detection", "detection", "poor", 0.39),
        ("COCO", "cup", "detection", "generation", "poor", 1.0),
        ("COCO", "dog", "name", "detection", None, 0.0),  # a name that does nothing is no measure
        ("COCO", "dog", "detection", "detection", "idle", 0.0),
    ]
    table = pd.DataFrame(rows, columns=["dataset", "concept", "trained_on", "evaluated_on", "word_id", "value"])
    words = [
        SimpleNamespace(word_id=name, concept=concept)
        for name, concept in (("good", "cup"), ("poor", "cup"), ("idle", "dog"))
    ]
    sources = SimpleNamespace(trials=table, grid=lambda *_, own: words)
    assert [word.word_id for word in pairs.solutions_of("detection", "COCO", sources)] == ["good"]
