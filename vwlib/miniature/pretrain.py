"""Pretrain the miniature's models from the drawings: `vwlib pretrain`. Only maintainers need it; the weights are committed."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from vwlib.miniature import architectures
from vwlib.miniature.contrastive import contrastive_loss
from vwlib.miniature.pool import render_pool
from vwlib.miniature.sprites import load_sprites
from vwlib.miniature.training import Schedule, train
from vwlib.paths import CACHE

CHECKPOINTS = CACHE / "checkpoints"
CONTRASTIVE_MIX = {"ImageNet": 0.6, "PASCAL": 0.25, "COCO": 0.15}


def pretrain_open_clip(name: str, config: dict, seed: int, steps: int, scenes: int = 100_000) -> Path:
    """Train the classifier or the judge contrastively."""
    sprites = load_sprites()
    pool = render_pool(sprites, CONTRASTIVE_MIX, scenes, architectures.IMAGE_SIZE, seed)
    model = architectures.build_open_clip(config, seed).train()
    loss = contrastive_loss(pool, sprites, model.encode_image, model.encode_text, model.logit_scale, architectures.tokenize)
    # On a CPU the flash kernel's backward pass in bfloat16 is several times slower than plain matrix products.
    with sdpa_kernel(SDPBackend.MATH):
        return train(model, loss, Schedule(steps, 1.5e-3), seed=seed, checkpoint=CHECKPOINTS / f"{name}.safetensors")


def pretrain_classifier(steps: int = 3500) -> Path:
    """The open_clip classifier."""
    return pretrain_open_clip("classifier", architectures.CLASSIFIER, 11, steps)


def pretrain_judge(steps: int = 3500) -> Path:
    """The judge of generations."""
    return pretrain_open_clip("judge", architectures.JUDGE, 12, steps)


if __name__ == "__main__":
    import sys

    torch.set_num_threads(1)
    {"classifier": pretrain_classifier, "judge": pretrain_judge}[sys.argv[1]](*map(int, sys.argv[2:]))
