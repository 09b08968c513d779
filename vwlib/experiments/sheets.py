"""What every word of the study draws, and finds on a test image: sheets of small pictures, for the explorer."""

import io
import itertools
from collections.abc import Sequence

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from vwlib.concepts import TASKS, concepts_of
from vwlib.experiments.base import Case, Cases, Experiment, Sources
from vwlib.experiments.displacements import radii
from vwlib.experiments.words import images_of, vectors_of
from vwlib.lab import Lab
from vwlib.models.base import TaskModel
from vwlib.settings import Profile
from vwlib.study.store import TRIALS

SIDE = 64  # px of a picture on a sheet
QUALITY = 60  # of its compression, as WebP counts
REFERENCES = ("anchor", "name")
COLUMNS = ["dataset", "trained_on", "delta", "concepts", "anchors", "sheet", "named", "boxes"]
Row = tuple[float | None, bytes, list[str], list[list[int]]]  # delta, sheet, named, boxes


def cases(profile: Profile) -> Cases:
    """For every dataset the words of each task, the anchor words, and the concepts' own names."""
    pairs = itertools.product(profile.study.datasets, (*TASKS, *REFERENCES))
    return [{"dataset": dataset, "source": source} for dataset, source in pairs]


def sheets(lab: Lab, case: Case, sources: Sources) -> pd.DataFrame:
    """What every word of the study draws and finds, for the explorer (figures 5 and 8 to 11).

    One row for each radius. `sheet` is a WebP picture of `SIDE` px squares, concepts downwards and anchors from left to
    right, all drawn from the same noise; `named` what the judge calls each square; `boxes` the likeliest box on the
    first test image of its concept (left, top, right, bottom in thousandths of the padded square image, score in
    hundredths). A diverged word has a white square. Anchor words have one row, boxed on all images; names one column.
    """
    dataset, source, study = case["dataset"], case["source"], lab.profile.study
    known = concepts_of(dataset, lab.profile.world)
    concepts = [concept.name for concept in known[: study.concepts]]
    anchors = [concept.anchor for concept in known[: study.anchors]]
    if source in TASKS:
        rows = [_sheet_of_words(lab, case, sources, delta, concepts, anchors) for delta in radii(lab.profile)]
    elif source == "anchor":
        pictures, named, boxes = _references(lab, dataset, anchors, [concepts] * len(anchors))
        rows = [(None, sheet_of([pictures]), named, boxes)]
    else:
        names = [lab.split(dataset).names[concept] for concept in concepts]
        pictures, named, boxes = _references(lab, dataset, names, [[concept] for concept in concepts])
        rows = [(None, sheet_of([[picture] for picture in pictures]), named, boxes)]
    table = pd.DataFrame(rows, columns=["delta", "sheet", "named", "boxes"]).astype({"delta": float})
    same = {"dataset": dataset, "trained_on": source}
    return table.assign(**same, concepts=[concepts] * len(table), anchors=[anchors] * len(table))[COLUMNS]


@torch.no_grad()
def _references(
    lab: Lab, dataset: str, texts: list[str], asked: Sequence[Sequence[str]]
) -> tuple[list[Image.Image], list[str], list[list[int]]]:
    """What real words draw in a learned word's place, what the judge calls that, and what they find."""

    def features_of(model: TaskModel) -> list[Tensor]:
        rows = [model.word_table()[model.vocabulary.encode(text)] for text in texts]
        return [model.encode_words(vectors[None])[0] for vectors in rows]

    return *draw(lab, dataset, features_of(lab.generator)), find(lab, dataset, features_of(lab.detector), asked)


def _sheet_of_words(
    lab: Lab, case: Case, sources: Sources, delta: float | None, concepts: list[str], anchors: list[str]
) -> Row:
    dataset, source = case["dataset"], case["source"]
    words = {(word.concept, word.anchor): word for word in sources.words(source, dataset, delta)}
    places = list(itertools.product(concepts, anchors))
    row_of = {place: row for row, place in enumerate(place for place in places if place in words)}
    vectors = vectors_of([words[place] for place in row_of])
    drawn, found = (
        lab.model(task).encode_words(lab.transfer(vectors, source, task)) for task in ("generation", "detection")
    )
    pictures, named = draw(lab, dataset, list(drawn))
    boxes = find(lab, dataset, list(found), [[concept] for concept, _ in row_of])
    at = [row_of.get(place) for place in places]
    squares = [None if row is None else pictures[row] for row in at]
    sheet = sheet_of([squares[start : start + len(anchors)] for start in range(0, len(places), len(anchors))])
    return delta, sheet, ["" if row is None else named[row] for row in at], [[] if r is None else boxes[r] for r in at]


@torch.no_grad()
def draw(lab: Lab, dataset: str, states: Sequence[Tensor]) -> tuple[list[Image.Image], list[str]]:
    """A picture for each text's hidden states (token, d), of the same noise, and the judge's concept for it."""
    model, names = lab.generator, lab.split(dataset).names
    pictures = [drawn[0] for drawn in model.generate(torch.stack(list(states)), 1)]
    chosen = model.judge.classify(pictures, list(names.values()))
    return pictures, [list(names)[place] for place in chosen.tolist()]


@torch.no_grad()
def find(lab: Lab, dataset: str, features: Sequence[Tensor], asked: Sequence[Sequence[str]]) -> list[list[int]]:
    """For each text feature (d,) the likeliest box on the first test image of each concept that it is `asked` on."""
    test = lab.features("detection", dataset, "test")
    first = {concept: int(test.indices_of(concept)[0]) for concept in lab.split(dataset).names}
    few = images_of(test, list(first.values()))
    scores = lab.detector.detect(torch.stack(list(features)), few)  # (text, image, region)
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


SHEETS = Experiment("sheets", sheets, cases, (TRIALS,))
