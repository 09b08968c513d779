"""Profiles: validated, complete, and refused in one sentence."""

import pytest

from vwlib.concepts import TASKS
from vwlib.settings import load_profile
from vwlib.study.plan import make_plan, word_ids


@pytest.mark.parametrize("name", ["smoke", "miniature", "paper"])
def test_every_profile_is_complete(name):
    profile = load_profile(name)
    assert profile.name == name and set(profile.learning) == set(TASKS) and profile.vectors == 4


def test_the_paper_profile_has_the_papers_numbers():
    profile = load_profile("paper")
    assert profile.train_images == 8 and profile.generator.inference_steps == 50 and profile.prompt == "a photo of {}"
    assert all(
        (settings.steps, settings.rate, settings.batch) == (1000, 1e-4, 8) for settings in profile.learning.values()
    )


def test_the_papers_models_say_where_they_come_from():
    profile = load_profile("paper")
    models = (
        profile.generator,
        profile.generator.safety_checker,
        profile.detector,
        profile.classifier,
        profile.judge,
        profile.second_judge,
    )
    assert all(model.hub and model.revision and model.fetch and model.gigabytes for model in models)
    assert profile.classifier.activation == "quick_gelu" and len(profile.generator.sha256) == 3


def test_a_change_names_only_what_it_changes():
    profile = load_profile(
        "paper",
        generator={"safety_checker": None},
        classifier={"source": "elsewhere"},
        learning={"detection": {"steps": 7}},
    )
    usual = load_profile("paper")
    assert profile.generator == usual.generator.model_copy(update={"safety_checker": None})
    assert (
        profile.classifier == usual.classifier.model_copy(update={"source": "elsewhere"})
        and profile.classifier.activation == "quick_gelu"
    )
    assert profile.learning == usual.learning | {
        "detection": usual.learning["detection"].model_copy(update={"steps": 7})
    }


SETTINGS = """
[paper]
device = "cuda:1"
[paper.generator]
source = "/models/sd"
safety_checker = false
[paper.data]
COCO = "/data/coco"
[smoke.learning.generation]
steps = 6
"""


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A file of settings that the environment names."""
    monkeypatch.setenv("VWLIB_SETTINGS", str(tmp_path / "settings.toml"))
    (tmp_path / "settings.toml").write_text(SETTINGS)
    return tmp_path / "settings.toml"


def test_settings_of_a_file_change_their_profile_and_no_other(settings, monkeypatch):
    paper, smoke, miniature = (load_profile(name) for name in ("paper", "smoke", "miniature"))
    assert (paper.device, paper.generator.source, paper.generator.safety_checker, paper.data["COCO"]) == (
        "cuda:1",
        "/models/sd",
        None,
        "/data/coco",
    )
    assert paper.generator.sha256 and paper.data["PASCAL"] == "datasets/voc" and smoke.learning["generation"].steps == 6
    assert load_profile("paper", device="cpu").generator == paper.generator
    monkeypatch.delenv("VWLIB_SETTINGS")
    assert load_profile("miniature") == miniature and load_profile("smoke") != smoke


def test_changed_settings_give_other_words_and_a_model_elsewhere_the_same(settings):
    chunk = next(
        chunk for chunk in make_plan(load_profile("smoke")) if chunk.kind == "words" and chunk.task == "generation"
    )
    ids = {
        load_profile("smoke", **change): None
        for change in ({}, {"learning": {"generation": {"steps": 5}}}, {"device": "cpu"})
    }
    first, longer, moved = (word_ids(profile, chunk) for profile in ids)
    assert first == moved and not set(first) & set(longer)


@pytest.mark.parametrize(
    "text,sentence",
    [
        ("[paper", r"settings\.toml, which cannot be read as TOML: "),
        ('device = "cpu"', r"settings\.toml: 'device' is no table of a profile"),
        ("[papr]\nvectors = 3", r"settings\.toml: 'papr' is no table of a profile"),
        (
            "[paper.generator]\nsize = 3",
            r"settings\.toml, profile 'paper', setting 'generator\.size': extra inputs are not permitted \(got 3\)\.",
        ),
        ("[paper.learning.generaton]\nsteps = 3", r"setting 'learning\.generaton"),
        ("[paper.generator]\nsafety_checker = true", r"setting 'generator\.safety_checker': .*\(got True\)"),
    ],
)
def test_a_wrong_file_of_settings_is_named_in_one_sentence(text, sentence, settings):
    settings.write_text(text)
    with pytest.raises(ValueError, match=sentence) as caught:
        load_profile("paper")
    assert "\n" not in str(caught.value)


def test_a_missing_file_of_settings_is_named(settings):
    settings.unlink()
    with pytest.raises(
        ValueError, match=r"VWLIB_SETTINGS names .*settings\.toml, which cannot be read as TOML: .*No such file"
    ):
        load_profile("smoke")


def test_a_model_may_lie_elsewhere_and_the_safety_checker_be_off():
    generator = load_profile("paper").generator.model_dump() | {"source": "elsewhere", "safety_checker": None}
    profile = load_profile("paper", generator=generator, second_judge=None)
    assert (profile.generator.source, profile.generator.safety_checker, profile.second_judge) == (
        "elsewhere",
        None,
        None,
    )


@pytest.mark.parametrize("change", [{"sha256": {"a": "short"}}, {"activation": "relu"}, {"trust_remote_code": True}])
def test_a_bad_setting_of_a_model_is_named(change):
    with pytest.raises(ValueError, match=f"setting 'judge.{next(iter(change))}"):
        load_profile("paper", judge={"source": "judge"} | change)


def test_the_environment_chooses_the_default(monkeypatch):
    monkeypatch.setenv("VWLIB_PROFILE", "smoke")
    assert load_profile().name == "smoke"


@pytest.mark.parametrize(
    "changes,sentence",
    [
        ({"vectors": 0}, "setting 'vectors'"),
        ({"vektors": 4}, "setting 'vektors'"),
        ({"detector": {"source": "x", "size": 3}}, "setting 'detector.size'"),
    ],
)
def test_a_bad_setting_is_named(changes, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        load_profile("smoke", **changes)
    assert "\n" not in str(caught.value)


def test_an_unknown_profile_is_named():
    with pytest.raises(ValueError, match="'huge' is no profile; choose from smoke, miniature, paper"):
        load_profile("huge")
