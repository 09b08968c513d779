"""What every word of the study draws, and finds on a test image: sheets of small pictures, for the explorer."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from vwlib.concepts import TASKS, concepts_of
from vwlib.experiments.base import Experiment, ExperimentCase, Sources
from vwlib.experiments.displacements import radii
from vwlib.experiments.words import vectors_of
from vwlib.lab import Lab
from vwlib.models.base import CachedFeatures, TaskModel
from vwlib.settings import Profile
from vwlib.study.tables import TRIALS

SIDE = 64  # px of a picture on a sheet
QUALITY = 60  # of its compression, as WebP counts
REFERENCES = ("anchor", "name")
COLUMNS = ["dataset", "trained_on", "delta", "concepts", "anchors", "sheet", "named", "boxes"]
Row = tuple[float | None, bytes, list[str], list[list[int]]]  # delta, sheet, named, boxes


def cases(profile: Profile) -> list[dict[str, str]]:
    """For every dataset the words of each task, the anchor words, and the concepts' own names."""
    return [
        {"dataset": dataset, "source": source} for dataset in profile.study.datasets for source in (*TASKS, *REFERENCES)
    ]


def compute(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """What each word draws in the generator and finds in the detector, mapped where it was learned elsewhere.

    One row for each radius. `sheet` is a WebP picture of `SIDE` px squares, concepts downwards and anchors from left to
    right, all drawn from the same noise; `named` what the judge calls each square, `boxes` the likeliest box on the
    first test image of the square's concept, as left, top, right, bottom in thousandths of the padded square image, and
    its score in hundredths. A word that diverged has a white square, no name and no box. The sheet of anchor words has
    one row of squares, with boxes on the image of every concept; that of names has one column.
    """
    dataset, source, study = case["dataset"], case["source"], lab.profile.study
    known = concepts_of(dataset, lab.profile.world)
    concepts = [concept.name for concept in known[: study.concepts]]
    anchors = [concept.anchor for concept in known[: study.anchors]]
    rows = (
        [_sheet_of_words(lab, case, sources, delta, concepts, anchors) for delta in radii(lab.profile)]
        if source in TASKS
        else [_sheet_of_references(lab, case, concepts, anchors)]
    )
    table = pd.DataFrame(rows, columns=["delta", "sheet", "named", "boxes"]).astype({"delta": float})
    same = {"dataset": dataset, "trained_on": source}
    return table.assign(**same, concepts=[concepts] * len(table), anchors=[anchors] * len(table))[COLUMNS]


def _sheet_of_references(lab: Lab, case: ExperimentCase, concepts: list[str], anchors: list[str]) -> Row:
    dataset, is_anchor = case["dataset"], case["source"] == "anchor"
    texts = anchors if is_anchor else [lab.split(dataset).names[concept] for concept in concepts]
    asked = [concepts] * len(anchors) if is_anchor else [[concept] for concept in concepts]
    pictures, named = draw(lab, dataset, [features_of(lab.generator, text) for text in texts])
    boxes = find(lab, dataset, [features_of(lab.detector, text) for text in texts], asked)
    return None, sheet_of([pictures] if is_anchor else [[picture] for picture in pictures]), named, boxes


def _sheet_of_words(
    lab: Lab, case: ExperimentCase, sources: Sources, delta: float | None, concepts: list[str], anchors: list[str]
) -> Row:
    dataset, source = case["dataset"], case["source"]
    words = {(word.concept, word.anchor): word for word in sources.words(source, dataset, delta)}
    places = [(concept, anchor) for concept in concepts for anchor in anchors]
    row_of = {place: row for row, place in enumerate(place for place in places if place in words)}
    vectors = vectors_of([words[place] for place in row_of])
    drawn, found = (
        lab.model(task).encode_words(lab.transfer(vectors, source, task)) for task in ("generation", "detection")
    )
    pictures, named = draw(lab, dataset, list(drawn))
    boxes = find(lab, dataset, list(found), [[concept] for concept, _ in row_of])
    rows = [[row_of.get((concept, anchor)) for anchor in anchors] for concept in concepts]
    sheet = sheet_of([[None if row is None else pictures[row] for row in line] for line in rows])
    named = [named[row_of[place]] if place in row_of else "" for place in places]
    return delta, sheet, named, [boxes[row_of[place]] if place in row_of else [] for place in places]


def features_of(model: TaskModel, text: str) -> Tensor:
    """What a model makes of a real word in the learned words' place of the prompt."""
    with torch.no_grad():
        return model.encode_words(model.word_table()[model.vocabulary.encode(text)][None])[0]


@torch.no_grad()
def draw(lab: Lab, dataset: str, states: Sequence[Tensor]) -> tuple[list[Image.Image], list[str]]:
    """One picture for each text's hidden states (token, d), all from the same noise, and the concept that the judge
    takes it for.
    """
    model, names = lab.generator, lab.split(dataset).names
    pictures = [drawn[0] for drawn in model.generate(torch.stack(list(states)), 1)]
    chosen = model.judge.classify(pictures, list(names.values()))
    return pictures, [list(names)[place] for place in chosen.tolist()]


@torch.no_grad()
def find(lab: Lab, dataset: str, features: Sequence[Tensor], asked: Sequence[Sequence[str]]) -> list[list[int]]:
    """For each text feature (d,) the likeliest box on the first test image of each concept that it is `asked` on, one
    after the other.
    """
    model, test = lab.detector, lab.features("detection", dataset, "test")
    first = {concept: int(test.indices_of(concept)[0]) for concept in lab.split(dataset).names}
    rows = torch.tensor(list(first.values()))
    tensors = {key: test.tensors[key] for key in ("region", "shift", "scale", "box")}
    few = CachedFeatures(list(first), {key: tensor[rows.to(tensor.device)] for key, tensor in tensors.items()})
    scores = model.detect(torch.stack(list(features)), few)  # (text, image, region)
    found = []
    for score, concepts in zip(scores, asked, strict=True):
        for place in (few.concepts.index(concept) for concept in concepts):
            best = int(score[place].argmax())
            box = few.tensors["box"][place, best].clamp(0, 1)
            found.append([*(box * 1000).round().int().tolist(), round(100 * float(score[place, best]))])
    return found


def sheet_of(pictures: Sequence[Sequence[Image.Image | None]], side: int = SIDE) -> bytes:
    """Pictures in rows as one WebP picture of squares; a missing one leaves its square white."""
    sheet = Image.new("RGB", (side * len(pictures[0]), side * len(pictures)), "white")
    for y, row in enumerate(pictures):
        for x, picture in enumerate(row):
            if picture is not None:
                small = picture.copy()
                small.thumbnail((side, side), Image.Resampling.LANCZOS)
                sheet.paste(small, (x * side, y * side))
    content = io.BytesIO()
    sheet.save(content, "WEBP", quality=QUALITY, method=6)
    return content.getvalue()


SHEETS = Experiment(
    "sheets",
    "What every word of the study draws and finds, for the explorer (figures 5 and 8 to 11).",
    compute,
    cases,
    needs=(TRIALS,),
)
