"""The page that adds a model: its code runs as it stands there, and its adapter's features are those of transformers."""

import re
import tempfile

import pytest
import torch
import torch.nn.functional as F

from vwlib.book import execute as book
from vwlib.book.pages.models import describe_models, describe_run
from vwlib.learn import radii
from vwlib.miniature.world import ensure_world
from vwlib.models import LOADERS, Classifier, Detector, load_classifier, load_detector, load_judge, load_model
from vwlib.models.adapters import find_adapter
from vwlib.paths import ROOT
from vwlib.settings import load_profile
from vwlib.tools import doctor

PAGE = (ROOT / "book" / "add_a_model.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
(ADAPTER,) = (block for block in BLOCKS if "def load(profile)" in block)
#: What the generator does matters little here, and takes long where a processor has no instructions for half precision.
QUICK = """
[smoke.generator]
precision = "float32"
images_per_word = 1
inference_steps = 1
[smoke.learning.generation]
steps = 2
[smoke.experiments]
generation_depths = 2
draws = 20
"""
(SETTINGS,) = re.findall(r"^```toml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the page's code has defined once it has run, block after block."""
    names: dict = {"__name__": "add_a_model"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("page")))
        patch.setitem(LOADERS, "classification", LOADERS["classification"])
        for number, block in enumerate(BLOCKS):
            exec(compile(block, f"add_a_model.md, block {number + 1}", "exec"), names)
        yield names


def test_other_weights_take_the_classifiers_place(page):
    other, usual = (
        Classifier.load(profile.classifier, profile.prompt) for profile in (page["other"], load_profile("smoke"))
    )
    assert torch.equal(other.word_table(), load_judge(page["other"]).word_table())
    assert other.word_table().shape[1] != usual.word_table().shape[1]


@torch.no_grad()
def test_the_adapters_features_are_those_of_transformers(page):
    model, pictures = page["model"], [example.image() for example in page["images"].test[:2]]
    texts = ["a photo of a cat", "dog"]
    ids, pixels = model.vocabulary.prompts(texts), model.processor(images=pictures, return_tensors="pt").pixel_values
    theirs = model.model(input_ids=ids, pixel_values=pixels)
    torch.testing.assert_close(model.encode_prompts(texts), theirs.text_embeds)
    torch.testing.assert_close(model.encode_images(pictures), theirs.image_embeds)


@torch.no_grad()
def test_a_spliced_word_is_the_word_as_it_is_typed(page):
    model = page["model"]
    vector = model.word_table()[model.vocabulary.token_of("cat")][None, None]
    assert torch.equal(model.encode_words(vector), model.encode_prompts(["a photo of cat"]))


def test_the_pages_word_is_learned_within_its_ball_and_carried(page):
    model, learned = page["model"], page["learned"]
    moved = (learned.vectors - model.word_table()[model.vocabulary.token_of("cat")]).norm(dim=-1)
    assert moved.min() > 0 and moved.max() <= radii(model, page["trials"]) + 1e-5
    assert learned.losses[-1] < learned.losses[0]
    assert (
        page["carried"].shape == (1, 4, load_detector(page["profile"]).word_table().shape[1])
        and torch.isfinite(page["carried"]).all()
    )


def test_the_study_uses_the_adapter_under_its_tasks_name(page):
    table = page["grid"].table.set_index(["trained_on", "evaluated_on"])
    assert set(table.index) == {
        (source, target)
        for source in ("anchor", "name", "classification")
        for target in ("classification", "detection")
    }
    assert page["load_model"]("classification", page["profile"]) is page["load_model"](
        "classification", page["profile"]
    )
    assert torch.equal(page["grid"].learned["classification"].vectors, page["learned"].vectors)
    assert table.loc[("classification", "classification"), "value"] == page["score"].value


def test_features_are_normalised(page):
    features = page["model"].encode_prompts(["a photo of a cat"])
    torch.testing.assert_close(features, F.normalize(features, dim=-1))


# --- in the chapters and commands
# -----------------------------------------------------------------------------------------


@pytest.fixture
def named(page, tmp_path, monkeypatch):
    """The page's two files, of which the environment names the second, and nothing in `LOADERS`."""
    (tmp_path / "clip.py").write_text(ADAPTER)
    text = SETTINGS.replace("adapters/clip.py", str(tmp_path / "clip.py")).replace("models/my-clip", page["folder"])
    assert text.count(str(tmp_path)) == 1 and text.count(page["folder"]) == 1
    (tmp_path / "settings.toml").write_text(text + QUICK)
    monkeypatch.setenv("VWLIB_SETTINGS", str(tmp_path / "settings.toml"))
    monkeypatch.setenv("VWLIB_PROFILE", "smoke")
    monkeypatch.setitem(LOADERS, "classification", None)
    return load_profile("smoke")


def with_adapter(file, function="load"):
    return load_profile("smoke", adapters={"classification": f"{file}:{function}"})


def test_the_profile_names_the_adapter_and_it_is_loaded_once(named):
    model = load_model("classification", named)
    assert type(model).__name__ == "TransformersClassifier" and model is load_model("classification", named)
    assert load_classifier(named) is model
    assert not isinstance(load_model("detection", named), Classifier)


def test_the_adapter_says_what_it_is(named):
    described = describe_models(named).loc["classification"]
    network = load_model("classification", named).model
    assert described["class here"] == "CLIPModel"
    assert described["parameters here (M)"] * 1e6 == sum(p.numel() for p in network.parameters())
    assert (described["d here"], described["text blocks here"], described["image here (px)"]) == (64, 2, 64)
    told = describe_run(named)
    assert "clip.py:load" in told and "trained by this project" not in told


def test_the_doctor_asks_for_no_file_of_another_library(named, monkeypatch):
    found = [finding for finding in doctor.examine(named).findings if finding.section == "Models"]
    assert {finding.state for finding in found} == {"ready"}
    assert not any("open_clip" in finding.text for finding in found)
    assert any("clip.py:load" in finding.text for finding in found)


def test_the_doctor_finds_an_adapter_or_weights_that_are_missing(named, tmp_path):
    gone = load_profile(
        "smoke",
        classifier={"source": str(tmp_path / "gone")},
        adapters={"classification": f"{tmp_path / 'gone.py'}:load"},
    )
    missing = [finding.text for finding in doctor.examine(gone).findings if finding.state == "missing"]
    assert len(missing) == 2 and str(tmp_path / "gone") in missing[0] and "gone.py" in missing[1]


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (None, FileNotFoundError, "one.py"),
        ("", ValueError, "'load'"),
        ("load = 3", ValueError, "'load'"),
        ("import no_such_package", ValueError, "no_such_package"),
        ("def load(:", ValueError, "SyntaxError"),
    ],
)
def test_an_adapter_that_cannot_be_loaded_is_named(tmp_path, content, error, told):
    file = tmp_path / "one.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(error, match=told) as caught:
        find_adapter(f"{file}:load")
    assert str(file) in str(caught.value)


def test_an_adapter_of_another_task_is_refused(tmp_path):
    (tmp_path / "task.py").write_text(
        "from vwlib.models import load_detector\n\n\ndef load(profile):\n    return load_detector(profile)\n"
    )
    with pytest.raises(ValueError, match="'detection'"):
        load_model("classification", with_adapter(tmp_path / "task.py"))


def test_what_needs_a_detector_says_so_where_an_adapter_is_none(tmp_path):
    (tmp_path / "none.py").write_text(
        "class Other:\n    task = 'detection'\n\n\ndef load(profile):\n    return Other()\n"
    )
    with pytest.raises(ValueError, match=r"Other.*Detector"):
        load_detector(load_profile("smoke", adapters={"detection": f"{tmp_path / 'none.py'}:load"}))
    assert isinstance(load_detector(load_profile("smoke")), Detector)


@pytest.mark.parametrize(
    "adapters", [{"clasification": "a.py:load"}, {"classification": "a.py"}, {"classification": "a:load"}]
)
def test_a_setting_that_names_no_adapter_is_refused(adapters):
    with pytest.raises(ValueError, match="adapters"):
        load_profile("smoke", adapters=adapters)


def test_an_adapter_that_says_a_wrong_place_of_its_blocks_is_told(named, monkeypatch):
    model = load_model("classification", named)
    monkeypatch.setattr(type(model), "blocks", "model.transformer.resblocks")
    with pytest.raises(ValueError, match=r"TransformersClassifier\.blocks"):
        _ = model.text_blocks


@pytest.mark.notebook
@pytest.mark.parametrize("chapter", ["01_models_and_words", "06_the_final_layers"])
def test_the_chapters_run_with_the_adapter(named, tmp_path, chapter, monkeypatch):
    # A cache of its own: the study that is computed on demand there is of another model than the other tests'.
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "datasets").symlink_to(ensure_world().parent)
    monkeypatch.setenv("VWLIB_CACHE", str(tmp_path / "cache"))
    task = {} if chapter.startswith("01") else {"task": "classification"}
    notebook = book.execute(ROOT / "book" / f"{chapter}.ipynb", tmp_path / "out.ipynb", {"profile": "smoke", **task})
    assert book.find_problems(notebook) == []
    assert "clip.py:load" in str(notebook.cells) and ("CLIPModel" in str(notebook.cells) or task)
