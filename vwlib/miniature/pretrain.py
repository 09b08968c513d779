"""Pretrain the miniature's models from the drawings: `vwlib pretrain`, for maintainers; the weights are committed.

Each model has its own scenes, seed, width and depth, and none starts from another's weights; only the classifier's
twin, a control, shares its scenes and shape. The larger ones are compiled, which takes minutes at the start and saves
20 to 40 % of every step.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vwlib.miniature import architectures
from vwlib.miniature.contrastive import contrastive_loss
from vwlib.miniature.detection import detection_loss
from vwlib.miniature.generation import TextAndImage, autoencoder_loss, denoising_loss, encode_pool, latent_scale
from vwlib.miniature.pool import Pool, render_pool
from vwlib.miniature.sprites import load_sprites
from vwlib.miniature.training import Loss, Schedule, Weights, averaged_weights, checkpoint_step, train
from vwlib.paths import CACHE

_Model = TypeVar("_Model", bound=nn.Module)
CHECKPOINTS = CACHE / "checkpoints"
#: The steps of each training. The denoiser's first ends early, at a high rate, once it can draw: see its `horizon`.
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
#: The denoiser sees far fewer scenes than a real one. It first learns to draw, mostly from portraits, then to compose,
#: from scenes like those in which its words will be learned; both show the forty concepts often.
DRAWING_MIX = {"Portrait": 0.7, "One": 0.2, "Few": 0.07, "Many": 0.03}
COMPOSING_MIX = {"Portrait": 0.25, "ImageNet": 0.3, "PASCAL": 0.2, "COCO": 0.25}
DRAWING_CONCEPT_WEIGHT = 12.0


def checkpoint_of(name: str) -> Path:
    """Where the training of a model stores its checkpoint."""
    return CHECKPOINTS / f"{name}.pt"


def latents_of(name: str) -> Path:
    """Where the latents are stored that a denoiser's training reads."""
    return CHECKPOINTS / f"{name}_latents.safetensors"


def steps_of(name: str) -> int:
    """How many steps the training of `name` has taken so far."""
    return checkpoint_step(checkpoint_of(name))


def trained(name: str) -> Weights:
    """The weights that a training ended with."""
    return averaged_weights(checkpoint_of(name))


def trained_text_encoder() -> Weights:
    """The text encoder's weights, without the image tower that trained it."""
    weights = trained("text_encoder").items()
    return {key.removeprefix("text."): value for key, value in weights if key.startswith("text.")}


def _train(name: str, model: nn.Module, loss: Loss, rate: float, seed: int, **schedule: Any) -> Path:
    """Train a model for its `STEPS`."""
    return train(model, loss, Schedule(STEPS[name], rate, **schedule), seed=seed, checkpoint=checkpoint_of(name))


def _frozen(model: _Model, weights: Weights) -> _Model:
    """The model with trained weights that stay as they are."""
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def _pretrain_open_clip(name: str, shape: str, seed: int, scenes: int) -> Path:
    """The classifier or the judge, from images and captions; `scenes` is the seed of its scenes."""
    pool = render_pool(load_sprites(), CONTRASTIVE_MIX, 100_000, architectures.IMAGE_SIZE, scenes)
    model = architectures.build_open_clip(shape, seed).train()
    loss = contrastive_loss(pool, model.encode_image, model.encode_text, model.logit_scale)
    # On a CPU the flash kernel's backward pass in bfloat16 is several times slower than plain matrix products.
    with sdpa_kernel(SDPBackend.MATH):
        return _train(name, model, loss, 1.5e-3, seed)


def _pretrain_detector(name: str, rate: float, seed: int, start: str | None = None) -> Path:
    """The detector, from boxes and names.

    With `start`, the training to continue from, it is refined: tighter boxes, and scores that say how well they fit.
    """
    pool = render_pool(load_sprites(), DETECTION_MIX, 60_000, architectures.DETECTION_SIZE, 13)
    model = architectures.build_detector(13).train()
    if start:
        model.load_state_dict(trained(start))
    model.owlv2.vision_model.compile(dynamic=False)
    return _train(name, model, detection_loss(pool, model, refined=start is not None), rate, seed, warmup=300)


def _generation_pool() -> Pool:
    return render_pool(load_sprites(), GENERATION_MIX, 100_000, architectures.IMAGE_SIZE, 14)


def _pretrain_text_encoder() -> Path:
    """The generator's text encoder, from images and captions."""
    model = TextAndImage(architectures.build_text_encoder(14)).train().to(memory_format=torch.channels_last)
    loss = contrastive_loss(_generation_pool(), model.encode_image, model.encode_text, model.logit_scale)
    return _train("text_encoder", model, loss, 1.5e-3, 14)


def _pretrain_autoencoder() -> Path:
    """The generator's autoencoder, from images and their features in the image tower of the text encoder's training."""
    both = _frozen(TextAndImage(architectures.build_text_encoder(14)), trained("text_encoder"))
    model = architectures.build_autoencoder(15).train().to(memory_format=torch.channels_last)
    for part in (model.encoder, model.decoder):
        part.compile(dynamic=False)
    loss = autoencoder_loss(_generation_pool(), model, both.image.to(memory_format=torch.channels_last))
    return _train("autoencoder", model, loss, 2e-3, 15)


def _pretrain_unet(
    name: str, mix: dict[str, float], rate: float, seed: int, start: str | None = None, horizon: int = 0
) -> Path:
    """The generator's denoiser, from latents and captions, perhaps continued from the training `start`."""
    pool = render_pool(load_sprites(), mix, 100_000, architectures.IMAGE_SIZE, seed, DRAWING_CONCEPT_WEIGHT)
    text = _frozen(architectures.build_text_encoder(14), trained_text_encoder())
    autoencoder = _frozen(architectures.build_autoencoder(15), trained("autoencoder"))
    latents = encode_pool(pool, autoencoder.to(memory_format=torch.channels_last), latents_of(name))
    unet = architectures.build_unet(16).train().to(memory_format=torch.channels_last)
    if start:
        unet.load_state_dict(trained(start))
    unet.set_attn_processor(AttnProcessor())
    unet.compile(dynamic=False)
    loss = denoising_loss(pool, latents, latent_scale(latents_of("unet")), text, unet)
    return _train(name, unet, loss, rate, seed, decay=0.01, average=0.999, horizon=horizon)


#: Every training, in an order in which each finds what it needs. The classifier's twin is control K2: a second training
#: from the same scenes and for as long; only the first weights and the order of the batches differ.
TRAININGS: dict[str, Callable[[], Path]] = {
    "judge": lambda: _pretrain_open_clip("judge", "judge", 12, 12),
    "classifier": lambda: _pretrain_open_clip("classifier", "classifier", 11, 11),
    "detector": lambda: _pretrain_detector("detector", 1e-3, 13),
    "detector_refined": lambda: _pretrain_detector("detector_refined", 5e-4, 23, "detector"),
    "text_encoder": _pretrain_text_encoder,
    "autoencoder": _pretrain_autoencoder,
    "unet": lambda: _pretrain_unet("unet", DRAWING_MIX, 1e-3, 16, horizon=10_000),
    "unet_scenes": lambda: _pretrain_unet("unet_scenes", COMPOSING_MIX, 8e-4, 17, "unet"),
    "classifier_twin": lambda: _pretrain_open_clip("classifier_twin", "classifier", 21, 11),
}


def pretrain(names: list[str] | None = None) -> list[Path]:
    """Train the named models, or all, from their checkpoints on. Raises ValueError for an unknown name."""
    for name in names or []:
        if name not in TRAININGS:
            raise ValueError(f"'{name}' is no model of the miniature; choose from {', '.join(TRAININGS)}.")
    return [TRAININGS[name]() for name in names or TRAININGS]
