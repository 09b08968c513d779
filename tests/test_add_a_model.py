"""The page that adds a model: its code runs as it stands there, and its adapter works in chapters and commands."""

import re
import tempfile

import pytest
import torch
import torch.nn.functional as F

from vwlib.book import execute as book
from vwlib.book.pages.models import describe_models, describe_run
from vwlib.learn import radii
from vwlib.miniature.world import ensure_world
from vwlib.models import find_adapter, load_model
from vwlib.models.classification import Classifier
from vwlib.paths import ROOT
from vwlib.settings import load_profile
from vwlib.tools import doctor

PAGE = (ROOT / "book" / "add_a_model.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
(ADAPTER,) = (block for block in BLOCKS if "class TransformersClassifier" in block)
(SETTINGS,) = re.findall(r"^```toml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
#: The generator matters little here, and is slow where a processor has no instructions for half precision.
QUICK = """
[smoke.generator]
precision = "float32"
images_per_word = 1
inference_steps = 1
[smoke.learning.generation]
steps = 2
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the page's code has defined once it has run, block after block."""
    names: dict = {"__name__": "add_a_model"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("page")))
        for number, block in enumerate(BLOCKS):
            exec(compile(block, f"add_a_model.md, block {number + 1}", "exec"), names)
        yield names


@pytest.fixture
def model(page):
    return page["lab"].model("classification")


def test_other_weights_take_the_classifiers_place(page):
    other, judge = load_model("classification", page["other"]), Classifier.open(page["other"].judge)
    assert torch.equal(other.word_table(), judge.word_table())


@torch.no_grad()
def test_the_adapters_features_are_those_of_transformers(page, model):
    pictures, texts = [e.image() for e in page["lab"].split("COCO").test[:2]], ["a photo of a cat", "dog"]
    ids, pixels = model.vocabulary.prompts(texts), model.processor(images=pictures, return_tensors="pt").pixel_values
    theirs = model.model(input_ids=ids, pixel_values=pixels)
    torch.testing.assert_close(model.encode_prompts(texts), theirs.text_embeds)
    torch.testing.assert_close(model.encode_images(pictures), theirs.image_embeds)
    torch.testing.assert_close(model.encode_prompts(texts), F.normalize(model.encode_prompts(texts), dim=-1))


@torch.no_grad()
def test_a_spliced_word_is_the_word_as_it_is_typed(model):
    assert torch.equal(model.encode_words(model.embeddings_of(["cat"])), model.encode_prompts(["a photo of cat"]))


def test_the_pages_word_is_learned_within_its_ball_and_transferred(page, model):
    learned = page["grid"].learned["classification"]
    moved = (learned.vectors - model.embeddings_of(["cat"])).norm(dim=-1)
    assert moved.min() > 0 and moved.max() <= radii(model, page["trials"]) + 1e-5
    assert learned.losses[-1] < learned.losses[0]
    found = set(page["grid"].table[["trained_on", "evaluated_on"]].itertuples(index=False, name=None))
    sources, targets = ("anchor", "name", "classification"), ("classification", "detection")
    assert found == {(source, target) for source in sources for target in targets}


# --- in the chapters and commands


@pytest.fixture
def named(page, tmp_path, monkeypatch):
    """The page's two files, of which the environment names the second."""
    (tmp_path / "clip.py").write_text(ADAPTER)
    text = SETTINGS.replace("adapters/clip.py", str(tmp_path / "clip.py")).replace("models/my-clip", page["folder"])
    assert text.count(str(tmp_path)) == 1 and text.count(page["folder"]) == 1
    (tmp_path / "settings.toml").write_text(text + QUICK)
    monkeypatch.setenv("VWLIB_SETTINGS", str(tmp_path / "settings.toml"))
    monkeypatch.setenv("VWLIB_PROFILE", "smoke")
    return load_profile("smoke")


def with_adapter(file, task="classification", name="Other"):
    return load_profile("smoke", adapters={task: f"{file}:{name}"})


def test_the_profile_names_the_adapter(named, lab):
    model = load_model("classification", named)
    assert type(model).__name__ == "TransformersClassifier"
    assert find_adapter("detection", named).__name__ == "Detector"
    described = describe_models(lab.models | {"classification": model}).loc["classification"]
    assert described["class here"] == "CLIPModel"
    parameters = sum(p.numel() for p in model.model.parameters())
    assert float(described["parameters here (M)"]) == pytest.approx(parameters / 1e6, abs=0.05)
    assert (described["d here"], described["text blocks here"], described["image here (px)"]) == (64, 2, 64)
    notice = describe_run(named)
    assert "clip.py:TransformersClassifier" in notice and "trained by this project" not in notice


def test_the_doctor_asks_the_adapter_for_its_files(named, page):
    found = doctor.examine(named).sections["Models"]
    assert {finding.state for finding in found} == {"ready"}
    assert doctor.files_of("classification", named) == find_adapter("classification", named).files
    (gone,) = doctor.model("classification", named.classifier, ["model.safetensors", "nothing.json"])
    assert gone.state == "missing" and "nothing.json" in gone.text


def test_the_doctor_finds_an_adapter_or_weights_that_are_missing(tmp_path):
    gone = with_adapter(tmp_path / "gone.py").model_copy(update={"classifier": {"source": str(tmp_path / "gone")}})
    gone = load_profile("smoke", classifier={"source": str(tmp_path / "gone")}, adapters=gone.adapters)
    folder, file = (finding.text for finding in doctor.examine(gone).missing)
    assert str(tmp_path / "gone") in folder and "gone.py" in file


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (None, FileNotFoundError, "one.py"),
        ("", ValueError, "'Other'"),
        ("class Other:\n    task = 'classification'", ValueError, "TaskModel"),
        ("from vwlib.models.detection import Detector as Other", ValueError, "'classification'"),
        ("import no_such_package", ValueError, "no_such_package"),
        ("class Other(:", ValueError, "SyntaxError"),
    ],
)
def test_an_adapter_that_cannot_be_loaded_is_named(tmp_path, content, error, told):
    file = tmp_path / "one.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(error, match=told) as caught:
        load_model("classification", with_adapter(file))
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    "adapters", [{"clasification": "a.py:A"}, {"classification": "a.py"}, {"classification": "a:A"}]
)
def test_a_setting_that_names_no_adapter_is_refused(adapters):
    with pytest.raises(ValueError, match="adapters"):
        load_profile("smoke", adapters=adapters)


def glued(notebook, name):
    """The text of a value that a notebook glued."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    (value,) = (o.data for o in outputs if o.get("metadata", {}).get("scrapbook", {}).get("name") == name)
    return value["application/papermill.record/text/plain"]


def layers_of_first_table(notebook):
    """The columns "layer 0", "layer 1", ... of the first table that a notebook shows."""
    shown = [o.get("data", {}).get("text/html", "") for cell in notebook.cells for o in cell.get("outputs", ())]
    return len(re.findall(r"layer \d", next(html for html in shown if "<table" in html)))


@pytest.mark.notebook
@pytest.mark.parametrize(
    ("chapter", "parameters", "number", "value"),
    [
        ("01_models_and_words", {}, lambda notebook: int(glued(notebook, "shared")), 412),
        ("06_the_final_layers", {"task": "classification"}, layers_of_first_table, 3),  # two blocks
    ],
)
def test_the_chapters_run_with_the_adapter(named, tmp_path, chapter, parameters, number, value, monkeypatch):
    # A cache of its own: the study that is computed on demand there is of another model than the other tests'.
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "datasets").symlink_to(ensure_world().parent)
    monkeypatch.setenv("VWLIB_CACHE", str(tmp_path / "cache"))
    source, target = ROOT / "book" / f"{chapter}.ipynb", tmp_path / "out.ipynb"
    notebook = book.execute(source, target, {"profile": "smoke", **parameters})
    assert book.find_problems(notebook) == []
    assert "TransformersClassifier" in str(notebook.cells)
    assert number(notebook) == value
