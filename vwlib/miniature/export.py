"""From a training's checkpoint to the folder that users load: the model library's own layout, in half precision."""

import json
import shutil
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from torch import nn
from transformers import CLIPTokenizer, Owlv2ImageProcessor

from vwlib.files import read_json
from vwlib.miniature import architectures
from vwlib.miniature.architectures import Edition
from vwlib.miniature.captions import caption, describe, name_prompt
from vwlib.miniature.first import first_weights, first_words
from vwlib.miniature.generation import latent_scale
from vwlib.miniature.pretrain import checkpoint_of, frozen_side, latents_of, trained, word_counts
from vwlib.miniature.scenes import LAYOUTS, random_scene
from vwlib.miniature.schedules import STEPS
from vwlib.miniature.sprites import load_sprites
from vwlib.miniature.tokenizer import MERGES
from vwlib.miniature.training import Weights, checkpoint_step, save_tensors
from vwlib.settings import MODELS

_Model = TypeVar("_Model", bound=nn.Module)


def half(weights: Weights) -> Weights:
    """Floating-point weights as float16. Raises ValueError if one is out of its range."""
    for name, value in weights.items():
        if value.is_floating_point() and value.abs().max() > torch.finfo(torch.float16).max:
            raise ValueError(f"The weight '{name}' is too large for half precision.")
    return {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}


def first_words_met(phrases: bool = False, rounds: int = 300) -> list[str]:
    """The words of a first training's texts, found by drawing many: of names and captions or, with `phrases`, of names
    and descriptions of single objects, as the detector's training has them.
    """
    sprites, words = load_sprites(), set()
    names, layout = sprites.names, LAYOUTS["One" if phrases else "Few"]
    for number in range(rounds):
        rng = np.random.default_rng((2, number))
        texts = [name_prompt(rng, noun, names) for noun in sprites.nouns]
        for _ in range(20):
            scene = random_scene(rng, sprites, layout, 32)
            shown = scene.objects[0]
            texts.append(describe(rng, shown, names, rich=0.8) if phrases else caption(rng, scene, names, 32))
        words |= {word for text in texts for word in text.split()}
    return sorted(words)


def hub_tokenizer(edition: Edition = "second") -> CLIPTokenizer:
    """The tokenizer of an edition's language as transformers' class, with the same ids as open_clip's."""
    source = architectures.tokenizer_of(edition)
    start, end = "<|startoftext|>", "<|endoftext|>"
    entries = {key: index for key, index in source.encoder.items() if index < source.sot_token_id}
    entries |= {start: source.sot_token_id, end: source.eot_token_id}
    special = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": "!"}
    merges = list(source.bpe_ranks)
    return CLIPTokenizer(vocab=entries, merges=merges, **special, model_max_length=architectures.CONTEXT)


def export_open_clip(name: str, weights: Weights, words: list[str], folder: Path, edition: Edition) -> None:
    """The classifier or the judge, in open_clip's layout."""
    save_tensors(half(weights), folder / "open_clip_model.safetensors")
    preprocess = {"size": [architectures.IMAGE_SIZE] * 2, "mean": [0.5] * 3, "std": [0.5] * 3}
    preprocess |= {"interpolation": "bicubic", "resize_mode": "shortest"}
    config = {"model_cfg": architectures.open_clip_config(name, edition), "preprocess_cfg": preprocess}
    _write_json(folder / "open_clip_config.json", config)
    shutil.copy(MERGES[edition], folder / "bpe.txt.gz")
    _write_json(folder / "words.json", words)


def _with(model: _Model, weights: Weights) -> _Model:
    """The model with weights in half precision."""
    model.load_state_dict(half(weights))
    return model.half()


def export_detector(weights: Weights, words: list[str], folder: Path, edition: Edition) -> None:
    """The detector, in transformers' layout."""
    _with(architectures.build_detector(0, edition), weights).save_pretrained(folder)
    side = architectures.DETECTION_SIZE
    Owlv2ImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)
    hub_tokenizer(edition).save_pretrained(folder)
    _write_json(folder / "words.json", words)


def export_generator(
    weights: dict[str, Weights], scale: float, words: list[str], folder: Path, edition: Edition
) -> None:
    """The generator, in diffusers' layout; `scale` brings the autoencoder's latents to a standard deviation of 1."""
    vae = _with(architectures.build_autoencoder(0), weights["autoencoder"])
    vae.register_to_config(scaling_factor=scale)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=_with(architectures.build_text_encoder(0, edition), weights["text_encoder"]),
        tokenizer=hub_tokenizer(edition),
        unet=_with(architectures.build_unet(0, edition), weights["unet"]),
        scheduler=DDIMScheduler(**architectures.SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    _write_json(folder / "words.json", words)


def latents_scale() -> float:
    """The factor of `export_generator`: from the trained latents or, without them, as committed."""
    if (file := latents_of("unet")).exists():
        return latent_scale(file)
    return read_json(MODELS / "generator" / "vae" / "config.json")["scaling_factor"]


#: The trainings that make up each model; those that end in "_text" are the second edition's.
PARTS = {
    "judge": ("judge",),
    "classifier": ("classifier", "classifier_text"),
    "detector": ("detector", "detector_refined", "detector_text"),
    "generator": ("text_encoder", "autoencoder", "unet", "unet_scenes", "generator_text"),
    "classifier_twin": ("classifier_twin", "classifier_twin_text"),
}


def _export(name: str, folder: Path) -> None:
    words = sorted(word_counts(PARTS[name][-1])) if name != "judge" else first_words_met()
    if name == "judge":
        export_open_clip(name, trained(name), words, folder, "first")
    elif name == "detector":
        export_detector(trained("detector_text"), words, folder, "second")
    elif name == "generator":
        text = trained("generator_text")
        old = {key: value for key, value in frozen_side("unet_scenes").items() if not key.startswith("add_embedding.")}
        weights = {
            "autoencoder": frozen_side("autoencoder"),
            "text_encoder": {
                key.removeprefix("text."): value for key, value in text.items() if key.startswith("text.")
            },
            "unet": old | {key: value for key, value in text.items() if not key.startswith("text.")},
        }
        export_generator(weights, latents_scale(), words, folder, "second")
    else:
        export_open_clip("classifier", trained(f"{name}_text"), words, folder, "second")


def export_first(target: Path) -> None:
    """Write the first edition's classifier, detector and generator into a folder, for the profile `first`."""
    for name in ("classifier", "detector", "generator"):
        (target / name).mkdir(parents=True, exist_ok=True)
    words = {name: first_words(name) for name in ("classifier", "detector", "generator")}
    export_open_clip("classifier", first_weights("classifier"), words["classifier"], target / "classifier", "first")
    export_detector(first_weights("detector"), words["detector"], target / "detector", "first")
    parts = {part: first_weights(part) for part in ("text_encoder", "autoencoder", "unet")}
    export_generator(parts, latents_scale(), words["generator"], target / "generator", "first")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def export_finished() -> list[str]:
    """Write every model whose last training is complete, and return their names."""
    finished = []
    for name, parts in PARTS.items():
        if checkpoint_step(checkpoint_of(parts[-1])) == STEPS[parts[-1]]:
            (MODELS / name).mkdir(parents=True, exist_ok=True)
            _export(name, MODELS / name)
            _write_json(MODELS / name / "training.json", {"steps": {part: STEPS[part] for part in parts}})
            finished.append(name)
    return finished
