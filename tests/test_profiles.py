"""Profiles: validated, complete, and refused in one sentence."""

import pytest

from vwlib.models import TASKS
from vwlib.profiles import load_profile


@pytest.mark.parametrize("name", ["smoke", "miniature", "paper"])
def test_every_profile_is_complete(name):
    profile = load_profile(name)
    assert profile.name == name and set(profile.learning) == set(TASKS) and profile.vectors == 4


def test_the_paper_profile_has_the_papers_numbers():
    profile = load_profile("paper")
    assert profile.train_images == 8 and profile.generator.inference_steps == 50 and profile.prompt == "a photo of {}"
    assert all((settings.steps, settings.rate, settings.batch) == (1000, 1e-4, 8) for settings in profile.learning.values())


def test_the_papers_models_say_where_they_come_from():
    profile = load_profile("paper")
    models = (profile.generator, profile.generator.safety_checker, profile.detector, profile.classifier, profile.judge, profile.second_judge)
    assert all(model.hub and model.revision and model.fetch and model.gigabytes for model in models)
    assert profile.classifier.activation == "quick_gelu" and len(profile.generator.sha256) == 3


def test_a_model_may_lie_elsewhere_and_the_safety_checker_be_off():
    generator = load_profile("paper").generator.model_dump() | {"source": "elsewhere", "safety_checker": None}
    profile = load_profile("paper", generator=generator, second_judge=None)
    assert (profile.generator.source, profile.generator.safety_checker, profile.second_judge) == ("elsewhere", None, None)


@pytest.mark.parametrize("change", [{"sha256": {"a": "short"}}, {"activation": "relu"}, {"trust_remote_code": True}])
def test_a_bad_setting_of_a_model_is_named(change):
    with pytest.raises(ValueError, match=f"setting 'judge.{next(iter(change))}"):
        load_profile("paper", judge={"source": "judge"} | change)


def test_the_environment_chooses_the_default(monkeypatch):
    monkeypatch.setenv("VWLIB_PROFILE", "smoke")
    assert load_profile().name == "smoke"


@pytest.mark.parametrize(
    "changes,sentence",
    [({"vectors": 0}, "setting 'vectors'"), ({"vektors": 4}, "setting 'vektors'"), ({"detector": {"source": "x", "size": 3}}, "setting 'detector.size'")],
)
def test_a_bad_setting_is_named(changes, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        load_profile("smoke", **changes)
    assert "\n" not in str(caught.value)


def test_an_unknown_profile_is_named():
    with pytest.raises(ValueError, match="'huge' is no profile; choose from smoke, miniature, paper"):
        load_profile("huge")
