"""Own photos: from a folder to words in a file, by the study's functions; whatever is wrong is one sentence and writes
nothing.
"""

import copy
import json
import shlex
import shutil

import numpy as np
import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from vwlib.book.pages.pictures import encode_trial
from vwlib.book.text import fill
from vwlib.concepts import TASKS
from vwlib.datasets.example import EXAMPLE, write_example
from vwlib.datasets.folders import read_photos, read_things
from vwlib.datasets.photos import best_box, describe_photos, with_photos
from vwlib.datasets.pictures import load_image
from vwlib.datasets.source import PHOTOS
from vwlib.datasets.splits import load_split, open_lab
from vwlib.models import load_model
from vwlib.settings import LARGEST_SEED, load_profile
from vwlib.study.bank import words_table
from vwlib.study.read import words_of_grid
from vwlib.tools import own
from vwlib.tools.cli import app
from vwlib.tools.exports import EMBEDS, token_for
from vwlib.words import load_words

PROFILE = load_profile("smoke")


def picture(path, colour="teal", size=(60, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three pictures of the guitar without boxes, and two other things in folders of their own."""
    root = tmp_path_factory.mktemp("own")
    write_example(root / "my_guitar", count=3)
    (root / "my_guitar" / "boxes.json").unlink()
    for colour in ("red", "blue"):
        for number in range(2):
            picture(root / "others" / f"{colour} thing" / f"{number}.png", colour)
    return root


@pytest.fixture(scope="module")
def mine(folder):
    return with_photos(PROFILE, str(folder / "my_guitar"), beside=str(folder / "others"))


@pytest.fixture(scope="module")
def lab(mine):
    return open_lab(mine)


@pytest.fixture(scope="module")
def grid(lab):
    """The words of the pictures, learned once."""
    return lab.run_trials([own.own_trial(lab, "bell", delta=0.5)], progress=False)


def test_the_committed_example_is_drawn_again(tmp_path):
    for path in write_example(tmp_path / "guitar").iterdir():
        if path.suffix == ".png":
            assert np.array_equal(np.asarray(load_image(path)), np.asarray(load_image(EXAMPLE / path.name)))
        else:
            assert path.read_bytes() == (EXAMPLE / path.name).read_bytes()
    assert sum(path.stat().st_size for path in EXAMPLE.iterdir()) < 100_000
    assert all(len(example.boxes) == 1 for example in read_photos(EXAMPLE))


def test_a_radius_of_zero_is_none(lab):
    assert own.own_trial(lab, "bell", delta=0.0) == own.own_trial(lab, "bell")
    assert own.own_trial(lab, "bell").delta is None


def test_photos_are_split_named_and_boxed(mine, lab, folder):
    material = lab.split(PHOTOS)
    assert list(material.names) == ["my guitar", "blue thing", "red thing"]
    assert [(e.path.name, e.label) for e in material.train] == [
        ("00.png", "my guitar"),
        ("01.png", "my guitar"),
        ("0.png", "blue thing"),
        ("0.png", "red thing"),
    ]
    assert [e.path.name for e in material.test] == ["02.png", "1.png", "1.png"]
    proposed = best_box(load_model("detection", mine), material.test[0], "my guitar")
    assert material.test[0].boxes.tolist() == [pytest.approx(proposed)] and material.test[0].names == ["my guitar"]
    assert not (folder / "my_guitar" / "boxes.json").exists()


def test_photos_say_where_their_boxes_are_from(mine):
    assert "2 to learn from, and 1 held out for testing. 3 of them have no box" in describe_photos(mine)
    assert "6 to learn from, and 2 held out for testing. All" in describe_photos(with_photos(PROFILE, str(EXAMPLE)))


def test_a_datasets_own_thing_of_that_name_is_left_out():
    split = load_split(with_photos(PROFILE, str(EXAMPLE), "vase", "dreambooth"), PHOTOS)
    assert len(split.names) == 10
    assert {e.path.parent.name for e in split.train if e.label == "vase"} == {"guitar"}


def test_words_say_what_determined_them(mine, grid):
    words = own.words_of(mine, grid)
    assert [(word.task, word.dataset, word.concept, word.anchor, word.delta, word.steps) for word in words] == [
        (task, "photos", "my guitar", "bell", 0.5, PROFILE.learning[task].steps) for task in TASKS
    ]


def test_five_texts_are_scored_on_three_tasks_and_looked_up_in_three_tables(lab, grid):
    scores, neighbours = own.score_table(grid), own.neighbour_table(lab, grid)
    assert scores.index.tolist() == list(TASKS) and scores.columns.tolist() == ["metric", "n", *own.TEXTS]
    assert scores["n"].tolist() == [2, 3, 1] and scores.notna().all(axis=None)
    assert len(neighbours) == 9 and all(len(row.split(", ")) == 4 for row in neighbours["nearest word of each vector"])
    homes = neighbours[neighbours["word table of"] == neighbours["learned for"]]
    assert (homes["median distance"] <= 0.5 + 1e-4).all()


def test_each_text_has_its_name(lab, grid):
    words = words_of_grid(grid, [0])[0]
    assert all(len(encode_trial(lab, task, words)) == len(own.TEXTS) for task in TASKS)


def test_the_commands_of_the_page_are_understood(mine, grid):
    group = typer.main.get_command(app)
    word = own.words_of(mine, grid)[0]
    values = {"photos": "data/example/guitar", "beside": "DreamBooth", "token": token_for(word), "embeds": EMBEDS}
    lines = fill("09_commands", profile=mine, word=word, **values).replace("\\\n", "").splitlines()
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("vwlib ")]
    with group.make_context("vwlib", commands[0], resilient_parsing=True) as context:
        for words in commands:
            name, chosen, rest = group.resolve_command(context, words)
            assert chosen.make_context(name, rest).params
    assert [words[0] for words in commands] == ["learn", "words", "export", "export", "export"]


def test_a_file_keeps_what_it_has_and_each_word_once(mine, grid, tmp_path):
    words = own.words_of(mine, grid)
    own.keep_words(words[:2], tmp_path / "words.safetensors")
    own.keep_words(words[1:], tmp_path / "words.safetensors")
    assert sorted(word.word_id for word in load_words(tmp_path / "words.safetensors")) == sorted(
        word.word_id for word in words
    )


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments), "--profile", "smoke"])


def learn(folder, out, *options):
    """The command that learns a word of the guitar."""
    images = ("--images", folder / "my_guitar", "--beside", folder / "others", "--anchor", "bell", "--out", out)
    return run("learn", *images, *options)


def test_from_pictures_to_a_file_for_diffusers_in_three_commands(folder, tmp_path):
    file, embeds = tmp_path / "words.safetensors", tmp_path / "learned_embeds.safetensors"
    learned = learn(folder, file, "--task", "generation")
    assert learned.exit_code == 0 and f"Written to {file}" in learned.output
    listed = run("words", "--words", file, "--csv", "--delta", "free")
    word_id = listed.output.splitlines()[1].split(",")[0]
    assert word_id == load_words(file)[0].word_id
    exported = run("export", word_id[:6], "--words", file, "--to", embeds)
    assert exported.exit_code == 0 and "<my-guitar>" in exported.output and embeds.exists()


WRONG = {
    "missing": (["--images", "none"], "none is missing; name one with some pictures of one thing."),
    "empty": (["--images", "empty"], "holds no picture"),
    "one picture": (["--images", "one"], "holds 1 image, but 2 are needed"),
    "several tokens": (["--anchor", "xylophonist"], "'xylophonist' is"),
    "long name": (["--name", "thing " * 90], "tokens long; the model reads"),
    "beside": (["--beside", "Coco2"], "'Coco2' is neither one of ImageNet, DreamBooth, COCO, PASCAL nor a folder"),
    "beside nothing": (["--beside", "empty"], "holds no folder of pictures for each thing"),
    "task twice": (["--task", "detection"], "'detection' is named twice"),
    "task": (["--task", "drawing"], "'drawing' is no task; choose from"),
    "damaged": (["--out", "damaged.safetensors"], "damaged.safetensors is damaged or holds no learned words"),
    "a folder": (["--out", "empty"], "empty"),
    "a device": (["--out", "/dev/null"], "/dev/null"),
    "cannot be written": (["--out", "/proc/x.safetensors"], "/proc"),
    "below a file": (["--out", "damaged.safetensors/x.safetensors"], "damaged.safetensors"),
    "in other letters": (["--name", "мой любимый кот на окне"], "--name"),
    "two lines": (["--name", "a\nb"], "--name"),
    "braces": (["--name", "a {} b"], "--name"),
    "infinite radius": (["--delta", "inf"], "inf"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_one_sentence_before_anything_is_learned(wrong, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vwlib.lab.learn_trials", lambda *_, **__: pytest.fail("learned"))
    (tmp_path / "empty").mkdir()
    picture(tmp_path / "one" / "a.png")
    (tmp_path / "damaged.safetensors").write_text("no words")
    good = {
        "--images": str(folder / "my_guitar"),
        "--anchor": "bell",
        "--beside": str(folder / "others"),
        "--out": "words.safetensors",
    }
    (option, value), sentence = WRONG[wrong]
    options = [part for pair in (good | {option: value}).items() for part in pair]
    result = run("learn", *options, *([option, value] if wrong == "task twice" else []))
    assert result.exit_code == 1 and sentence in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "one", "damaged.safetensors"}


@pytest.mark.parametrize(("option", "value"), [("--seed", str(2**63)), ("--seed", "-1"), ("--delta", "-1")])
def test_numbers_beyond_their_range_are_refused_with_their_option(option, value, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("vwlib.tools.own.learn_photos", lambda *_, **__: pytest.fail("learned"))
    result = learn(folder, tmp_path / "words.safetensors", option, value)
    assert result.exit_code == 2 and option in result.stderr and not list(tmp_path.iterdir())


def test_the_largest_seed_draws_pictures(lab):
    assert own.own_trial(lab, "bell", seed=LARGEST_SEED).seed == LARGEST_SEED == 2**63 - 1
    assert lab.generator.generate(lab.generator.encode_prompts(["a photo of bell"]), 2, LARGEST_SEED)


@given(name=st.text(min_size=1, max_size=12), delta=st.none() | st.floats(), seed=st.integers())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_radius_and_seed_are_a_trial_or_one_sentence(name, delta, seed, lab):
    other = copy.copy(lab)
    other.profile = lab.profile.model_copy(update={"photos": lab.profile.photos.model_copy(update={"name": name})})
    try:
        trial = own.own_trial(other, "bell", delta, seed)
    except ValueError as error:
        assert "\n" not in str(error) and any(field in str(error) for field in ("--name", "delta", "seed"))
    else:
        assert (trial.concept, trial.delta, trial.seed) == (name, delta or None, seed)


def test_unknown_words_and_files_are_one_sentence(mine, grid, tmp_path):
    file = tmp_path / "words.safetensors"
    own.keep_words(own.words_of(mine, grid), file)
    word_id = words_table(load_words(file))["word_id"][0]
    to = ("--words", file, "--to", tmp_path / "x.safetensors")
    for arguments, named in (
        (["export", "zzz", *to], "'zzz'"),
        (["export", "", *to], "''"),
        (["export", word_id, *to, "--form", "pickle"], "'pickle'"),
        (["words", "--words", file, "--anchor", "bel"], "'bel'"),
        (["words", "--words", file, "--delta", "wide"], "'wide'"),
        (["words", "--words", tmp_path / "none.safetensors"], "none.safetensors"),
        (["words", "--words", tmp_path], str(tmp_path)),
        (["words", "--words", file, "--store", tmp_path], "--store"),
        (["words", "--store", tmp_path], "'smoke'"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1 and named in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["words.safetensors"]


def test_things_are_read_folder_by_folder(folder, tmp_path):
    assert [(e.label, e.path.name) for e in read_things(folder / "others", "test")] == [
        ("blue thing", "1.png"),
        ("red thing", "1.png"),
    ]
    shutil.copytree(folder / "others" / "red thing", tmp_path / "red thing")
    (tmp_path / "red thing" / "boxes.json").write_text(json.dumps({"0.png": [[1, 2, 30, 40]]}))
    assert read_things(tmp_path, "train")[0].boxes.tolist() == [[1, 2, 30, 40]]
