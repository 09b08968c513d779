"""The detector: an OWL-v2 of transformers."""

import gc
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from faster_coco_eval import COCO, COCOeval_faster
from PIL import Image
from torch import Tensor
from torchvision.ops import box_convert, box_iou
from transformers import CLIPTokenizer, Owlv2ForObjectDetection, Owlv2ImageProcessor

from vwlib.examples import Example, Pictures
from vwlib.models.base import CachedFeatures, Score, TaskModel, clip_vocabulary, draw
from vwlib.models.loading import TRANSFORMERS, check_folder, load_whole, seen_words, strict_loading
from vwlib.models.memory import find_device
from vwlib.settings import Profile
from vwlib.splice import Vocabulary

#: COCO's overlaps from which an object counts as found, and recalls at which precision is read, in torchmetrics' way.
OVERLAPS, RECALLS = torch.linspace(0.5, 0.95, 10).tolist(), torch.linspace(0, 1, 101).tolist()
#: Pictures longer than this many times the model's own side are scaled down first. The processor pads to a square and
#: blurs with a kernel that grows with the picture; for a phone's photograph that takes minutes and gigabytes.
LARGEST = 4
#: Pixels, at the model's own size, of the images that go through it at once on a CPU.
AT_ONCE = 2**22


class Detector(TaskModel):
    """Finds objects by the cosine between the features of an image's regions and a text's."""

    task = "detection"
    files = TRANSFORMERS

    def __init__(
        self, model: Owlv2ForObjectDetection, processor: Owlv2ImageProcessor, vocabulary: Vocabulary, prompt: str
    ) -> None:
        self.model, self.processor, self.side = model, processor, max(processor.size["height"], processor.size["width"])
        text, side = model.owlv2.text_model, model.config.vision_config.image_size
        super().__init__(vocabulary, prompt, [model], text.embeddings, text.encoder.layers, side)

    @classmethod
    def load(cls, profile: Profile) -> Self:
        """Load the detector that the profile names from a local folder in transformers' layout."""
        folder = check_folder(profile.detector, *cls.files)
        model = load_whole(Owlv2ForObjectDetection, folder)
        with strict_loading(folder, "tokenizer and image preprocessing"):
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            processor = Owlv2ImageProcessor.from_pretrained(folder, local_files_only=True)
        vocabulary = clip_vocabulary(tokenizer, model.config.text_config.max_position_embeddings, seen_words(folder))
        return cls(model.to(find_device(profile.device)), processor, vocabulary, profile.prompt)

    def encode_ids(self, ids: Tensor) -> Tensor:
        """Normalised text features (prompt, d)."""
        pooled = self.model.owlv2.text_model(input_ids=ids, attention_mask=None).pooler_output
        return F.normalize(self.model.owlv2.text_projection(pooled), dim=-1)

    def preprocess(self, image: Image.Image) -> Tensor:
        """The pixels (channel, y, x) that the model reads of a picture, padded to a square.

        One at a time: the processor takes a picture's memory several times over.
        """
        scale = LARGEST * self.side / max(image.size)
        if scale < 1:
            width, height = (max(1, round(side * scale)) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return self.processor(images=[image], return_tensors="pt").pixel_values[0]

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image]) -> dict[str, Tensor]:
        """What the model knows of every region of images, with axes (image, region, ...), on the CPU.

        `region`: normalised class feature (d); `shift`, `scale`: of the class logits; `box`: (left, top, right, bottom)
        as shares of the padded square image; `objectness`: logit. `side` (image,) is an image's longer side in px.
        """
        found: dict[str, Tensor] = {}  # filled batch by batch, since a concatenation takes twice the memory
        head = self.model.class_head

        def work(batch: slice) -> None:
            pixels, sides = zip(*((self.preprocess(image), max(image.size)) for image in images[batch]), strict=True)
            maps, _ = self.model.image_embedder(pixel_values=torch.stack(pixels).to(self.device))
            regions = maps.flatten(1, 2)
            encoded = {
                "region": F.normalize(head.dense0(regions), dim=-1),
                "shift": head.logit_shift(regions)[..., 0],
                "scale": head.elu(head.logit_scale(regions))[..., 0] + 1,
                "box": box_convert(self.model.box_predictor(regions, maps), "cxcywh", "xyxy"),
                "objectness": self.model.objectness_predictor(regions),
                "side": torch.tensor(sides, dtype=torch.float32),
            }
            for key, tensor in encoded.items():
                found.setdefault(key, torch.empty(len(images), *tensor.shape[1:]))[batch] = tensor.cpu()

        most = 32 if self.device.type == "cuda" else max(1, min(32, AT_ONCE // self.side**2))
        self.memory.map_in_batches("images", len(images), work, most)
        return found

    def cache_features(self, examples: Sequence[Example]) -> CachedFeatures:
        """Region features of every image, and the true boxes of all that it shows.

        `truth` (image, box, 4) is in shares of the padded square image, padded with zeros. `kind` (image, box) is the
        concept of each box, an index into the concepts in the order of their first image; -1 for padding and for things
        that no image is labelled with. `ignored` (image, box) marks boxes that are neither right nor wrong. `positive`
        (image, region) marks the regions whose predicted box overlaps an object of the image's own concept best.
        `push` (image, d) is the mean region feature under `region_weights`.
        """
        tensors = self.encode_images(Pictures(examples))
        sides = tensors.pop("side").tolist()
        order = _numbered([example.label for example in examples])
        most = max(1, *(len(example.boxes) + len(example.ignored_boxes) for example in examples))
        truth, kind = torch.zeros(len(examples), most, 4), torch.full((len(examples), most), -1)
        ignored = torch.zeros(len(examples), most, dtype=torch.bool)
        positive = torch.zeros(tensors["region"].shape[:2], dtype=torch.bool)
        for row, example in enumerate(examples):
            names = [*example.names, *example.ignored_names]
            boxes = torch.as_tensor(np.concatenate([example.boxes, example.ignored_boxes]), dtype=torch.float32)
            truth[row, : len(names)] = boxes / sides[row]
            kind[row, : len(names)] = torch.tensor([order.get(name, -1) for name in names], dtype=torch.long)
            ignored[row, len(example.names) : len(names)] = True
            targets = truth[row][(kind[row] == order[example.label]) & ~ignored[row]]
            if len(targets):
                positive[row, box_iou(targets, tensors["box"][row]).argmax(1)] = True
        # The cosine with a text is linear in a region's feature, so the weighted mean over regions is taken once.
        tensors["push"] = torch.einsum("ir,ird->id", region_weights(positive), tensors["region"])
        tensors |= self.memory.place({key: tensors[key] for key in ("region", "shift", "scale", "push")})
        tensors |= {"truth": truth, "kind": kind, "ignored": ignored, "positive": positive}
        return CachedFeatures([example.label for example in examples], tensors)

    def draw_batch(
        self, concepts: Sequence[str], features: CachedFeatures, streams: Sequence[torch.Generator], batch: int
    ) -> dict[str, Tensor]:
        """Table 1, detection: E w · region feature, `push` (word, d), w = -1 for the object's regions and else +1."""
        push = [
            features.tensors["push"][draw(features.indices_of(concept), batch, stream)].mean(0)
            for concept, stream in zip(concepts, streams, strict=True)
        ]
        return {"push": torch.stack(push)}

    def losses(self, vectors: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Table 1, detection: E w · cos(region feature, text feature), linear in the unit vector of a region."""
        return (batch["push"].to(self.device) * self.encode_words(vectors)).sum(-1)

    @torch.no_grad()
    def detect(self, texts: Tensor, features: CachedFeatures) -> Tensor:
        """Scores in [0, 1] of every region for every text feature: (text, d) -> (text, image, region), on the CPU."""

        def work(batch: slice) -> Tensor:
            part = {key: features.tensors[key][batch].to(self.device) for key in ("region", "shift", "scale")}
            cosine = torch.einsum("ird,td->tir", part["region"], texts.to(self.device))
            return ((cosine + part["shift"]) * part["scale"]).sigmoid().cpu()

        kind = f"images searched for {len(texts)} texts"
        return torch.cat(self.memory.map_in_batches(kind, len(features.concepts), work), dim=1)

    def evaluate(
        self, vectors: Tensor, concepts: Sequence[str], names: dict[str, str], features: CachedFeatures, seed: int = 0
    ) -> list[Score]:
        """COCO's mean average precision (IoU 0.50:0.95) with the learned word as the only query for its class.

        All images count, those of other concepts as background. `ap50` is the average precision at IoU 0.50.
        """
        scores = self.detect(self.encode_words(vectors), features)
        return [self.average_precision(score, c, features) for score, c in zip(scores, concepts, strict=True)]

    def average_precision(self, score: Tensor, concept: str, features: CachedFeatures, most: int = 100) -> Score:
        """Average precision of one query over all images; `score` is (image, region).

        It equals torchmetrics' to the last digit, in a third of the time: COCO's evaluation gets all boxes at once, and
        is asked for objects of all sizes together. Raises ValueError for a concept of which no image shows anything.
        """
        cached = features.tensors
        asked = cached["kind"] == _numbered(features.concepts).get(concept, -2)  # -2: no box is of the concept
        if not (asked & ~cached["ignored"]).any():
            raise ValueError(f"No image shows a true box of '{concept}', so it has no average precision.")
        best, images = score.topk(min(most, score.shape[1]), dim=1), torch.arange(len(score))
        boxes = cached["box"][images[:, None], best.indices]  # (image, box, 4)
        rows = images.repeat_interleave(boxes.shape[1])
        ignored = cached["ignored"][asked].int()
        enabled = gc.isenabled()
        gc.disable()  # with a word's tens of thousands of boxes, collections would take most of the time
        try:
            truth = _coco(len(score), asked.nonzero()[:, 0], cached["truth"][asked], iscrowd=ignored)
            found = _coco(len(score), rows, boxes.flatten(0, 1), score=best.values.flatten())
            coco = COCOeval_faster(truth, found, iouType="bbox")
            coco.params.iouThrs, coco.params.recThrs = np.array(OVERLAPS), np.array(RECALLS)
            coco.params.areaRng, coco.params.areaRngLbl = coco.params.areaRng[:1], coco.params.areaRngLbl[:1]
            coco.params.maxDets = [most]
            coco.evaluate()
        finally:
            if enabled:
                gc.enable()
        precision = coco.eval["precision"][:, :, 0, 0, 0]  # (threshold, recall) of the only class, size and limit
        ap50 = float(np.float32(precision[0].mean()))
        return Score("mAP", float(np.float32(precision.mean())), len(score), {"ap50": ap50})


def _coco(images: int, rows: Tensor, boxes: Tensor, **columns: Tensor) -> COCO:
    """Boxes (box, 4), in the images of `rows` (box,), for COCO's tools; `columns` are further fields (box,)."""
    further = zip(*(column.tolist() for column in columns.values()), strict=True)
    sized = box_convert(boxes, "xyxy", "xywh").tolist()
    annotations = [
        {"id": number, "image_id": row, "category_id": 0, "bbox": box, "area": box[2] * box[3]}
        | dict(zip(columns, more, strict=True))
        for number, (row, box, more) in enumerate(zip(rows.tolist(), sized, further, strict=True), 1)
    ]
    content = {"images": [{"id": row} for row in range(images)], "categories": [{"id": 0}], "annotations": annotations}
    return COCO(content)


def region_weights(positive: Tensor) -> Tensor:
    """Table 1's w, from bool (image, region): the object's few regions and the many others each count as a mean."""
    positive = positive.float()
    return (1 - positive) / (1 - positive).sum(1, keepdim=True) - positive / positive.sum(1, keepdim=True).clamp(min=1)


def _numbered(labels: Sequence[str]) -> dict[str, int]:
    """A number for each concept, in the order of its first image."""
    return {concept: number for number, concept in enumerate(dict.fromkeys(labels))}
