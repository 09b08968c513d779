"""From a training's checkpoint to the folder that users load, in the library's own layout and half precision."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from transformers import CLIPTokenizer, Owlv2ImageProcessor

from vwlib.miniature import architectures
from vwlib.miniature.captions import caption, describe, name_prompt, names_of
from vwlib.miniature.generation import latent_scale
from vwlib.miniature.pretrain import STEPS, latents_of, steps_of, trained, trained_text_encoder
from vwlib.miniature.scenes import LAYOUTS, random_scene
from vwlib.miniature.sprites import Sprites, load_sprites
from vwlib.miniature.tokenizer import MERGES
from vwlib.miniature.training import Weights, save_tensors
from vwlib.settings import MODELS


def half(weights: Weights) -> Weights:
    """Floating-point weights as float16. Raises ValueError where one does not fit into its range."""
    for name, value in weights.items():
        if value.is_floating_point() and value.abs().max() > torch.finfo(torch.float16).max:
            raise ValueError(f"The weight '{name}' is too large for half precision.")
    return {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}


Texts = Callable[[np.random.Generator, Sprites, dict[str, tuple[str, ...]]], Iterable[str]]


def words_met(texts: Texts, rounds: int = 300) -> list[str]:
    """The words that a training's texts are made of, found by drawing many of them."""
    sprites = load_sprites()
    names = names_of(sprites)
    drawn = (text for number in range(rounds) for text in texts(np.random.default_rng((2, number)), sprites, names))
    return sorted({word for text in drawn for word in text.split()})


def caption_texts(rng: np.random.Generator, sprites: Sprites, names: dict[str, tuple[str, ...]]) -> Iterable[str]:
    """Texts as the contrastive trainings and the denoiser see them."""
    yield from (name_prompt(rng, noun, names) for noun in sprites.nouns)
    for _ in range(20):
        yield caption(rng, random_scene(rng, sprites, LAYOUTS["Few"], 32), names, 32)


def phrase_texts(rng: np.random.Generator, sprites: Sprites, names: dict[str, tuple[str, ...]]) -> Iterable[str]:
    """Texts as the detector's training sees them: names and phrases for single objects."""
    yield from (name_prompt(rng, noun, names) for noun in sprites.nouns)
    for _ in range(20):
        yield describe(rng, random_scene(rng, sprites, LAYOUTS["One"], 32).objects[0], names, rich=0.8)


def hub_tokenizer() -> CLIPTokenizer:
    """The miniature's tokenizer as transformers' class, with the same ids as open_clip's."""
    source = architectures.open_clip_tokenizer()
    start, end = "<|startoftext|>", "<|endoftext|>"
    entries = {key: index for key, index in source.encoder.items() if index < source.sot_token_id}
    entries |= {start: source.sot_token_id, end: source.eot_token_id}
    special = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": "!"}
    merges = list(source.bpe_ranks)
    return CLIPTokenizer(vocab=entries, merges=merges, **special, model_max_length=architectures.CONTEXT)


def export_open_clip(name: str, weights: Weights, folder: Path) -> None:
    """The classifier or the judge, in open_clip's layout."""
    save_tensors(half(weights), folder / "open_clip_model.safetensors")
    preprocess = {"size": [architectures.IMAGE_SIZE] * 2, "mean": [0.5] * 3, "std": [0.5] * 3}
    preprocess |= {"interpolation": "bicubic", "resize_mode": "shortest"}
    config = {"model_cfg": architectures.open_clip_config(name), "preprocess_cfg": preprocess}
    _write_json(folder / "open_clip_config.json", config)
    shutil.copy(MERGES, folder / "bpe.txt.gz")
    _write_json(folder / "words.json", words_met(caption_texts))


def export_detector(weights: Weights, folder: Path) -> None:
    """The detector, in transformers' layout."""
    model = architectures.build_detector(0)
    model.load_state_dict(half(weights))
    model.half().save_pretrained(folder)
    side = architectures.DETECTION_SIZE
    Owlv2ImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)
    hub_tokenizer().save_pretrained(folder)
    _write_json(folder / "words.json", words_met(phrase_texts))


def export_generator(
    text_weights: Weights, vae_weights: Weights, unet_weights: Weights, scale: float, folder: Path
) -> None:
    """The generator, in diffusers' layout; `scale` brings the autoencoder's latents to a deviation of 1."""
    text, vae = architectures.build_text_encoder(0), architectures.build_autoencoder(0)
    unet = architectures.build_unet(0)
    vae.register_to_config(scaling_factor=scale)
    for part, weights in ((text, text_weights), (vae, vae_weights), (unet, unet_weights)):
        part.load_state_dict(half(weights))
    pipeline = StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=text.half(),
        tokenizer=hub_tokenizer(),
        unet=unet.half(),
        scheduler=DDIMScheduler(**architectures.SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    _write_json(folder / "words.json", words_met(caption_texts))


def _export_trained_generator(folder: Path) -> None:
    weights = trained_text_encoder(), trained("autoencoder"), trained("unet_scenes")
    export_generator(*weights, latent_scale(latents_of("unet")), folder)


EXPORTS: dict[str, Callable[[Path], None]] = {
    "judge": lambda folder: export_open_clip("judge", trained("judge"), folder),
    "classifier": lambda folder: export_open_clip("classifier", trained("classifier"), folder),
    "detector": lambda folder: export_detector(trained("detector_refined"), folder),
    "generator": _export_trained_generator,
    "classifier_twin": lambda folder: export_open_clip("classifier", trained("classifier_twin"), folder),
}
#: The trainings that a model is made of, where they are several.
PARTS = {
    "detector": ("detector", "detector_refined"),
    "generator": ("text_encoder", "autoencoder", "unet", "unet_scenes"),
}


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def export_finished() -> list[str]:
    """Write every model whose trainings have come to their end, and return their names."""
    parts = {name: PARTS.get(name, (name,)) for name in EXPORTS}
    finished = [name for name in EXPORTS if all(steps_of(part) == STEPS[part] for part in parts[name])]
    for name in finished:
        (MODELS / name).mkdir(parents=True, exist_ok=True)
        EXPORTS[name](MODELS / name)
        _write_json(MODELS / name / "training.json", {"steps": {part: steps_of(part) for part in parts[name]}})
    return finished
