"""The detector: an OWL-v2 of transformers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchmetrics.detection import MeanAveragePrecision
from torchvision.ops import box_convert, box_iou
from transformers import CLIPTokenizer, Owlv2ForObjectDetection, Owlv2ImageProcessor

from vwlib.datasets import Example
from vwlib.models.base import Frozen, Score, TextMixin, draw
from vwlib.models.loading import check_folder, seen_words, strict_loading
from vwlib.splice import Vocabulary

if TYPE_CHECKING:
    from vwlib.profiles import ModelSettings


class Detector(TextMixin):
    """Finds objects by the cosine between the features of an image's regions and a text's."""

    task = "detection"

    def __init__(self, model: Owlv2ForObjectDetection, processor: Owlv2ImageProcessor, vocabulary: Vocabulary, prompt: str) -> None:
        self.model, self.processor, self.vocabulary, self.prompt = model.eval().requires_grad_(False), processor, vocabulary, prompt

    @classmethod
    def load(cls, settings: ModelSettings, prompt: str) -> Detector:
        """Load from a local folder in transformers' layout.

        Raises FileNotFoundError for missing weights and ValueError for weights of another shape.
        """
        folder = check_folder(settings.source, "config.json", "model.safetensors")
        with strict_loading(folder):
            model = Owlv2ForObjectDetection.from_pretrained(folder, dtype=torch.float32, local_files_only=True, use_safetensors=True)
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        processor = Owlv2ImageProcessor.from_pretrained(folder, local_files_only=True)
        return cls(model, processor, clip_vocabulary(tokenizer, model.config.text_config.max_position_embeddings, seen_words(folder)), prompt)

    @property
    def text_owner(self) -> nn.Module:
        """The module of the text encoder whose `token_embedding` is the word table."""
        return self.model.owlv2.text_model.embeddings

    def encode_ids(self, ids: Tensor) -> Tensor:
        """Normalised text features (prompt, d)."""
        pooled = self.model.owlv2.text_model(input_ids=ids, attention_mask=None).pooler_output
        return F.normalize(self.model.owlv2.text_projection(pooled), dim=-1)

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image]) -> dict[str, Tensor]:
        """What the image side knows of every region, with axes (image, region, ...).

        `region`: normalised class feature (d); `shift`, `scale`: of the class logits; `box`: (left, top, right, bottom) as
        shares of the padded square image; `objectness`: logit.
        """
        parts = []
        for start in range(0, len(images), 32):
            pixels = self.processor(images=list(images[start : start + 32]), return_tensors="pt").pixel_values
            features, _ = self.model.image_embedder(pixel_values=pixels)
            regions = features.flatten(1, 2)
            head = self.model.class_head
            parts.append(
                {
                    "region": F.normalize(head.dense0(regions), dim=-1),
                    "shift": head.logit_shift(regions)[..., 0],
                    "scale": head.elu(head.logit_scale(regions))[..., 0] + 1,
                    "box": box_convert(self.model.box_predictor(regions, features), "cxcywh", "xyxy"),
                    "objectness": self.model.objectness_predictor(regions),
                }
            )
        return {key: torch.cat([part[key] for part in parts]).clone() for key in parts[0]}

    def prepare(self, examples: Sequence[Example]) -> Frozen:
        """Region features and boxes of every image, and the true boxes of its own concept.

        `truth` (image, box, 4), padded with zeros, in shares of the padded square image; `objects` (image,) counts them;
        `positive` (image, region) marks the regions whose predicted box overlaps one of those objects best.
        """
        images = [example.image() for example in examples]
        tensors = self.encode_images(images)
        own = []
        for example, image in zip(examples, images, strict=True):
            rows = [row for row, name in enumerate(example.names) if name == example.label]
            own.append(torch.as_tensor(example.boxes[rows], dtype=torch.float32) / max(image.size))
        tensors["objects"] = torch.tensor([len(boxes) for boxes in own])
        tensors["truth"] = torch.zeros(len(own), int(tensors["objects"].max().clamp(min=1)), 4)
        tensors["positive"] = torch.zeros(tensors["region"].shape[:2], dtype=torch.bool)
        for row, boxes in enumerate(own):
            tensors["truth"][row, : len(boxes)] = boxes
            if len(boxes):
                tensors["positive"][row, box_iou(boxes, tensors["box"][row]).argmax(1)] = True
        return Frozen([example.label for example in examples], tensors)

    def losses(self, vectors: Tensor, concepts: Sequence[str], frozen: Frozen, streams: Sequence[torch.Generator], batch: int) -> Tensor:
        """Table 1, detection: E w · cos(region feature, text feature), w = -1 for the regions of the object and +1 for all others.

        The few regions of the object and the many others are weighed as two means, image by image.
        """
        features = self.encode_words(vectors)  # (word, d)
        losses = []
        for feature, concept, stream in zip(features, concepts, streams, strict=True):
            rows = draw(frozen.rows_of(concept), batch, stream)
            positive = frozen.tensors["positive"][rows].float()  # (image, region)
            weight = (1 - positive) / (1 - positive).sum(1, keepdim=True) - positive / positive.sum(1, keepdim=True).clamp(min=1)
            pull = torch.einsum("ir,ird->d", weight, frozen.tensors["region"][rows]) / batch  # linear in the features, as the cosine is
            losses.append(pull @ feature)
        return torch.stack(losses)

    @torch.no_grad()
    def detect(self, features: Tensor, frozen: Frozen) -> Tensor:
        """Scores in [0, 1] of every region for every text feature: (text, d) -> (text, image, region)."""
        cosine = torch.einsum("ird,td->tir", frozen.tensors["region"], features)
        return ((cosine + frozen.tensors["shift"]) * frozen.tensors["scale"]).sigmoid()

    def evaluate(self, vectors: Tensor, concepts: Sequence[str], names: dict[str, str], frozen: Frozen, seed: int = 0) -> list[Score]:
        """COCO's mean average precision (IoU 0.50:0.95) with the learned word as the only query for its class.

        The images are the concept's own and those of the other concepts, in which each detection is a false one.
        `ap50` is the average precision at IoU 0.50.
        """
        scores = self.detect(self.encode_words(vectors), frozen)
        return [self.average_precision(score, concept, frozen) for score, concept in zip(scores, concepts, strict=True)]

    def average_precision(self, score: Tensor, concept: str, frozen: Frozen, most: int = 100) -> Score:
        """Average precision of one query over all prepared images; `score` is (image, region)."""
        metric = MeanAveragePrecision(backend="faster_coco_eval")
        own = [name == concept for name in frozen.concepts]
        best = score.topk(min(most, score.shape[1]), dim=1)
        label = torch.zeros(best.indices.shape[1], dtype=torch.int)
        for row in range(len(own)):
            count = int(frozen.tensors["objects"][row]) if own[row] else 0
            truth = frozen.tensors["truth"][row, :count]
            found = {"boxes": frozen.tensors["box"][row, best.indices[row]], "scores": best.values[row], "labels": label}
            metric.update([found], [{"boxes": truth, "labels": torch.zeros(count, dtype=torch.int)}])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = metric.compute()
        if result["map"] < 0:
            raise ValueError(f"There is no true box of '{concept}' among the prepared images, so it has no average precision.")
        return Score("mAP", float(result["map"]), len(own), {"ap50": float(result["map_50"])})


def clip_vocabulary(tokenizer: CLIPTokenizer, context: int, seen: frozenset[str] | None) -> Vocabulary:
    """A transformers CLIP tokenizer as a `Vocabulary`."""

    def encode(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    return Vocabulary(tokenizer.get_vocab(), encode, tokenizer.bos_token_id, tokenizer.eos_token_id, context, seen)
