"""The plan: what a chunk's words and scores come from decides which chunk it is, and nothing else does."""

import json
import shutil

import pytest

from vwlib.datasets.splits import load_split
from vwlib.models.loading import resolve
from vwlib.settings import Profile, load_profile
from vwlib.study.digest import digest_examples
from vwlib.study.plan import chunk_digests, make_plan, settings_of
from vwlib.study.store import Store

PROFILE = load_profile("smoke")


def changed(**changes) -> Profile:
    """The profile with some settings changed, deeply."""

    def merge(old, new):
        return old | {
            key: merge(old[key], value) if isinstance(value, dict) and isinstance(old.get(key), dict) else value
            for key, value in new.items()
        }

    return Profile.model_validate(merge(PROFILE.model_dump(), changes))


def differing(other, which: int) -> set[str]:
    """The tasks whose words (0), or words and scores (1), are others than the profile's."""
    pairs = zip(make_plan(PROFILE), make_plan(other), strict=True)
    return {
        ours.task
        for ours, theirs in pairs
        if ours.kind == "words" and chunk_digests(PROFILE, ours)[which] != chunk_digests(other, theirs)[which]
    }


ALL = {"generation", "detection", "classification"}


def test_where_models_lie_and_come_from_does_not_count(tmp_path):
    shutil.copytree(resolve(PROFILE.detector.source), tmp_path / "moved")
    moved = {
        "source": str(tmp_path / "moved"),
        "hub": "somebody/detector",
        "revision": "v2",
        "fetch": ("*.json",),
        "gigabytes": 3.0,
    }
    other = changed(concepts=3, anchors=3, detector=moved | {"sha256": {"a": "0" * 64}})
    assert differing(other, 0) == differing(other, 1) == set() and settings_of(other) == settings_of(PROFILE)


@pytest.mark.parametrize(
    "change,words,scores",
    [
        ({"prompt": "a picture of {}"}, ALL, ALL),
        ({"vectors": 2}, ALL, ALL),
        ({"study": {"threads": 2}}, ALL, ALL),
        ({"learning": {"detection": {"rate": 0.5}}}, {"detection"}, {"detection"}),
        ({"learning": {"generation": {"patience": 5}}}, {"generation"}, {"generation"}),
        ({"learning": {"generation": {"strata": 4}}}, {"generation"}, {"generation"}),
        ({"learning": {"generation": {"patience": False}}}, set(), set()),
        ({"train_images": 3}, ALL, ALL),
        ({"test_images": 3}, set(), ALL),
        ({"generator": {"guidance": 5.0}}, set(), ALL),
        ({"generator": {"precision": "float32"}}, {"generation"}, ALL),
        (
            {"detector": PROFILE.detector.model_copy(update={"source": PROFILE.classifier.source}).model_dump()},
            {"detection"},
            ALL,
        ),
        ({"judge": PROFILE.judge.model_copy(update={"source": PROFILE.classifier.source}).model_dump()}, set(), ALL),
        ({"second_judge": PROFILE.judge.model_dump()}, set(), ALL),
        ({"adapters": {"detection": "adapters/detector.py:load"}}, {"detection"}, ALL),
        ({"generator": {"safety_checker": PROFILE.detector.model_dump()}}, set(), ALL),
    ],
)
def test_what_changes_words_or_scores_counts(change, words, scores):
    other = changed(**change)
    assert (differing(other, 0), differing(other, 1)) == (words, scores)


def test_how_many_words_are_learned_together_counts():
    other = changed(study={"words_at_once": {"detection": 2}})
    ours, theirs = (
        next(chunk for chunk in make_plan(profile) if chunk.kind == "words" and chunk.task == "detection")
        for profile in (PROFILE, other)
    )
    assert ours.name == theirs.name and chunk_digests(PROFILE, ours)[0] != chunk_digests(other, theirs)[0]


def test_another_delta_changes_no_other_chunk():
    grown = changed(study={"deltas": (0.5, 1.0)})
    kept = {chunk.name: chunk_digests(grown, chunk) for chunk in make_plan(grown)}
    assert len(kept) > len(make_plan(PROFILE)) and all(
        kept[chunk.name] == chunk_digests(PROFILE, chunk) for chunk in make_plan(PROFILE)
    )


@pytest.fixture
def second_version(monkeypatch):
    """The learning algorithm has changed once."""
    monkeypatch.setattr("vwlib.trials.LEARNING", 2)
    chunk_digests.cache_clear()
    yield
    monkeypatch.undo()
    chunk_digests.cache_clear()


def test_another_learning_algorithm_makes_all_words_stale_and_no_reference(request):
    before = {chunk: chunk_digests(PROFILE, chunk) for chunk in make_plan(PROFILE)}
    request.getfixturevalue("second_version")
    for chunk, (words, scores) in before.items():
        same = [old == new for old, new in zip((words, scores), chunk_digests(PROFILE, chunk), strict=True)]
        assert same == [chunk.kind == "references"] * 2, chunk.name


def test_the_stored_words_of_the_miniature_are_fresh():
    """The first version leaves no trace in digests: the chunks were stored before there was one."""
    miniature = load_profile("miniature")
    stored = json.loads(Store(miniature).summary_file.read_text())["chunks"]
    assert stored == {chunk.name: list(chunk_digests(miniature, chunk)) for chunk in make_plan(miniature)}


def test_a_corrected_box_counts():
    examples = load_split(PROFILE, "COCO").train[:2]
    before = digest_examples(examples)
    examples[0].boxes[0, 0] += 1
    try:
        assert digest_examples(examples) != before
    finally:
        examples[0].boxes[0, 0] -= 1
    assert digest_examples(examples) == before
