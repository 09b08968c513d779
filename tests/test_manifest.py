"""The manifest tells which image differs."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from vwlib.concepts import concepts_of
from vwlib.settings import load_profile
from vwlib.study.digest import hash_file
from vwlib.study.manifest import Manifest, differences, make_manifest
from vwlib.tools.cli import app


@pytest.fixture
def profile(tmp_path):
    """The paper's DreamBooth subjects, five small pictures each."""
    boxes = {}
    for number, concept in enumerate(concepts_of("DreamBooth")):
        for index in range(5):
            path = tmp_path / "data" / "dataset" / concept.label / f"{index:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 30), (number, index, 0)).save(path)
            boxes[path.relative_to(tmp_path / "data").as_posix()] = [[1, 2, 30, 20]]
    (tmp_path / "data" / "boxes.json").write_text(json.dumps(boxes))
    return load_profile("paper", data={"DreamBooth": str(tmp_path / "data")})


def test_the_same_images_give_the_same_manifest(profile, tmp_path):
    first = make_manifest(profile, ("DreamBooth",))
    first.save(tmp_path / "manifest.json")
    assert Manifest.load(tmp_path / "manifest.json") == first == make_manifest(profile, ("DreamBooth",))
    assert differences(first, profile) == []
    vase = first.datasets["DreamBooth"]["vase"]
    assert sorted(vase["train"]) == [f"dataset/vase/{index:02d}.png" for index in range(4)] and list(vase["test"]) == [
        "dataset/vase/04.png"
    ]
    assert vase["test"]["dataset/vase/04.png"].file == hash_file(tmp_path / "data" / "dataset" / "vase" / "04.png")


def test_another_file_other_boxes_and_a_missing_image_are_told(profile, tmp_path):
    manifest = make_manifest(profile, ("DreamBooth",))
    folder = tmp_path / "data" / "dataset"
    Image.new("RGB", (40, 30), "red").save(folder / "clock" / "01.png")
    boxes = json.loads((tmp_path / "data" / "boxes.json").read_text())
    boxes["dataset/candle/00.png"] = [[5, 5, 9, 9]]
    del boxes["dataset/vase/04.png"]
    (tmp_path / "data" / "boxes.json").write_text(json.dumps(boxes))
    (folder / "vase" / "04.png").unlink()
    found = differences(manifest, profile)
    assert len(found) == 5
    assert any(
        line.startswith("DreamBooth, clock, train: dataset/clock/01.png is another file here (SHA-256 ")
        for line in found
    )
    assert "DreamBooth, candle, train: dataset/candle/00.png has other boxes here." in found
    assert "DreamBooth, vase, test: dataset/vase/04.png is missing here, though the manifest lists it." in found
    assert "DreamBooth, vase, train: dataset/vase/03.png is not chosen here, though the manifest lists it." in found
    assert "DreamBooth, vase, test: dataset/vase/03.png is chosen here, though the manifest does not list it." in found


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"profile": "paper"}',
        '{"profile": "paper", "datasets": {"COCO": {"cat": {"train": {"a.jpg": {"file": "x"}}}}}}',
    ],
)
def test_a_malformed_manifest_is_named(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=r"manifest\.json is no manifest: ") as caught:
        Manifest.load(tmp_path / "manifest.json")
    assert "\n" not in str(caught.value)


def test_a_missing_manifest_and_one_of_another_profile_are_named(profile, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"nowhere\.json is missing; `vwlib manifest .*nowhere\.json` writes one"
    ):
        Manifest.load(tmp_path / "nowhere.json")
    with pytest.raises(ValueError, match="is of the profile 'paper', not of 'smoke'"):
        differences(make_manifest(profile, ("DreamBooth",)), load_profile("smoke"))


def test_the_command_writes_and_checks(profile, tmp_path, monkeypatch):
    monkeypatch.setattr("vwlib.tools.cli.load_profile", lambda name: profile)
    only = ("DreamBooth",)
    monkeypatch.setattr("vwlib.study.manifest.make_manifest", lambda settings, *_: make_manifest(settings, only))
    file = str(tmp_path / "out" / "manifest.json")
    assert CliRunner().invoke(app, ["manifest", file]).exit_code == 0
    assert CliRunner().invoke(app, ["manifest", file, "--check"]).exit_code == 0
    Image.new("RGB", (40, 30), "red").save(tmp_path / "data" / "dataset" / "clock" / "01.png")
    told = CliRunner().invoke(app, ["manifest", file, "--check"])
    assert told.exit_code == 1 and "dataset/clock/01.png is another file here" in told.output


def test_only_an_earlier_manifest_is_replaced_and_that_when_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "vwlib.study.manifest.make_manifest", lambda settings: Manifest(profile=settings.name, datasets={})
    )
    file, annotations = tmp_path / "manifest.json", tmp_path / "instances.json"
    annotations.write_text('{"images": []}')
    for arguments, code in (
        ([file], 0),
        ([file], 1),
        ([file, "--overwrite"], 0),
        ([annotations, "--overwrite"], 1),
        ([tmp_path], 1),
    ):
        result = CliRunner().invoke(app, ["manifest", *map(str, arguments)])
        assert result.exit_code == code and (
            code == 0 or (str(arguments[0]) in result.stderr and len(result.stderr.splitlines()) == 1)
        )
    assert annotations.read_text() == '{"images": []}'
    assert "--overwrite" in CliRunner().invoke(app, ["manifest", str(file), "--check", "--overwrite"]).stderr
