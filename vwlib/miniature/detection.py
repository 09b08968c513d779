"""Training of the OWL-v2 detector from boxes: which object is where, and what a text must say to find it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou_loss, sigmoid_focal_loss
from transformers import Owlv2ForObjectDetection

from vwlib.miniature.architectures import tokenize
from vwlib.miniature.captions import describe, name_prompt, names_of
from vwlib.miniature.contrastive import to_tensor
from vwlib.miniature.pool import Pool
from vwlib.miniature.sprites import Sprites
from vwlib.miniature.training import Loss

#: Mean and standard deviation with which OWL-v2's processor normalises pixels (CLIP's).
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def normalise(images: np.ndarray) -> Tensor:
    """uint8 images (image, y, x, 3) to OWL-v2's pixel values (image, 3, y, x)."""
    pixels = to_tensor(images, 0.0, 1.0)
    return (pixels - torch.tensor(CLIP_MEAN).view(3, 1, 1)) / torch.tensor(CLIP_STD).view(3, 1, 1)


def candidate_regions(boxes: Tensor, present: Tensor, grid: int) -> Tensor:
    """Which regions lie in the central half of each object: bool (image, object, region).

    `boxes` (image, object, 4) are (left, top, right, bottom) as shares of the image, `present` (image, object).
    The region nearest the centre always counts. A region in two objects belongs to the smaller one.
    """
    centres = (torch.arange(grid) + 0.5) / grid
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    points = torch.stack([x.flatten(), y.flatten()], -1)  # (region, 2)
    middle, extent = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    distance = (points - middle[..., None, :]).abs()  # (image, object, region, 2)
    inside = (distance < extent[..., None, :] / 4).all(-1)
    inside |= F.one_hot(distance.pow(2).sum(-1).argmin(-1), grid * grid).bool()
    inside &= present[..., None]
    area = torch.where(inside, extent.prod(-1)[..., None], torch.inf)
    return inside & (area == area.min(1, keepdim=True).values)


def detection_loss(pool: Pool, sprites: Sprites, model: Owlv2ForObjectDetection, *, batch: int = 32, negatives: int = 64, phrases: int = 32) -> Loss:
    """OWL-v2's losses: focal over text queries, L1 and generalised IoU for boxes, cross-entropy for objectness.

    Queries are the names of the batch's nouns, `negatives` names of absent ones, and `phrases` that describe one object
    with its attributes. One region per object - of those around its centre, the one that already finds it best - is the
    positive of the focal loss, so that no object is found twice; all of them learn its box and, through a softmax over
    names, its features.
    """
    names = names_of(sprites)
    grid = model.num_patches_height
    size = pool.images.shape[1]

    def loss(rng: np.random.Generator, _: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = rng.integers(len(pool), size=batch)
        noun = torch.from_numpy(pool.arrays["noun"][rows].astype(np.int64))  # (image, object)
        boxes = torch.from_numpy(pool.arrays["box"][rows].astype(np.float32)) / size
        present = noun >= 0
        shown = torch.unique(noun[present])
        absent = torch.from_numpy(np.setdiff1d(rng.choice(len(sprites.nouns), len(shown) + negatives, replace=False), shown.numpy()))
        queries = torch.cat([shown, absent])
        described = [(i, int(rng.integers(int(present[i].sum())))) for i in range(phrases)]
        texts = [name_prompt(rng, sprites.nouns[index], names) for index in queries]
        texts += [describe(rng, pool.scene(int(rows[i])).objects[k], names, rich=0.8) for i, k in described]
        ids = tokenize(texts)
        with torch.autocast("cpu", torch.bfloat16):
            features, _ = model.image_embedder(pixel_values=normalise(pool.images[rows]))
            regions = features.flatten(1, 2)  # (image, region, d)
            text = model.owlv2.text_projection(model.owlv2.text_model(input_ids=ids, attention_mask=None).pooler_output)
            predicted = model.box_predictor(regions, features).float()  # (image, region, 4) as centre and size
        regions, text = regions.float(), text.float()
        logits, embeds = model.class_predictor(regions, text[None].expand(batch, -1, -1), torch.ones(batch, len(texts)))
        predicted = box_convert(predicted, "cxcywh", "xyxy")

        around = candidate_regions(boxes, present, grid)  # (image, object, region)
        column = torch.searchsorted(shown, noun.clamp(min=0))  # of each object's name among the queries
        image, slot, region = around.nonzero(as_tuple=True)
        truth, guess = boxes[image, slot], predicted[image, region]
        box_loss = 5 * F.l1_loss(guess, truth) + 2 * generalized_box_iou_loss(guess, truth, reduction="mean")

        # The softmax over names shapes the features; temperature as CLIP's.
        embeds = F.normalize(embeds, dim=-1)
        by_name = embeds[image, region] @ F.normalize(text, dim=-1)[: len(queries)].T / 0.05
        name_loss = F.cross_entropy(by_name, column[image, slot])

        with torch.no_grad():
            quality = torch.full(around.shape, -torch.inf)
            found = logits[image, region, column[image, slot]].sigmoid()
            quality[image, slot, region] = found.log() - 3 * (guess - truth).abs().mean(-1)
            best = quality.argmax(-1)  # (image, object)
        target = torch.zeros_like(logits)
        picture = torch.arange(batch)[:, None].expand_as(noun)
        target[picture[present], best[present], column[present]] = 1
        weight = torch.ones_like(logits)
        for number, (i, k) in enumerate(described, start=len(queries)):
            weight[:, :, number] = 0  # a phrase may be true of other images; only its own image teaches
            weight[i, :, number] = 1
            target[i, best[i, k], number] = 1
        focal = (sigmoid_focal_loss(logits, target, alpha=0.5) * weight).sum() / target.sum()
        objectness = model.objectness_predictor(regions)
        objects = torch.zeros_like(objectness)
        objects[picture[present], best[present]] = 1
        objectness_loss = F.binary_cross_entropy_with_logits(objectness, objects)
        accuracy = (by_name.argmax(1) == column[image, slot]).float().mean().item()
        figures = {"names": name_loss.item(), "top1": accuracy, "boxes": box_loss.item(), "focal": focal.item()}
        return name_loss + box_loss + 2 * focal + objectness_loss, figures

    return loss
