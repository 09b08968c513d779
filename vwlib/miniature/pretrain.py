"""Pretrain the miniature's models from the drawings: `vwlib pretrain`. Only maintainers need it; the weights are
committed.

Each model has its own scenes, seed, width and depth, and none starts from another's weights; only the classifier's
twin, a control, shares its scenes and shape. The larger ones are compiled, which takes minutes at the start and saves a
fifth to two fifths of every step.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import AttnProcessor
from torch.nn.attention import SDPBackend, sdpa_kernel

from vwlib.miniature import architectures
from vwlib.miniature.contrastive import contrastive_loss
from vwlib.miniature.detection import detection_loss
from vwlib.miniature.generation import TextAndImage, autoencoder_loss, denoising_loss, encode_pool, latent_scale
from vwlib.miniature.pool import Pool, render_pool
from vwlib.miniature.sprites import load_sprites
from vwlib.miniature.training import Schedule, Weights, averaged_weights, checkpoint_step, train
from vwlib.paths import CACHE

CHECKPOINTS = CACHE / "checkpoints"
#: How long each training takes. The denoiser's first is broken off, its rate still high, once it can draw: see its
#: `horizon`.
STEPS = {
    "judge": 8000,
    "classifier": 6000,
    "classifier_twin": 6000,
    "detector": 8000,
    "detector_refined": 12000,
    "text_encoder": 2500,
    "autoencoder": 5000,
    "unet": 2931,
    "unet_scenes": 10000,
}
CONTRASTIVE_MIX = {"One": 0.6, "Few": 0.25, "Many": 0.15}
DETECTION_MIX = {"One": 0.15, "Few": 0.35, "Many": 0.5}
GENERATION_MIX = {"One": 0.8, "Few": 0.15, "Many": 0.05}
#: The denoiser sees far fewer scenes than a real one. It first learns to draw, mostly from portraits that show one
#: thing clearly, then to compose, from scenes like those in which its words will be learned; both show the forty
#: concepts often.
DRAWING_MIX = {"Portrait": 0.7, "One": 0.2, "Few": 0.07, "Many": 0.03}
COMPOSING_MIX = {"Portrait": 0.25, "ImageNet": 0.3, "PASCAL": 0.2, "COCO": 0.25}
DRAWING_CONCEPT_WEIGHT = 12.0


def checkpoint_of(name: str) -> Path:
    """Where the training of a model keeps its checkpoint."""
    return CHECKPOINTS / f"{name}.pt"


def latents_of(name: str) -> Path:
    """Where the latents lie that a denoiser's training reads."""
    return CHECKPOINTS / f"{name}_latents.safetensors"


def steps_of(name: str) -> int:
    """How many steps the training of `name` has taken; 0 where it has not begun."""
    return checkpoint_step(checkpoint_of(name)) if checkpoint_of(name).exists() else 0


def trained(name: str) -> Weights:
    """The weights that a training ended with."""
    return averaged_weights(checkpoint_of(name))


def trained_text_encoder() -> Weights:
    """The text encoder's weights, without the image tower that taught it."""
    weights = trained("text_encoder").items()
    return {key.removeprefix("text."): value for key, value in weights if key.startswith("text.")}


def _pretrain_open_clip(name: str, shape: str, seed: int, scenes: int) -> Path:
    """The classifier or the judge, from images and captions; `scenes` is the seed of its scenes."""
    sprites = load_sprites()
    pool = render_pool(sprites, CONTRASTIVE_MIX, 100_000, architectures.IMAGE_SIZE, scenes)
    model = architectures.build_open_clip(shape, seed).train()
    loss = contrastive_loss(
        pool, sprites, model.encode_image, model.encode_text, model.logit_scale, architectures.tokenize
    )
    # On a CPU the flash kernel's backward pass in bfloat16 is several times slower than plain matrix products.
    with sdpa_kernel(SDPBackend.MATH):
        return train(model, loss, Schedule(STEPS[name], 1.5e-3), seed=seed, checkpoint=checkpoint_of(name))


def _pretrain_detector(name: str, rate: float, seed: int, start: str | None = None) -> Path:
    """The detector, an OWL-v2, from boxes and names.

    Where it goes on from the training `start` it is refined: tighter boxes, and scores that say how well they fit.
    """
    sprites = load_sprites()
    pool = render_pool(sprites, DETECTION_MIX, 60_000, architectures.DETECTION_SIZE, 13)
    model = architectures.build_detector(13).train()
    if start:
        model.load_state_dict(trained(start))
    model.owlv2.vision_model.compile(dynamic=False)
    loss = detection_loss(pool, sprites, model, refined=start is not None)
    schedule = Schedule(STEPS[name], rate, warmup=300)
    return train(model, loss, schedule, seed=seed, checkpoint=checkpoint_of(name))


def _generation_pool() -> Pool:
    return render_pool(load_sprites(), GENERATION_MIX, 100_000, architectures.IMAGE_SIZE, 14)


def _pretrain_text_encoder() -> Path:
    """The generator's text encoder, from images and captions, with an image tower that is thrown away."""
    model = TextAndImage(architectures.build_text_encoder(14)).train().to(memory_format=torch.channels_last)
    encoders = (model.encode_image, model.encode_text, model.logit_scale)
    loss = contrastive_loss(_generation_pool(), load_sprites(), *encoders, architectures.tokenize)
    name = "text_encoder"
    return train(model, loss, Schedule(STEPS[name], 1.5e-3), seed=14, checkpoint=checkpoint_of(name))


def _pretrain_autoencoder() -> Path:
    """The generator's autoencoder, from images and from the features that the text encoder's image tower finds."""
    both = TextAndImage(architectures.build_text_encoder(14))
    both.load_state_dict(trained("text_encoder"))
    tower = both.image.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    model = architectures.build_autoencoder(15).train().to(memory_format=torch.channels_last)
    for part in (model.encoder, model.decoder):
        part.compile(dynamic=False)
    loss = autoencoder_loss(_generation_pool(), model, tower)
    name = "autoencoder"
    return train(model, loss, Schedule(STEPS[name], 2e-3), seed=15, checkpoint=checkpoint_of(name))


def trained_autoencoder() -> AutoencoderKL:
    """The autoencoder of its checkpoint, frozen."""
    model = architectures.build_autoencoder(15)
    model.load_state_dict(trained("autoencoder"))
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _pretrain_unet(name: str, mix: dict[str, float], schedule: Schedule, seed: int, start: str | None = None) -> Path:
    """The generator's denoiser, from latents and captions; text encoder and autoencoder stay as they are.

    It goes on from the training `start`, by default from none.
    """
    sprites = load_sprites()
    pool = render_pool(sprites, mix, 100_000, architectures.IMAGE_SIZE, seed, DRAWING_CONCEPT_WEIGHT)
    text = architectures.build_text_encoder(14)
    text.load_state_dict(trained_text_encoder())
    text.eval().requires_grad_(False)
    latents = encode_pool(pool, trained_autoencoder(), latents_of(name))
    unet = architectures.build_unet(16).train().to(memory_format=torch.channels_last)
    if start:
        unet.load_state_dict(trained(start))
    unet.set_attn_processor(AttnProcessor())
    unet.compile(dynamic=False)
    loss = denoising_loss(pool, sprites, latents, latent_scale(latents_of("unet")), text, unet)
    return train(unet, loss, schedule, seed=seed, checkpoint=checkpoint_of(name))


#: The denoiser first learns to draw, then goes on to scenes.
_DRAW = Schedule(STEPS["unet"], 1e-3, decay=0.01, average=0.999, horizon=10_000)
_COMPOSE = Schedule(STEPS["unet_scenes"], 8e-4, decay=0.01, average=0.999)
#: Every training in an order in which each finds what it needs. The classifier's twin is control K2: its second
#: training, from the same scenes and for as long; only the first weights and the order of the batches differ.
TRAININGS: dict[str, Callable[[], Path]] = {
    "judge": lambda: _pretrain_open_clip("judge", "judge", 12, 12),
    "classifier": lambda: _pretrain_open_clip("classifier", "classifier", 11, 11),
    "detector": lambda: _pretrain_detector("detector", 1e-3, 13),
    "detector_refined": lambda: _pretrain_detector("detector_refined", 5e-4, 23, "detector"),
    "text_encoder": _pretrain_text_encoder,
    "autoencoder": _pretrain_autoencoder,
    "unet": lambda: _pretrain_unet("unet", DRAWING_MIX, _DRAW, 16),
    "unet_scenes": lambda: _pretrain_unet("unet_scenes", COMPOSING_MIX, _COMPOSE, 17, "unet"),
    "classifier_twin": lambda: _pretrain_open_clip("classifier_twin", "classifier", 21, 11),
}


def pretrain(names: list[str] | None = None) -> list[Path]:
    """Train the named models, or all, resuming what was begun.

    Raises ValueError for a name that is no model of the miniature.
    """
    for name in names or []:
        if name not in TRAININGS:
            raise ValueError(f"'{name}' is no model of the miniature; choose from {', '.join(TRAININGS)}.")
    return [TRAININGS[name]() for name in names or TRAININGS]
