"""How to get weights: what the doctor says about a file that is missing, and the conversion of pickles."""

import json

import pytest
import torch
from safetensors.torch import load_file
from test_loading import PROFILE, SMALL, copied, small_unet
from typer.testing import CliRunner

from vwlib.models import load_model
from vwlib.models.loading import DIFFUSERS, find_weights, load_whole, variant_of
from vwlib.settings import ModelSettings
from vwlib.tools import doctor
from vwlib.tools.cli import app
from vwlib.tools.weights import PICKLES, convert_folder, remedy


def advice(settings, *files):
    (finding,) = doctor.model("detection", settings, files)
    assert finding.state == "missing" and "\n" not in finding.text
    return finding.text


def test_a_missing_model_of_the_hub_says_what_to_fetch(tmp_path):
    settings = ModelSettings(
        source=str(tmp_path / "owl"),
        hub="google/owl",
        revision="v1",
        fetch=("*.json", "model.safetensors"),
        gigabytes=0.6,
    )
    command = f"`hf download google/owl --revision v1 --local-dir {tmp_path}/owl --include '*.json' --include "
    assert command in advice(settings, "config.json") and "0.6 GB" in remedy(settings)


def test_pickled_weights_are_not_loaded_but_can_be_converted(tmp_path):
    profile, file = copied("classification", tmp_path)
    weights = load_file(file)
    file.unlink()
    torch.save({"state_dict": weights}, file.parent / "open_clip_pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=file.name):
        load_model("classification", profile)
    assert "`vwlib convert" in advice(profile.classifier, file.name)
    assert convert_folder(file.parent) == [file]
    assert {key: value.tolist() for key, value in load_file(file).items()} == {
        key: value.tolist() for key, value in weights.items()
    }


class Trap:
    def __reduce__(self):
        return (print, ("code from a pickle was run",))


def test_a_pickle_that_runs_code_is_refused(tmp_path, capsys):
    torch.save({"weight": Trap()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin"):
        convert_folder(tmp_path)
    assert capsys.readouterr().out == "" and not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("library", SMALL)
@pytest.mark.parametrize("form", [{}, {"variant": "fp16"}])
def test_pickles_of_each_library_are_converted(library, form, tmp_path):
    make, name = SMALL[library]
    pickle = PICKLES[name].replace(".bin", ".fp16.bin" if form else ".bin")
    (tmp_path / "part").mkdir()
    make().save_pretrained(tmp_path / "part")
    torch.save(load_file(tmp_path / "part" / name), tmp_path / "part" / pickle)
    (tmp_path / "part" / name).unlink()
    assert f"`vwlib convert {tmp_path}` writes it from {pickle}" in advice(
        ModelSettings(source=str(tmp_path)), f"part/{name}"
    )
    (written,) = convert_folder(tmp_path)
    assert load_whole(type(make()), tmp_path / "part") is not None
    assert find_weights(tmp_path / "part" / name) == [written]
    assert variant_of(tmp_path / "part" / name) == form.get("variant")
    assert convert_folder(tmp_path) == []
    assert {path.name for path in (tmp_path / "part").iterdir()} == {"config.json", pickle, written.name}


def test_shards_of_pickles_are_converted_to_one_file(tmp_path):
    weights = small_unet().state_dict()
    index = {"weight_map": {key: f"diffusion_pytorch_model-0000{number % 2}.bin" for number, key in enumerate(weights)}}
    for shard in set(index["weight_map"].values()):
        torch.save(
            {key: value for key, value in weights.items() if index["weight_map"][key] == shard}, tmp_path / shard
        )
    (tmp_path / "diffusion_pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert load_file(*convert_folder(tmp_path)).keys() == weights.keys()
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    (tmp_path / "diffusion_pytorch_model-00001.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"00001\.bin"):
        convert_folder(tmp_path)


@pytest.mark.parametrize("held", [[1, 2], {"a": 1}, {"a": "b"}, {1: torch.zeros(1)}, torch.zeros(1), {"state_dict": 3}])
def test_a_pickle_of_something_else_is_named_and_leaves_nothing(held, tmp_path):
    torch.save(held, tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(ValueError, match=r"diffusion_pytorch_model\.bin"):
        convert_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["diffusion_pytorch_model.bin"]


def test_a_damaged_file_beside_its_pickle_is_first_removed(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    assert "remove it, then `vwlib convert" in advice(ModelSettings(source=str(tmp_path)), "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    assert [path.name for path in convert_folder(tmp_path)] == ["model.safetensors"]


def test_safetensors_that_are_there_are_not_converted_over(tmp_path):
    small_unet().save_pretrained(tmp_path)
    before = (tmp_path / "diffusion_pytorch_model.safetensors").read_bytes()
    torch.save({"a": torch.zeros(1)}, tmp_path / "diffusion_pytorch_model.bin")
    told = CliRunner().invoke(app, ["convert", str(tmp_path)])
    assert told.exit_code == 0 and "already" in told.output
    (tmp_path / "empty").mkdir()
    for nothing in ("empty", "config.json", "nowhere"):
        assert CliRunner().invoke(app, ["convert", str(tmp_path / nothing)]).exit_code == 1
    assert (tmp_path / "diffusion_pytorch_model.safetensors").read_bytes() == before


OWN = {
    "a file": (lambda path: path.write_bytes(b""), "from_single_file"),
    "a checkpoint in a folder": (lambda path: (path.mkdir(), (path / "sd.ckpt").write_bytes(b"")), "from_single_file"),
    "another folder": (lambda path: (path.mkdir(), (path / "notes.txt").write_text("")), "notes.txt"),
    "an empty folder": (lambda path: path.mkdir(), "nothing"),
    "nothing": (lambda path: None, "is not there"),
}


@pytest.mark.parametrize("what", OWN)
def test_a_folder_of_ones_own_is_told_what_it_holds(what, tmp_path):
    make, named = OWN[what]
    make(tmp_path / "own.safetensors")
    text = advice(ModelSettings(source=str(tmp_path / "own.safetensors")), *DIFFUSERS)
    assert named in text and "make pretrain" not in text and "own.safetensors" in text


def test_only_the_projects_own_models_are_trained_again():
    assert "make pretrain" in remedy(PROFILE.detector) and "make pretrain" in remedy(PROFILE.detector, "config.json")
