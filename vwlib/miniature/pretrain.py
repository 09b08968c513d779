"""Pretrain the miniature's models from the drawings: `vwlib pretrain`, for maintainers; the weights are committed.

Each model has its own scenes, seed, width and depth, and none starts from another's weights; only the classifier's
twin, a control, shares its scenes and shape. The second edition's text encoders are trained last, each against what the
first edition's trainings made. The larger ones are compiled, which takes minutes at the start and saves
20 to 40 % of every step.
"""

import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vwlib.miniature import architectures
from vwlib.miniature.contrastive import contrastive_loss
from vwlib.miniature.detection import detection_loss
from vwlib.miniature.first import first_weights
from vwlib.miniature.generation import TextAndImage, autoencoder_loss, denoising_loss, encode_pool, latent_scale
from vwlib.miniature.pool import Pool, render_pool
from vwlib.miniature.schedules import SETTINGS, STEPS
from vwlib.miniature.sprites import Sprites, load_sprites
from vwlib.miniature.text_towers import (
    TEXTS,
    Regions,
    TextForDenoiser,
    classifier_loss,
    detector_loss,
    generator_loss,
    image_features,
    widened_head,
)
from vwlib.miniature.training import Loss, Schedule, Weights, averaged_weights, checkpoint_step, train
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


def frozen_side(name: str) -> Weights:
    """The first edition's weights of a part: as trained here or, if that is not done, as committed."""
    if checkpoint_step(checkpoint_of(name)) == STEPS[name]:
        return trained(name)
    committed = {"detector_refined": "detector", "unet_scenes": "unet"}.get(name, name)
    return {key: value.float() for key, value in first_weights(committed).items()}


def trained_text_encoder() -> Weights:
    """The text encoder's weights, without the image tower that trained it."""
    weights = trained("text_encoder").items()
    return {key.removeprefix("text."): value for key, value in weights if key.startswith("text.")}


def _train(name: str, model: nn.Module, loss: Loss) -> Path:
    """Train a model by its settings."""
    apart = ("seed", "start", "scenes", "side", "late")
    schedule = {key: value for key, value in SETTINGS[name].items() if key not in apart}
    return train(model, loss, Schedule(**schedule), seed=SETTINGS[name]["seed"], checkpoint=checkpoint_of(name))


def _pool(name: str, sprites: Sprites | None = None) -> Pool:
    """The scenes that a model is trained on."""
    return render_pool(sprites or load_sprites(), **SETTINGS[name]["scenes"])


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


def _with_new_table(model: _Model, table: nn.Embedding) -> _Model:
    """The model in training, its word table small and random as CLIP's."""
    nn.init.normal_(table.weight, std=0.02)
    return model.train()


def _pretrain_classifier_text(name: str) -> Path:
    """The second text encoder of the classifier or its twin, against its frozen image tower."""
    side, seed = SETTINGS[name]["side"], SETTINGS[name]["seed"]
    model = architectures.build_open_clip("classifier", seed, "second")
    vision = {key: value for key, value in frozen_side(side).items() if key.startswith("visual.")}
    model.load_state_dict(vision, strict=False)
    model.visual.requires_grad_(False).eval()
    pool = _pool(name, load_sprites().with_reserve())
    features = image_features(model, pool)
    model = _with_new_table(model, model.token_embedding)
    model.visual.eval()
    model.logit_scale.data.fill_(math.log(20))
    with sdpa_kernel(SDPBackend.MATH):
        return _train(name, model, classifier_loss(pool, features, model, SETTINGS[name]["late"]))


def _pretrain_detector_text(name: str) -> Path:
    """The detector's second text encoder, against its frozen regions."""
    first = _frozen(architectures.build_detector(0), frozen_side("detector_refined"))
    pool = _pool(name, load_sprites().with_reserve())
    regions = Regions.of(pool, first, CHECKPOINTS / f"{name}_regions.safetensors")
    model = architectures.build_detector(SETTINGS[name]["seed"], "second")
    lead = widened_head(model, first)
    for part, parameter in model.named_parameters():
        parameter.requires_grad_(part.startswith(("owlv2.text_model.", "owlv2.text_projection.")))
    model = _with_new_table(model, model.owlv2.text_model.embeddings.token_embedding)
    return _train(name, model, detector_loss(pool, regions, model, lead, SETTINGS[name]["late"]))


def _pretrain_generator_text(name: str) -> Path:
    """The generator's second text encoder, which says to the denoiser what the first one said."""
    first = _frozen(architectures.build_text_encoder(0), frozen_side("text_encoder"))
    denoiser = _frozen(architectures.build_unet(0), frozen_side("unet_scenes"))
    seed = SETTINGS[name]["seed"]
    text, unet = architectures.build_text_encoder(seed, "second"), architectures.build_unet(seed, "second")
    model = _with_new_table(TextForDenoiser(text, unet), text.embeddings.token_embedding)
    return _train(
        name, model, generator_loss(_pool(name), first, denoiser.add_embedding, model, SETTINGS[name]["late"])
    )


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
    "classifier_text": _pretrain_classifier_text,
    "classifier_twin_text": _pretrain_classifier_text,
    "detector_text": _pretrain_detector_text,
    "generator_text": _pretrain_generator_text,
}


def word_counts(name: str, steps: int = 1000) -> Counter[str]:
    """How often each word occurs in the texts of a second text encoder's training, from the first of its steps.

    The counts are scaled to all of its steps.
    """
    everything = name != "generator_text"
    pool = _pool(name, load_sprites().with_reserve() if everything else load_sprites())
    seen: Counter[str] = Counter()
    for step in range(steps):
        rng = np.random.default_rng((SETTINGS[name]["seed"], step))
        for text in TEXTS[name.removesuffix("_text").removesuffix("_twin")](rng, pool):
            seen.update(word for word, _ in text.words)
    return Counter({word: round(count * STEPS[name] / steps) for word, count in seen.items()})


def pretrain(names: list[str] | None = None) -> list[Path]:
    """Train the named models, or all, from their checkpoints on. Raises ValueError for an unknown name."""
    for name in names or []:
        if name not in TRAININGS:
            raise ValueError(f"'{name}' is no model of the miniature; choose from {', '.join(TRAININGS)}.")
    return [TRAININGS[name](name) for name in names or TRAININGS]
