"""Own photos: from a folder to words in a file, by the study's functions; whatever is wrong is one sentence and writes
nothing.
"""

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

from vwlib.book.pages.own import likeness, own_commands
from vwlib.book.pages.pictures import encode_trial
from vwlib.datasets.folders import read_photos, read_things
from vwlib.datasets.photos import describe_photos, with_photos
from vwlib.datasets.source import PHOTOS
from vwlib.examples import load_image
from vwlib.lab import run_grid
from vwlib.miniature.example import EXAMPLE, write_example
from vwlib.models import TASKS, load_detector, load_generator
from vwlib.settings import LARGEST_SEED, load_profile
from vwlib.study.read import words_of_grid
from vwlib.tools import own
from vwlib.tools.cli import app
from vwlib.trials import load_material
from vwlib.words import load_words, words_table

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
def grid(mine):
    """The words of the pictures, learned once."""
    return own.learn_own(mine, own.own_trial(mine, "bell", delta=0.5), progress=False)


def test_the_committed_example_is_drawn_again(tmp_path):
    for path in write_example(tmp_path / "guitar").iterdir():
        if path.suffix == ".png":
            assert np.array_equal(np.asarray(load_image(path)), np.asarray(load_image(EXAMPLE / path.name)))
        else:
            assert path.read_bytes() == (EXAMPLE / path.name).read_bytes()
    assert sum(path.stat().st_size for path in EXAMPLE.iterdir()) < 100_000
    assert all(len(example.boxes) == 1 for example in read_photos(EXAMPLE))


def test_a_radius_of_zero_is_none(mine):
    assert (
        own.own_trial(mine, "bell", delta=0.0) == own.own_trial(mine, "bell")
        and own.own_trial(mine, "bell").delta is None
    )
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="a radius is a number from 0 on"):
            own.own_trial(mine, "bell", delta=wrong)


def test_photos_are_split_named_and_boxed(mine, folder):
    material = load_material(mine, PHOTOS)
    assert list(material.names) == ["my guitar", "blue thing", "red thing"]
    assert [(e.path.name, e.label) for e in material.train] == [
        ("00.png", "my guitar"),
        ("01.png", "my guitar"),
        ("0.png", "blue thing"),
        ("0.png", "red thing"),
    ]
    assert [e.path.name for e in material.test] == ["02.png", "1.png", "1.png"]
    proposed = load_detector(mine).best_box(material.test[0], "my guitar")
    assert material.test[0].boxes.tolist() == [pytest.approx(proposed)] and material.test[0].names == ["my guitar"]
    assert not (folder / "my_guitar" / "boxes.json").exists()


def test_photos_say_where_their_boxes_are_from(mine):
    assert describe_photos(mine).startswith(
        "There are 3 pictures of the thing: 2 to learn from, and 1 held out for testing. 3 of them have no box"
    )
    assert describe_photos(with_photos(PROFILE, str(EXAMPLE))).endswith(
        "6 to learn from, and 2 held out for testing. All have boxes in boxes.json."
    )


def test_a_datasets_own_thing_of_that_name_is_left_out():
    material = load_material(with_photos(PROFILE, str(EXAMPLE), "vase", "dreambooth"), PHOTOS)
    assert len(material.names) == 10 and {e.path.parent.name for e in material.train if e.label == "vase"} == {"guitar"}


def test_words_are_those_of_the_study(mine, grid):
    again = run_grid(mine, grid.trials, ["classification"], ["classification"], progress=False)
    assert again.learned["classification"].vectors.equal(grid.learned["classification"].vectors)
    words = own.words_of(mine, grid)
    assert [(word.task, word.dataset, word.concept, word.anchor, word.delta, word.steps) for word in words] == [
        (task, "photos", "my guitar", "bell", 0.5, PROFILE.learning[task].steps) for task in TASKS
    ]


def test_five_texts_are_scored_on_three_tasks_and_looked_up_in_three_tables(mine, grid):
    scores, neighbours = own.score_table(grid), own.neighbour_table(mine, grid)
    assert scores.index.tolist() == list(TASKS) and scores.columns.tolist() == ["metric", "n", *own.TEXTS]
    assert scores["n"].tolist() == [2, 3, 1] and scores.notna().all(axis=None)
    assert len(neighbours) == 9 and all(len(row.split(", ")) == 4 for row in neighbours["nearest word of each vector"])
    homes = neighbours[neighbours["word table of"] == neighbours["learned for"]]
    assert (homes["median distance"] <= 0.5 + 1e-4).all()


def test_each_text_has_its_name(mine, grid):
    words = words_of_grid(grid, [0])[0]
    assert all(len(encode_trial(task, mine, words)) == len(own.TEXTS) for task in TASKS)


def test_pictures_are_most_like_themselves(mine):
    shown = [example.image() for example in load_material(mine, PHOTOS).train]
    table = likeness(mine, {"same": shown[:1], "red": shown[-1:]}, shown[:1])
    assert (
        table["cosine with the photos"].iloc[0] == pytest.approx(1, abs=1e-5)
        and table["cosine with the photos"].iloc[1] < 0.99
    )


def test_the_commands_of_the_page_are_understood(mine, grid):
    group = typer.main.get_command(app)
    lines = own_commands(mine, own.words_of(mine, grid), "data/example/guitar", "DreamBooth").splitlines()
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


def test_from_pictures_to_a_file_for_diffusers_in_three_commands(folder, tmp_path):
    file = tmp_path / "words.safetensors"
    learned = run(
        "learn",
        "--images",
        folder / "my_guitar",
        "--beside",
        folder / "others",
        "--anchor",
        "bell",
        "--task",
        "generation",
        "--out",
        file,
    )
    assert (
        learned.exit_code == 0 and "learned for generation" in learned.output and f"Written to {file}" in learned.output
    )
    listed = run("words", "--words", file, "--csv", "--delta", "free")
    word_id = listed.output.splitlines()[1].split(",")[0]
    assert word_id == load_words(file)[0].word_id
    exported = run("export", word_id[:6], "--words", file, "--to", tmp_path / "learned_embeds.safetensors")
    assert (
        exported.exit_code == 0
        and "<my-guitar> in a prompt" in exported.output
        and (tmp_path / "learned_embeds.safetensors").exists()
    )


WRONG = {
    "missing": (["--images", "none"], "none is missing; name one with some pictures of one thing."),
    "empty": (["--images", "empty"], "holds no picture"),
    "one picture": (["--images", "one"], "holds 1 image, but 2 are needed"),
    "several tokens": (["--anchor", "xylophonist"], "'xylophonist' is"),
    "long name": (["--name", "thing " * 90], "tokens long; the model reads"),
    "beside": (["--beside", "Coco2"], "'Coco2' is neither one of ImageNet, DreamBooth, COCO, PASCAL nor a folder"),
    "beside nothing": (["--beside", "empty"], "holds no folder of pictures for each thing"),
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
    monkeypatch.setattr("vwlib.lab.learn_words", lambda *_, **__: pytest.fail("learned"))
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
    result = run("learn", *(part for pair in (good | {option: value}).items() for part in pair))
    assert result.exit_code == 1 and sentence in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "one", "damaged.safetensors"}


@pytest.mark.parametrize(
    "options",
    [
        ["--seed", str(2**64 - 1)],
        ["--seed", str(2**63)],
        ["--seed", str(2**70)],
        ["--seed", "-1"],
        ["--delta", "-1"],
        ["--delta", "nan"],
    ],
)
def test_numbers_beyond_their_range_are_refused_with_their_option(options, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("vwlib.tools.own.learn_photos", lambda *_, **__: pytest.fail("learned"))
    result = run(
        "learn", "--images", folder / "my_guitar", "--anchor", "bell", "--out", tmp_path / "words.safetensors", *options
    )
    assert result.exit_code == 2 and options[0] in result.stderr and not list(tmp_path.iterdir())


def test_the_largest_seed_draws_pictures(mine):
    assert own.own_trial(mine, "bell", seed=LARGEST_SEED).seed == LARGEST_SEED == 2**63 - 1
    for seed in (-1, LARGEST_SEED + 1):
        with pytest.raises(ValueError, match="seed"):
            own.own_trial(mine, "bell", seed=seed)
    states = load_generator(mine).encode_prompts(["a photo of bell"])
    assert load_generator(mine).generate(states, 2, LARGEST_SEED)


def test_each_task_is_named_once(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("vwlib.lab.learn_words", lambda *_, **__: pytest.fail("learned"))
    twice = ["--task", "detection", "--task", "generation", "--task", "detection"]
    result = run(
        "learn", "--images", folder / "my_guitar", "--anchor", "bell", "--out", tmp_path / "words.safetensors", *twice
    )
    assert result.exit_code == 1 and "'detection' is named twice" in result.stderr and not list(tmp_path.iterdir())


@given(name=st.text(min_size=1, max_size=12), delta=st.none() | st.floats(), seed=st.integers())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_radius_and_seed_are_a_trial_or_one_sentence(name, delta, seed, mine):
    photos = mine.photos.model_copy(update={"name": name})
    try:
        trial = own.own_trial(mine.model_copy(update={"photos": photos}), "bell", delta, seed)
    except ValueError as error:
        assert "\n" not in str(error) and any(field in str(error) for field in ("--name", "delta", "seed"))
    else:
        assert (trial.concept, trial.delta, trial.seed) == (name, delta or None, seed)


def test_unknown_words_and_files_are_one_sentence(mine, grid, tmp_path):
    file = tmp_path / "words.safetensors"
    own.keep_words(own.words_of(mine, grid), file)
    for arguments, sentence in (
        (
            ["export", "zzz", "--words", file, "--to", tmp_path / "x.safetensors"],
            "There is no word with the id 'zzz' among 3; `vwlib words` lists them.",
        ),
        (["export", "", "--words", file, "--to", tmp_path / "x.safetensors"], "There is no word with the id ''"),
        (
            [
                "export",
                words_table(load_words(file))["word_id"][0],
                "--words",
                file,
                "--to",
                tmp_path / "x",
                "--form",
                "pickle",
            ],
            "'pickle' is no form of a word",
        ),
        (["words", "--words", file, "--anchor", "bel"], "No word has the anchor 'bel'; there are bell."),
        (["words", "--words", file, "--delta", "wide"], "'wide' is no delta"),
        (["words", "--words", tmp_path / "none.safetensors"], "none.safetensors is missing"),
        (["words", "--words", tmp_path], "is a folder"),
        (["words", "--words", file, "--store", tmp_path], "--store"),
        (["words", "--store", tmp_path], "There are no words of profile 'smoke' in"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1 and sentence in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["words.safetensors"]


def test_things_are_read_folder_by_folder(folder, tmp_path):
    assert [(e.label, e.path.name) for e in read_things(folder / "others", "test")] == [
        ("blue thing", "1.png"),
        ("red thing", "1.png"),
    ]
    shutil.copytree(folder / "others" / "red thing", tmp_path / "red thing")
    (tmp_path / "red thing" / "boxes.json").write_text(json.dumps({"0.png": [[1, 2, 30, 40]]}))
    assert read_things(tmp_path, "train")[0].boxes.tolist() == [[1, 2, 30, 40]]
