"""The detector: an OWL-v2 of transformers."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from faster_coco_eval import COCO, COCOeval_faster
from PIL import Image
from torch import Tensor, nn
from torchvision.ops import box_convert, box_iou
from transformers import CLIPTokenizer, Owlv2ForObjectDetection, Owlv2ImageProcessor

from vwlib.examples import Example
from vwlib.models.base import Frozen, Score, TextMixin, draw
from vwlib.models.loading import TEXT_AND_IMAGE, check_folder, load_whole, seen_words, strict_loading
from vwlib.splice import Vocabulary

if TYPE_CHECKING:
    from vwlib.settings import ModelSettings

#: Overlaps from which on an object counts as found, and shares of found objects at which precision is read: COCO's, in
#: the digits of torchmetrics.
OVERLAPS, RECALLS = torch.linspace(0.5, 0.95, 10).tolist(), torch.linspace(0, 1, 101).tolist()
#: How many times longer than the model's own side a picture may be before it is scaled down: the processor pads every
#: picture to a square and blurs that with a kernel that grows with it, which takes minutes and gigabytes for a
#: photograph of a phone.
LARGEST = 4
#: How many px the pictures have, as the model reads them, that go through it at once on a processor: there nobody says
#: when memory runs out.
AT_ONCE = 2**22
#: Pictures whose pixels are kept for a second look: a picture without a box is looked at for one before it is learned
#: from.
KEPT = 32


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection meanwhile: a word has tens of thousands of boxes, and Python would look through all that
    the libraries hold again and again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Detector(TextMixin):
    """Finds objects by the cosine between the features of an image's regions and a text's."""

    task = "detection"
    pools = True
    blocks = "model.owlv2.text_model.encoder.layers"

    def __init__(
        self, model: Owlv2ForObjectDetection, processor: Owlv2ImageProcessor, vocabulary: Vocabulary, prompt: str
    ) -> None:
        self.model, self.processor, self.vocabulary, self.prompt = (
            model.eval().requires_grad_(False),
            processor,
            vocabulary,
            prompt,
        )
        self._kept: dict[tuple[Path, int, int], tuple[Tensor, tuple[int, int]]] = {}

    @classmethod
    def load(cls, settings: ModelSettings, prompt: str, device: torch.device | str = "cpu") -> Detector:
        """Load from a local folder in transformers' layout onto a device.

        Raises FileNotFoundError for missing weights and ValueError for weights of another shape.
        """
        folder = check_folder(settings, *TEXT_AND_IMAGE)
        model = load_whole(Owlv2ForObjectDetection, folder)
        with strict_loading(folder, "tokenizer and image preprocessing"):
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            processor = Owlv2ImageProcessor.from_pretrained(folder, local_files_only=True)
        vocabulary = clip_vocabulary(tokenizer, model.config.text_config.max_position_embeddings, seen_words(folder))
        return cls(model.to(device), processor, vocabulary, prompt)

    @property
    def text_owner(self) -> nn.Module:
        """The module of the text encoder whose `token_embedding` is the word table."""
        return self.model.owlv2.text_model.embeddings

    def encode_ids(self, ids: Tensor) -> Tensor:
        """Normalised text features (prompt, d)."""
        pooled = self.model.owlv2.text_model(input_ids=ids, attention_mask=None).pooler_output
        return F.normalize(self.model.owlv2.text_projection(pooled), dim=-1)

    @property
    def side(self) -> int:
        """The longer side, in px, of a picture as the model reads it."""
        return max(self.processor.size["height"], self.processor.size["width"])

    def pixels(self, image: Image.Image) -> Tensor:
        """What the image side reads of a picture (channel, y, x), which is padded to a square.

        A picture up to `LARGEST` times the model's side goes into the processor as it is, a larger one scaled down to
        that. One at a time: the processor takes a picture's memory several times over, and gives the same for each as
        for all.
        """
        scale = LARGEST * self.side / max(image.size)
        if scale < 1:
            width, height = (max(1, round(side * scale)) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return self.processor(images=[image], return_tensors="pt").pixel_values[0]

    def look_at(self, example: Example, keep: bool = False) -> tuple[Tensor, tuple[int, int]]:
        """The pixels of an example's picture, and its size (width, height); with `keep` also for the next time, which
        takes them.
        """
        about = example.path.stat() if example.path.exists() else None
        key = (example.path, about.st_mtime_ns, about.st_size) if about else (example.path, 0, 0)
        found = self._kept.pop(key, None)
        if found is None:
            image = example.image()
            found = self.pixels(image), image.size
        if keep:
            self._kept[key] = found
            while len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        return found

    def encode_images(self, images: Sequence[Image.Image]) -> dict[str, Tensor]:
        """What the image side knows of every region, with axes (image, region, ...), on the CPU.

        `region`: normalised class feature (d); `shift`, `scale`: of the class logits; `box`: (left, top, right, bottom)
        as shares of the padded square image; `objectness`: logit.
        """
        return self._encode(len(images), lambda row: self.pixels(images[row]))

    @torch.inference_mode()
    def _encode(self, count: int, pixels_of: Callable[[int], Tensor]) -> dict[str, Tensor]:
        """`encode_images` of `count` pictures, each of which `pixels_of` gives by its number."""
        rows: dict[
            str, Tensor
        ] = {}  # written part by part: all parts and their concatenation would take twice the memory

        def work(part: slice) -> None:
            pixels = torch.stack([pixels_of(row) for row in range(part.start, part.stop)])
            features, _ = self.model.image_embedder(pixel_values=pixels.to(self.device))
            regions = features.flatten(1, 2)
            head = self.model.class_head
            found = {
                "region": F.normalize(head.dense0(regions), dim=-1),
                "shift": head.logit_shift(regions)[..., 0],
                "scale": head.elu(head.logit_scale(regions))[..., 0] + 1,
                "box": box_convert(self.model.box_predictor(regions, features), "cxcywh", "xyxy"),
                "objectness": self.model.objectness_predictor(regions),
            }
            for key, tensor in found.items():
                if key not in rows:
                    rows[key] = torch.empty(count, *tensor.shape[1:])
                rows[key][part] = tensor.cpu()

        self.room.parts(
            "images", count, work, most=32 if self.device.type == "cuda" else max(1, min(32, AT_ONCE // self.side**2))
        )
        return rows

    def prepare(self, examples: Sequence[Example]) -> Frozen:
        """Region features of every image and the true boxes of all that it shows.

        `truth` (image, box, 4), padded with zeros, in shares of the padded square image; `kind` (image, box) says which
        concept each shows, as an index into the concepts in the order of their first image, -1 for padding and for
        things that no prepared image is labelled with; `ignored` (image, box) marks those that are neither right nor
        wrong; `positive` (image, region) marks the regions whose predicted box overlaps an object of the image's own
        concept best.
        """
        sizes: dict[int, tuple[int, int]] = {}

        def pixels_of(row: int) -> Tensor:
            pixels, sizes[row] = self.look_at(examples[row])
            return pixels

        tensors = self._encode(len(examples), pixels_of)
        order = _kinds([example.label for example in examples])
        most = max(1, *(len(example.boxes) + len(example.ignored_boxes) for example in examples))
        tensors["truth"] = torch.zeros(len(examples), most, 4)
        tensors["kind"] = torch.full((len(examples), most), -1)
        tensors["ignored"] = torch.zeros(len(examples), most, dtype=torch.bool)
        tensors["positive"] = torch.zeros(tensors["region"].shape[:2], dtype=torch.bool)
        for row, example in enumerate(examples):
            names = [*example.names, *example.ignored_names]
            boxes = torch.as_tensor(np.concatenate([example.boxes, example.ignored_boxes]), dtype=torch.float32)
            tensors["truth"][row, : len(names)] = boxes / max(sizes[row])
            tensors["kind"][row, : len(names)] = torch.tensor([order.get(name, -1) for name in names], dtype=torch.long)
            tensors["ignored"][row, len(example.names) : len(names)] = True
            own = tensors["truth"][row][(tensors["kind"][row] == order[example.label]) & ~tensors["ignored"][row]]
            if len(own):
                tensors["positive"][row, box_iou(own, tensors["box"][row]).argmax(1)] = True
        # The cosine with a text is linear in a region's feature, so the weighed mean over regions is taken here, once.
        tensors["push"] = torch.einsum("ir,ird->id", region_weights(tensors["positive"]), tensors["region"])
        # All else is read image by image, on the CPU.
        tensors |= self.room.keep({key: tensors[key] for key in ("region", "shift", "scale", "push")})
        return Frozen([example.label for example in examples], tensors)

    def losses(
        self, vectors: Tensor, concepts: Sequence[str], frozen: Frozen, streams: Sequence[torch.Generator], batch: int
    ) -> Tensor:
        """Table 1, detection: E w · cos(region feature, text feature), w = -1 for the regions of the object and +1 for
        all others.
        """
        push = torch.stack(
            [
                frozen.tensors["push"][draw(frozen.rows_of(concept), batch, stream)].mean(0)
                for concept, stream in zip(concepts, streams, strict=True)
            ]
        )
        return (push.to(self.device) * self.encode_words(vectors)).sum(-1)

    @torch.no_grad()
    def detect(self, features: Tensor, frozen: Frozen) -> Tensor:
        """Scores in [0, 1] of every region for every text feature: (text, d) -> (text, image, region), on the CPU."""

        def work(part: slice) -> Tensor:
            region, shift, scale = (frozen.tensors[key][part].to(self.device) for key in ("region", "shift", "scale"))
            cosine = torch.einsum("ird,td->tir", region, features.to(self.device))
            return ((cosine + shift) * scale).sigmoid().cpu()

        return torch.cat(self.room.parts(f"images asked for {len(features)} texts", len(frozen.concepts), work), dim=1)

    @torch.no_grad()
    def best_box(self, example: Example, name: str) -> list[float]:
        """The box (left, top, right, bottom) in px, clipped to the picture, that is likeliest to show what is called
        `name`.
        """
        pixels, (width, height) = self.look_at(example, keep=True)
        frozen = Frozen([example.label], self._encode(1, lambda _: pixels))
        best = self.detect(self.encode_names([name]), frozen)[0, 0].argmax()
        left, top, right, bottom = (frozen.tensors["box"][0, best] * max(width, height)).tolist()
        return [
            round(min(max(edge, 0), side), 1)
            for edge, side in ((left, width), (top, height), (right, width), (bottom, height))
        ]

    def evaluate(
        self, vectors: Tensor, concepts: Sequence[str], names: dict[str, str], frozen: Frozen, seed: int = 0
    ) -> list[Score]:
        """COCO's mean average precision (IoU 0.50:0.95) with the learned word as the only query for its class.

        The images are the concept's own and those of the other concepts, where it is found rightly only in the
        background. `ap50` is the average precision at IoU 0.50.
        """
        scores = self.detect(self.encode_words(vectors), frozen)
        return [self.average_precision(score, concept, frozen) for score, concept in zip(scores, concepts, strict=True)]

    @uncollected()
    def average_precision(self, score: Tensor, concept: str, frozen: Frozen, most: int = 100) -> Score:
        """Average precision of one query over all prepared images; `score` is (image, region).

        It is what torchmetrics gives to the last digit, in a third of the time: all boxes are handed to COCO's
        evaluation at once, which is asked for objects of all sizes together only. Raises ValueError for a concept of
        which no prepared image shows anything.
        """
        asked = frozen.tensors["kind"] == _kinds(frozen.concepts).get(concept, -2)  # -2: nothing is of it
        if not (asked & ~frozen.tensors["ignored"]).any():
            raise ValueError(
                f"There is no true box of '{concept}' among the prepared images, so it has no average precision."
            )
        best = score.topk(min(most, score.shape[1]), dim=1)
        images = torch.arange(len(score))
        truth = _annotated(
            len(score),
            asked.nonzero()[:, 0],
            frozen.tensors["truth"][asked],
            iscrowd=frozen.tensors["ignored"][asked].int(),
        )
        boxes = frozen.tensors["box"][images[:, None], best.indices]  # (image, box, 4)
        found = _annotated(
            len(score), images.repeat_interleave(boxes.shape[1]), boxes.flatten(0, 1), score=best.values.flatten()
        )
        coco = COCOeval_faster(truth, found, iouType="bbox")
        coco.params.iouThrs, coco.params.recThrs = np.array(OVERLAPS), np.array(RECALLS)
        coco.params.areaRng, coco.params.areaRngLbl, coco.params.maxDets = (
            coco.params.areaRng[:1],
            coco.params.areaRngLbl[:1],
            [most],
        )  # objects of any size
        coco.evaluate()
        precision = coco.eval["precision"][:, :, 0, 0, 0]  # (threshold, recall), of the only kind, size and limit
        return Score(
            "mAP", float(np.float32(precision.mean())), len(score), {"ap50": float(np.float32(precision[0].mean()))}
        )


def _annotated(images: int, rows: Tensor, boxes: Tensor, **columns: Tensor) -> COCO:
    """Boxes (box, 4), in the images of `rows` (box,), as COCO's tools read them; `columns` are further fields (box,)."""
    further = zip(*(column.tolist() for column in columns.values()), strict=True)
    annotations = [
        {
            "id": number,
            "image_id": row,
            "category_id": 0,
            "bbox": box,
            "area": box[2] * box[3],
            **dict(zip(columns, more, strict=True)),
        }
        for number, (row, box, more) in enumerate(
            zip(rows.tolist(), box_convert(boxes, "xyxy", "xywh").tolist(), further, strict=True), 1
        )
    ]
    return COCO(
        {"images": [{"id": row} for row in range(images)], "categories": [{"id": 0}], "annotations": annotations}
    )


def region_weights(positive: Tensor) -> Tensor:
    """Table 1's w, from bool (image, region): the few regions of the object and the many others are weighed as two
    means.
    """
    positive = positive.float()
    return (1 - positive) / (1 - positive).sum(1, keepdim=True) - positive / positive.sum(1, keepdim=True).clamp(min=1)


def _kinds(labels: Sequence[str]) -> dict[str, int]:
    """A number for each concept, in the order of its first image."""
    return {concept: number for number, concept in enumerate(dict.fromkeys(labels))}


def clip_vocabulary(tokenizer: CLIPTokenizer, context: int, seen: frozenset[str] | None) -> Vocabulary:
    """A transformers CLIP tokenizer as a `Vocabulary`, padded with the tokenizer's own padding.

    Raises ValueError for a tokenizer without CLIP's whole words, which is what transformers makes up where it finds no
    files, and for one whose end of text is not the largest id, where the text encoders look for it.
    """
    entries, end = tokenizer.get_vocab(), tokenizer.eos_token_id
    if "a</w>" not in entries or end != max(entries.values()):
        raise ValueError(
            f"The tokenizer in {tokenizer.name_or_path} is none of CLIP's, with 'a</w>' and the end of text as its last entry; "
            "put the model's own vocab.json and merges.txt there, or its tokenizer.json."
        )

    def encode(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    return Vocabulary(entries, encode, tokenizer.bos_token_id, end, context, seen, tokenizer.pad_token_id)
