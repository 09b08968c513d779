"""Learning one word the way most scripts do it today: the yardstick for `vwlib.learn.learn_words`.

One word at a time; the images go through preprocessing and the frozen towers at every step; the whole word table is the
parameter, and all rows but the word's are put back after each step, as the textual inversion examples do. It draws the
same batches from the same stream, so on the same machine it must come to the same word, but for the last digits of its
sums.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from vwlib.examples import Example
from vwlib.models.base import TaskModel, draw
from vwlib.models.classification import Classifier
from vwlib.models.detection import Detector
from vwlib.models.generation import Generator
from vwlib.trials import Trial

#: Ids for the new word's vectors: CLIP's entries for control characters, which no prompt holds.
NEW_IDS = (188, 189, 190, 191)

StepLoss = Callable[[torch.Generator], Tensor]


def learn_one_word(
    model: TaskModel, examples: Sequence[Example], trial: Trial, *, steps: int, rate: float, batch: int = 8
) -> Tensor:
    """The word's vectors (vector, d) after `steps`; `examples` are the training images of all concepts."""
    model = copy.deepcopy(model)
    table = model.table.weight
    ids = prompt_ids(model)
    with torch.no_grad():
        table[list(NEW_IDS)] = table[model.vocabulary.token_of(trial.anchor)].clone()
    original = table.detach().clone()
    others = torch.ones(len(table), dtype=torch.bool)
    others[list(NEW_IDS)] = False
    table.requires_grad_(True)
    optimiser = torch.optim.AdamW([table], lr=rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    stream = trial.stream()
    losses: dict[type, Callable[..., StepLoss]] = {
        Classifier: classification_loss,
        Detector: detection_loss,
        Generator: generation_loss,
    }
    loss_of = losses[type(model)](model, examples, trial.concept, ids, batch)
    for _ in range(steps):
        loss = loss_of(stream)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            table[others] = original[others]
    return table.detach()[list(NEW_IDS)].clone()


def prompt_ids(model: TaskModel) -> Tensor:
    """The prompt's ids (1, token) with the new word's in place of the placeholders."""
    ids = model.vocabulary.prompt(model.prompt, len(NEW_IDS))[None].clone()
    ids[ids == NEW_IDS[0]] = torch.tensor(NEW_IDS)
    return ids


def _rows(examples: Sequence[Example], concept: str) -> tuple[Tensor, Tensor]:
    own = torch.tensor([row for row, example in enumerate(examples) if example.label == concept])
    return own, torch.tensor([row for row, example in enumerate(examples) if example.label != concept])


def classification_loss(
    model: Classifier, examples: Sequence[Example], concept: str, ids: Tensor, batch: int
) -> StepLoss:
    """Table 1, classification, with the image tower in the loop."""
    own, others = _rows(examples, concept)
    images = [example.image() for example in examples]

    def loss(stream: torch.Generator) -> Tensor:
        rows = torch.cat([draw(own, batch // 2, stream), draw(others, batch - batch // 2, stream)])
        pixels = torch.stack([model.preprocess(images[row]) for row in rows])
        cosine = model.model.encode_image(pixels, normalize=True) @ model.model.encode_text(ids, normalize=True)[0]
        return cosine[batch // 2 :].mean() - cosine[: batch // 2].mean()

    return loss


def detection_loss(model: Detector, examples: Sequence[Example], concept: str, ids: Tensor, batch: int) -> StepLoss:
    """Table 1, detection, with the image tower and the assignment of regions in the loop."""
    own, _ = _rows(examples, concept)
    images = [example.image() for example in examples]

    def loss(stream: torch.Generator) -> Tensor:
        rows = draw(own, batch, stream).tolist()
        pixels = model.processor(images=[images[row] for row in rows], return_tensors="pt").pixel_values
        grid, _ = model.model.image_embedder(pixel_values=pixels)
        regions = grid.flatten(1, 2)
        boxes = box_convert(model.model.box_predictor(regions, grid), "cxcywh", "xyxy")
        text = model.model.owlv2.text_projection(
            model.model.owlv2.text_model(input_ids=ids, attention_mask=None).pooler_output
        )
        seen = F.normalize(model.model.class_head.dense0(regions), dim=-1)
        cosine = seen @ F.normalize(text, dim=-1)[0]  # (image, region)
        losses = []
        for row, found, similar in zip(rows, boxes, cosine, strict=True):
            true = torch.as_tensor(examples[row].boxes_of(concept)) / max(images[row].size)
            positive = torch.zeros(len(found), dtype=torch.bool)
            positive[box_iou(true, found).argmax(1)] = True
            losses.append(similar[~positive].mean() - similar[positive].mean())
        return torch.stack(losses).mean()

    return loss


def generation_loss(model: Generator, examples: Sequence[Example], concept: str, ids: Tensor, batch: int) -> StepLoss:
    """Table 1, generation, with the autoencoder in the loop."""
    own, _ = _rows(examples, concept)
    side = model.settings.image_size
    images = [example.image().resize((side, side), Image.Resampling.BICUBIC) for example in examples]
    pipeline = model.pipeline

    def loss(stream: torch.Generator) -> Tensor:
        rows = draw(own, batch, stream)
        pixels = torch.stack(
            [torch.from_numpy(np.array(images[row])).permute(2, 0, 1).float() / 127.5 - 1 for row in rows]
        )
        latents = pipeline.vae.encode(pixels).latent_dist.mean * pipeline.vae.config.scaling_factor
        noise = torch.randn(batch, *latents.shape[1:], generator=stream)
        times = torch.randint(model.noising.config.num_train_timesteps, (batch,), generator=stream)
        states = pipeline.text_encoder(input_ids=ids).last_hidden_state.expand(batch, -1, -1)
        with model.autocast():
            output = pipeline.unet(model.noising.add_noise(latents, noise, times), times, states).sample
        return F.mse_loss(output.float(), model.target(latents, noise, times))

    return loss
