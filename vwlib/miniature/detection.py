"""Training of the OWL-v2 detector from boxes: which object is where, and what a text must say to find it."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_convert, box_iou, generalized_box_iou_loss, sigmoid_focal_loss
from transformers import Owlv2ForObjectDetection
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from vwlib.miniature.architectures import tokenize
from vwlib.miniature.captions import describe, name_prompt
from vwlib.miniature.pool import Pool
from vwlib.miniature.training import Loss, to_tensor, training_autocast


def normalise(images: np.ndarray) -> Tensor:
    """uint8 images (image, y, x, 3) to OWL-v2's pixel values (image, 3, y, x), by CLIP's mean and deviation."""
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    return (to_tensor(images, 0.0, 1.0) - mean) / deviation


def candidate_regions(boxes: Tensor, present: Tensor, grid: int) -> Tensor:
    """Which regions lie in the central half of each object: bool (image, object, region).

    `boxes` (image, object, 4) are (left, top, right, bottom) as shares of the image, `present` (image, object). The
    region nearest the centre always counts. A region in two objects belongs to the smaller one.
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


@dataclass(frozen=True)
class Batch:
    """Some scenes and the queries to them."""

    pixels: Tensor  # (image, 3, y, x)
    boxes: Tensor  # (image, object, 4): left, top, right, bottom as shares of the image
    present: Tensor  # bool (image, object)
    column: Tensor  # (image, object): the query that names the object
    texts: list[str]  # the queries: names of shown nouns, then of absent ones, then a phrase for each of `described`
    named: int  # the number of names
    described: list[tuple[int, int]]  # (image, object)


def draw_batch(pool: Pool, rng: np.random.Generator, *, images: int, negatives: int, phrases: int) -> Batch:
    """Random scenes and queries: the nouns that they show, up to `negatives` others, `phrases` for single objects."""
    nouns, names = pool.sprites.nouns, pool.sprites.names
    rows = rng.integers(len(pool), size=images)
    noun = torch.from_numpy(pool.arrays["noun"][rows].astype(np.int64))  # (image, object)
    boxes = torch.from_numpy(pool.arrays["box"][rows].astype(np.float32)) / pool.images.shape[1]
    present = noun >= 0
    shown = torch.unique(noun[present])
    absent = np.setdiff1d(rng.choice(len(nouns), len(shown) + negatives, replace=False), shown.numpy())
    queried = [*shown.tolist(), *absent.tolist()]
    described = [(i, int(rng.integers(int(present[i].sum())))) for i in range(phrases)]
    texts = [name_prompt(rng, nouns[index], names) for index in queried]
    texts += [describe(rng, pool.scene(int(rows[i])).objects[k], names, rich=0.8) for i, k in described]
    column = torch.searchsorted(shown, noun.clamp(min=0))
    return Batch(normalise(pool.images[rows]), boxes, present, column, texts, len(queried), described)


def best_regions(
    around: Tensor, logits: Tensor, predicted: Tensor, batch: Batch, *, refined: bool = False
) -> tuple[Tensor, Tensor]:
    """The region that finds each object best so far, and the IoU of its box with the object's, each (image, object).

    `around` (image, object, region) are the candidates; `logits` are (image, region, query), `predicted` (image,
    region, 4). In refinement a good box counts for more.
    """
    image, slot, region = around.nonzero(as_tuple=True)
    guess, truth = predicted[image, region], batch.boxes[image, slot]
    found = logits[image, region, batch.column[image, slot]].sigmoid().log()
    fit = box_iou(guess, truth).diagonal()
    overlap, quality = torch.zeros(around.shape), torch.full(around.shape, -torch.inf)
    overlap[around] = fit
    quality[around] = found + (4 * fit.clamp(min=1e-3).log() if refined else -3 * (guess - truth).abs().mean(-1))
    best = quality.argmax(-1)
    return best, overlap.gather(-1, best[..., None])[..., 0]


def focal_loss(logits: Tensor, best: Tensor, batch: Batch, overlap: Tensor | None = None) -> Tensor:
    """Sigmoid focal loss of every region against every query; `logits` (image, region, query), `best` (image, object).

    With `overlap` (image, object), the best regions' IoU, their score is trained to equal it (quality focal loss,
    arXiv 2006.04388), so that regions are ranked by the fit of their boxes.
    """
    target, weight = torch.zeros_like(logits), torch.ones_like(logits)
    wanted = torch.ones(best.shape) if overlap is None else overlap
    image, slot = batch.present.nonzero(as_tuple=True)
    target[image, best[image, slot], batch.column[image, slot]] = wanted[image, slot]
    for number, (i, k) in enumerate(batch.described, start=batch.named):
        weight[:, :, number] = 0  # a phrase may be true of other images; only its own image teaches
        weight[i, :, number] = 1
        target[i, best[i, k], number] = wanted[i, k]
    positives = len(batch.described) + int(batch.present.sum())
    if overlap is None:
        loss = sigmoid_focal_loss(logits, target, alpha=0.5)
    else:
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        loss = 0.5 * (logits.sigmoid() - target).pow(2) * entropy
    return (loss * weight).sum() / positives


def objectness_loss(logits: Tensor, best: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy of the objectness `logits` (image, region): one region of each object is an object."""
    target = torch.zeros_like(logits)
    image, slot = batch.present.nonzero(as_tuple=True)
    target[image, best[image, slot]] = 1
    return F.binary_cross_entropy_with_logits(logits, target)


def detection_loss(
    pool: Pool,
    model: Owlv2ForObjectDetection,
    *,
    refined: bool = False,
    images: int = 32,
    negatives: int = 64,
    phrases: int = 32,
) -> Loss:
    """OWL-v2's losses: focal over text queries, L1 and generalised IoU for boxes, cross-entropy for objectness.

    The focal loss has one positive region per object, so that no object is found twice: of those around its centre the
    one that finds it best so far. All of them learn its box and, through a softmax over names, its features. In
    refinement regions learn to score as well as their boxes fit, and boxes weigh twice as much.
    """

    def loss(rng: np.random.Generator, _: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        batch = draw_batch(pool, rng, images=images, negatives=negatives, phrases=phrases)
        with training_autocast():
            features, _ = model.image_embedder(pixel_values=batch.pixels)
            regions = features.flatten(1, 2)  # (image, region, d)
            pooled = model.owlv2.text_model(input_ids=tokenize(batch.texts), attention_mask=None).pooler_output
            text = model.owlv2.text_projection(pooled)
            predicted = model.box_predictor(regions, features).float()  # (image, region, 4) as centre and size
        regions, text = regions.float(), text.float()
        queries = text[None].expand(images, -1, -1)
        logits, embeds = model.class_predictor(regions, queries, torch.ones(images, len(text)))
        predicted = box_convert(predicted, "cxcywh", "xyxy")

        around = candidate_regions(batch.boxes, batch.present, model.num_patches_height)
        image, slot, region = around.nonzero(as_tuple=True)
        truth, guess = batch.boxes[image, slot], predicted[image, region]
        boxes = 5 * F.l1_loss(guess, truth) + 2 * generalized_box_iou_loss(guess, truth, reduction="mean")
        # The softmax over names shapes the features; temperature as CLIP's.
        by_name = F.normalize(embeds, dim=-1)[image, region] @ F.normalize(text, dim=-1)[: batch.named].T / 0.05
        names = F.cross_entropy(by_name, batch.column[image, slot])
        with torch.no_grad():
            best, overlap = best_regions(around, logits, predicted, batch, refined=refined)
        focal = focal_loss(logits, best, batch, overlap if refined else None)
        objects = objectness_loss(model.objectness_predictor(regions), best, batch)
        accuracy = (by_name.argmax(1) == batch.column[image, slot]).float().mean()
        fit = overlap[batch.present].mean()
        figures = {"names": names, "top1": accuracy, "boxes": boxes, "iou": fit, "focal": focal}
        return names + (2 if refined else 1) * boxes + 2 * focal + objects, figures

    return loss
