"""Contrastive pretraining of image and text towers from captions: classifier, judge, the generator's text encoder."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vwlib.miniature.architectures import tokenize
from vwlib.miniature.captions import name_prompt
from vwlib.miniature.pool import Pool
from vwlib.miniature.training import Loss, to_tensor, training_autocast

Encode = Callable[[Tensor], Tensor]


def contrastive_loss(
    pool: Pool,
    encode_image: Encode,
    encode_text: Encode,
    logit_scale: Tensor,
    *,
    batch: int = 128,
    choices: int = 160,
    captions: int = 48,
) -> Loss:
    """CLIP's loss, made denser: each image against `choices` names, `captions` of the images against their captions.

    A batch shows many of the few hundred nouns twice, so captions of other images are often true of an image too.
    Nouns are therefore learned against distinct names (the batch's and random others), attributes against captions
    whose text differs. Both encoders return (n, d) features, not yet normalised.
    """
    nouns, names = pool.sprites.nouns, pool.sprites.names

    def loss(rng: np.random.Generator, _: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        rows = rng.integers(len(pool), size=batch)
        texts = [pool.caption(rng, row) for row in rows[:captions]]
        noun = pool.arrays["noun"][rows, 0].astype(np.int64)
        shown = np.unique(noun)
        others = np.setdiff1d(np.arange(len(nouns)), shown)
        offered = np.concatenate([shown, rng.permutation(others)])[: max(choices, len(shown))]
        prompts = [name_prompt(rng, nouns[index], names) for index in offered]
        images = augment(to_tensor(pool.images[rows]), rng)
        with training_autocast():
            image = encode_image(images)
            text = encode_text(tokenize(prompts + texts))
        image, text = F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1)
        scale = logit_scale.exp().clamp(max=100)
        target = torch.from_numpy(np.searchsorted(shown, noun))
        by_name = scale * image @ text[: len(prompts)].T  # (image, noun)
        pairs = scale * image[:captions] @ text[len(prompts) :].T  # (image, caption)
        same = torch.tensor([[a == b for b in texts] for a in texts]) & ~torch.eye(captions, dtype=torch.bool)
        pairs = pairs.masked_fill(same, -1e4)
        own = torch.arange(captions)
        name_loss = F.cross_entropy(by_name, target, label_smoothing=0.05)
        pair_loss = (F.cross_entropy(pairs, own) + F.cross_entropy(pairs.T, own)) / 2
        accuracy = (by_name.argmax(1) == target).float().mean()
        return name_loss + 0.5 * pair_loss, {"names": name_loss, "pairs": pair_loss, "top1": accuracy}

    return loss


def augment(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Move, turn, scale and recolour each image (image, 3, y, x) in [-1, 1] a little.

    Shifts stay within a twentieth of the side, so captions about places stay true.
    """
    count = len(images)
    angle, scale = rng.normal(0, 0.04, count), rng.uniform(0.94, 1.06, count)
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    shift = rng.uniform(-0.08, 0.08, (2, count))  # in half sides
    affine = np.stack([cosine, -sine, shift[0], sine, cosine, shift[1]], 1).reshape(count, 2, 3)
    grid = F.affine_grid(torch.from_numpy(affine.astype(np.float32)), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    colour = torch.from_numpy(_colour_matrices(rng, count))
    brightness = torch.from_numpy(rng.normal(0, 0.05, (count, 1, 1, 1)).astype(np.float32))
    moved = torch.einsum("ncyx,ndc->ndyx", moved, colour) + brightness
    return moved.clamp(-1, 1).contiguous(memory_format=torch.channels_last)


def _colour_matrices(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random changes of contrast, saturation and hue as matrices on RGB: float32 (image, 3, 3)."""
    grey = np.full((3, 3), 1 / 3)
    # A rotation about the grey axis turns the hue and keeps greys as they are (Rodrigues' formula).
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    hue = rng.normal(0, 0.1, (count, 1, 1))  # radians
    turn = np.cos(hue) * (np.eye(3) - grey) + np.sin(hue) * cross
    contrast, saturation = rng.uniform(0.88, 1.08, (count, 1, 1)), rng.uniform(0.75, 1.2, (count, 1, 1))
    return (contrast * (grey + saturation * turn)).astype(np.float32)
