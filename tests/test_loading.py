"""Missing, truncated and misfitting weights are named in one sentence."""

import json
import shutil
from pathlib import Path

import pytest

from vwlib.models import load_model
from vwlib.models.loading import resolve
from vwlib.profiles import load_profile

PROFILE = load_profile("smoke")
FILES = {
    "classification": ("classifier", "open_clip_model.safetensors"),
    "detection": ("detector", "model.safetensors"),
    "generation": ("generator", "unet/diffusion_pytorch_model.safetensors"),
}


def copied(task: str, folder: Path):
    name, file = FILES[task]
    shutil.copytree(resolve(getattr(PROFILE, name).source), folder / name)
    settings = getattr(PROFILE, name).model_dump() | {"source": str(folder / name)}
    return load_profile("smoke", **{name: settings}), folder / name / file


@pytest.mark.parametrize("task", FILES)
def test_missing_weights_are_named(task, tmp_path):
    profile, file = copied(task, tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=f"{file.name} is missing"):
        load_model(task, profile)


@pytest.mark.parametrize("task", FILES)
def test_a_missing_folder_is_named(task, tmp_path):
    profile, _ = copied(task, tmp_path)
    shutil.rmtree(tmp_path / FILES[task][0])
    with pytest.raises(FileNotFoundError, match=f"{FILES[task][0]} is missing"):
        load_model(task, profile)


@pytest.mark.parametrize("task", FILES)
def test_truncated_weights_are_named(task, tmp_path):
    profile, file = copied(task, tmp_path)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"The weights in .*{FILES[task][0]}"):
        load_model(task, profile)


@pytest.mark.parametrize(
    "task,change", [("classification", ("embed_dim", 64)), ("detection", ("projection_dim", 32)), ("generation", ("cross_attention_dim", 50))]
)
def test_weights_of_another_shape_are_named(task, change, tmp_path):
    profile, file = copied(task, tmp_path)
    config = {"classification": file.parent / "open_clip_config.json", "detection": file.parent / "config.json", "generation": file.parent / "config.json"}[
        task
    ]
    value = json.loads(config.read_text())
    (value["model_cfg"] if task == "classification" else value)[change[0]] = change[1]
    config.write_text(json.dumps(value))
    with pytest.raises(ValueError, match=f"The weights in .*{FILES[task][0]}"):
        load_model(task, profile)


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="'segmentation' is no task; choose from generation, detection, classification"):
        load_model("segmentation", PROFILE)
