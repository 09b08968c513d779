"""What every word of the study draws, and finds on a test image: sheets of small pictures, for the explorer."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from vwlib.concepts import concepts_of
from vwlib.experiments.base import Case, Sources, uses, vectors_of
from vwlib.experiments.geometry import every_delta
from vwlib.models import TASKS, Frozen, load_detector, load_generator, load_model
from vwlib.models.base import TaskModel
from vwlib.settings import Profile
from vwlib.study.compat import carry, load_material, prepared

SIDE = 64  # px of a picture on a sheet
QUALITY = 60  # of its compression, as WebP counts
REFERENCES = ("anchor", "name")
COLUMNS = ["dataset", "trained_on", "delta", "concepts", "anchors", "sheet", "named", "boxes"]


def cases(profile: Profile) -> list[dict[str, str]]:
    """For every dataset the words of each task, the anchor words, and the concepts' own names."""
    return [
        {"dataset": dataset, "source": source} for dataset in profile.study.datasets for source in (*TASKS, *REFERENCES)
    ]


@uses()
def sheets(profile: Profile, case: Case, sources: Sources) -> pd.DataFrame:
    """Figures 5 and 8 to 11, for all words: what each draws in the generator and finds in the detector, mapped where it
    was learned elsewhere.

    One row for each radius. `sheet` is a WebP picture of `SIDE` px squares, concepts downwards and anchors from left to
    right, all drawn from the same noise; `named` what the judge calls each square, `boxes` the likeliest box on the
    first test image of the square's concept, as left, top, right, bottom in thousandths of the padded square image, and
    its score in hundredths. A word that diverged has a white square, no name and no box. The sheet of anchor words has
    one row of squares, with boxes on the image of every concept; that of names has one column.
    """
    dataset, source = case["dataset"], case["source"]
    known = concepts_of(dataset, profile.world)
    concepts = [concept.name for concept in known[: profile.study.concepts]]
    anchors = [concept.anchor for concept in known[: profile.study.anchors]]
    rows: list[tuple[float | None, bytes, list[str], list[list[int]]]] = []
    if source in REFERENCES:
        texts = (
            anchors if source == "anchor" else [load_material(profile, dataset).names[concept] for concept in concepts]
        )
        pictures, named = draw(profile, dataset, [features_of(load_generator(profile), text) for text in texts])
        asked = [concepts] * len(anchors) if source == "anchor" else [[concept] for concept in concepts]
        boxes = find(profile, dataset, [features_of(load_detector(profile), text) for text in texts], asked)
        rows.append(
            (None, sheet_of([pictures] if source == "anchor" else [[picture] for picture in pictures]), named, boxes)
        )
    for delta in every_delta(profile) if source in TASKS else ():
        words = {(word.concept, word.anchor): word for word in sources.words(source, dataset, delta)}
        places = [(concept, anchor) for concept in concepts for anchor in anchors]
        there = [place for place in places if place in words]
        vectors = vectors_of([words[place] for place in there])
        drawn, found = (
            load_model(task, profile).encode_words(carry(profile, vectors, source, task))
            for task in ("generation", "detection")
        )
        pictures, named = draw(profile, dataset, list(drawn))
        boxes = find(profile, dataset, list(found), [[concept] for concept, _ in there])
        row_of = {place: row for row, place in enumerate(there)}
        grid = [
            [pictures[row_of[concept, anchor]] if (concept, anchor) in row_of else None for anchor in anchors]
            for concept in concepts
        ]
        named = [named[row_of[place]] if place in row_of else "" for place in places]
        boxes = [boxes[row_of[place]] if place in row_of else [] for place in places]
        rows.append((delta, sheet_of(grid), named, boxes))
    table = pd.DataFrame(rows, columns=["delta", "sheet", "named", "boxes"]).astype({"delta": float})
    same = {"dataset": dataset, "trained_on": source}
    return table.assign(**same, concepts=[concepts] * len(table), anchors=[anchors] * len(table))[COLUMNS]


def features_of(model: TaskModel, text: str) -> Tensor:
    """What a model makes of a real word in the learned words' place of the prompt."""
    with torch.no_grad():
        return model.encode_words(model.word_table()[model.vocabulary.encode(text)][None])[0]


@torch.no_grad()
def draw(profile: Profile, dataset: str, states: Sequence[Tensor]) -> tuple[list[Image.Image], list[str]]:
    """One picture for each text's hidden states (token, d), all from the same noise, and the concept that the judge
    takes it for.
    """
    model, names = load_generator(profile), load_material(profile, dataset).names
    pictures = [drawn[0] for drawn in model.generate(torch.stack(list(states)), 1)]
    chosen = model.judge.classify(pictures, list(names.values()))
    return pictures, [list(names)[place] for place in chosen.tolist()]


@torch.no_grad()
def find(profile: Profile, dataset: str, features: Sequence[Tensor], asked: Sequence[Sequence[str]]) -> list[list[int]]:
    """For each text feature (d,) the likeliest box on the first test image of each concept that it is `asked` on, one
    after the other.
    """
    model, test = load_detector(profile), prepared("detection", profile, dataset, "test")
    first = {concept: int(test.rows_of(concept)[0]) for concept in load_material(profile, dataset).names}
    rows = torch.tensor(list(first.values()))
    few = Frozen(
        list(first),
        {key: test.tensors[key][rows.to(test.tensors[key].device)] for key in ("region", "shift", "scale", "box")},
    )
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
