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

from vwlib.miniature import architectures
from vwlib.miniature.captions import caption, describe, name_prompt
from vwlib.miniature.generation import latent_scale
from vwlib.miniature.pretrain import checkpoint_of, latents_of, trained, trained_text_encoder
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


def words_met(phrases: bool = False, rounds: int = 300) -> list[str]:
    """The words of a training's texts, found by drawing many: of names and captions or, with `phrases`, of names and
    descriptions of single objects, as the detector's training has them.
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
    _write_json(folder / "words.json", words_met())


def _with(model: _Model, weights: Weights) -> _Model:
    """The model with weights in half precision."""
    model.load_state_dict(half(weights))
    return model.half()


def export_detector(weights: Weights, folder: Path) -> None:
    """The detector, in transformers' layout."""
    _with(architectures.build_detector(0), weights).save_pretrained(folder)
    side = architectures.DETECTION_SIZE
    Owlv2ImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)
    hub_tokenizer().save_pretrained(folder)
    _write_json(folder / "words.json", words_met(phrases=True))


def export_generator(
    text_weights: Weights, vae_weights: Weights, unet_weights: Weights, scale: float, folder: Path
) -> None:
    """The generator, in diffusers' layout; `scale` brings the autoencoder's latents to a standard deviation of 1."""
    vae = _with(architectures.build_autoencoder(0), vae_weights)
    vae.register_to_config(scaling_factor=scale)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=_with(architectures.build_text_encoder(0), text_weights),
        tokenizer=hub_tokenizer(),
        unet=_with(architectures.build_unet(0), unet_weights),
        scheduler=DDIMScheduler(**architectures.SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    _write_json(folder / "words.json", words_met())


#: The trainings that make up each model.
PARTS = {
    "judge": ("judge",),
    "classifier": ("classifier",),
    "detector": ("detector", "detector_refined"),
    "generator": ("text_encoder", "autoencoder", "unet", "unet_scenes"),
    "classifier_twin": ("classifier_twin",),
}


def _export(name: str, folder: Path) -> None:
    if name == "detector":
        export_detector(trained("detector_refined"), folder)
    elif name == "generator":
        weights = trained_text_encoder(), trained("autoencoder"), trained("unet_scenes")
        export_generator(*weights, latent_scale(latents_of("unet")), folder)
    else:
        export_open_clip(name.removesuffix("_twin"), trained(name), folder)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def export_finished() -> list[str]:
    """Write every model whose trainings are complete, and return their names."""
    finished = []
    for name, parts in PARTS.items():
        steps = {part: checkpoint_step(checkpoint_of(part)) for part in parts}
        if steps == {part: STEPS[part] for part in parts}:
            (MODELS / name).mkdir(parents=True, exist_ok=True)
            _export(name, MODELS / name)
            _write_json(MODELS / name / "training.json", {"steps": steps})
            finished.append(name)
    return finished
