"""Pretrain the miniature's models from the drawings: `vwlib pretrain`, for maintainers; the weights are committed.

Each model has its own scenes, seed, width and depth, and none starts from another's weights; only the classifier's
twin, a control, shares its scenes and shape. The larger ones are compiled, which takes minutes at the start and saves
20 to 40 % of every step.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vwlib.miniature import architectures
from vwlib.miniature.contrastive import contrastive_loss
from vwlib.miniature.detection import detection_loss
from vwlib.miniature.generation import TextAndImage, autoencoder_loss, denoising_loss, encode_pool, latent_scale
from vwlib.miniature.pool import Pool, render_pool
from vwlib.miniature.schedules import SETTINGS
from vwlib.miniature.sprites import load_sprites
from vwlib.miniature.training import Loss, Schedule, Weights, averaged_weights, train
from vwlib.paths import CACHE

_Model = TypeVar("_Model", bound=nn.Module)
CHECKPOINTS = CACHE / "checkpoints"


def checkpoint_of(name: str) -> Path:
    """Where the training of a model stores its checkpoint."""
    return CHECKPOINTS / f"{name}.pt"


def latents_of(name: str) -> Path:
    """Where the latents are stored that a denoiser's training reads."""
    return CHECKPOINTS / f"{name}_latents.safetensors"


def trained(name: str) -> Weights:
    """The weights that a training ended with."""
    return averaged_weights(checkpoint_of(name))


def trained_text_encoder() -> Weights:
    """The text encoder's weights, without the image tower that trained it."""
    weights = trained("text_encoder").items()
    return {key.removeprefix("text."): value for key, value in weights if key.startswith("text.")}


def _train(name: str, model: nn.Module, loss: Loss) -> Path:
    """Train a model by its settings."""
    schedule = {key: value for key, value in SETTINGS[name].items() if key not in ("seed", "start", "scenes")}
    return train(model, loss, Schedule(**schedule), seed=SETTINGS[name]["seed"], checkpoint=checkpoint_of(name))


def _pool(name: str) -> Pool:
    """The scenes that a model is trained on."""
    return render_pool(load_sprites(), **SETTINGS[name]["scenes"])


def _begun(model: _Model, name: str) -> _Model:
    """A model to train, with the weights that its settings say."""
    if start := SETTINGS[name].get("start"):
        model.load_state_dict(trained(start))
    return model.train().to(memory_format=torch.channels_last)


def _frozen(model: _Model, weights: Weights) -> _Model:
    """The model with trained weights that stay as they are."""
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _pretrain_open_clip(name: str, shape: str) -> Path:
    """The classifier, its twin or the judge, from images and captions."""
    model = _begun(architectures.build_open_clip(shape, SETTINGS[name]["seed"]), name)
    loss = contrastive_loss(_pool(name), model.encode_image, model.encode_text, model.logit_scale)
    # On a CPU the flash kernel's backward pass in bfloat16 is several times slower than plain matrix products.
    with sdpa_kernel(SDPBackend.MATH):
        return _train(name, model, loss)


def _pretrain_detector(name: str) -> Path:
    """The detector, from boxes and names."""
    model = architectures.build_detector(13).train()
    if start := SETTINGS[name].get("start"):
        model.load_state_dict(trained(start))
    model.owlv2.vision_model.compile(dynamic=False)
    return _train(name, model, detection_loss(_pool(name), model, refined=start is not None))


def _pretrain_text_encoder(name: str) -> Path:
    """The generator's text encoder, from images and captions."""
    model = _begun(TextAndImage(architectures.build_text_encoder(14)), name)
    return _train(name, model, contrastive_loss(_pool(name), model.encode_image, model.encode_text, model.logit_scale))


def _pretrain_autoencoder(name: str) -> Path:
    """The generator's autoencoder, from images and their features in the image tower of the text encoder's training."""
    both = _frozen(TextAndImage(architectures.build_text_encoder(14)), trained("text_encoder"))
    model = _begun(architectures.build_autoencoder(15), name)
    for part in (model.encoder, model.decoder):
        part.compile(dynamic=False)
    return _train(name, model, autoencoder_loss(_pool(name), model, both.image))


def _pretrain_unet(name: str) -> Path:
    """The generator's denoiser, from latents and captions."""
    pool = _pool(name)
    text = _frozen(architectures.build_text_encoder(14), trained_text_encoder())
    autoencoder = _frozen(architectures.build_autoencoder(15), trained("autoencoder"))
    latents = encode_pool(pool, autoencoder, latents_of(name))
    unet = _begun(architectures.build_unet(16), name)
    unet.set_attn_processor(AttnProcessor())
    unet.compile(dynamic=False)
    return _train(name, unet, denoising_loss(pool, latents, latent_scale(latents_of("unet")), text, unet))


TRAININGS: dict[str, Callable[[str], Path]] = {
    "judge": partial(_pretrain_open_clip, shape="judge"),
    "classifier": partial(_pretrain_open_clip, shape="classifier"),
    "detector": _pretrain_detector,
    "detector_refined": _pretrain_detector,
    "text_encoder": _pretrain_text_encoder,
    "autoencoder": _pretrain_autoencoder,
    "unet": _pretrain_unet,
    "unet_scenes": _pretrain_unet,
    "classifier_twin": partial(_pretrain_open_clip, shape="classifier"),
}


def pretrain(names: list[str] | None = None) -> list[Path]:
    """Train the named models, or all, from their checkpoints on. Raises ValueError for an unknown name."""
    for name in names or []:
        if name not in TRAININGS:
            raise ValueError(f"'{name}' is no model of the miniature; choose from {', '.join(TRAININGS)}.")
    return [TRAININGS[name](name) for name in names or TRAININGS]
