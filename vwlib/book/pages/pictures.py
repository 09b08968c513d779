"""Pictures, boxes and scores of images for `vwlib.book.figures`: live, or cut out of the study's stored sheets."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torchvision.ops import box_iou, nms

from vwlib.book.pages.experiments import tables_of
from vwlib.concepts import TASKS
from vwlib.examples import Example
from vwlib.experiments.sheets import SIDE
from vwlib.lab import Grid, Lab
from vwlib.ledger.summary import is_diagonal
from vwlib.models.classification import Classifier
from vwlib.models.detection import Detector
from vwlib.study.read import TrialWords
from vwlib.trials import Trial

Pictures = list[list[Image.Image | None]]
Named = tuple[Pictures, list[list[str]]]
SIDES = ["left", "top", "right", "bottom"]


def found_boxes(model: Detector, examples: Sequence[Example], features: Tensor, overlap: float = 0.5) -> pd.DataFrame:
    """What the detector finds for text features (row, image, d), and the true boxes, as `draw_detections` takes them.
    An image has as many found boxes as true ones: the best that overlap each other by at most `overlap`; in px.
    """
    cached = model.cache_features(examples)
    scores = model.detect(features.flatten(0, 1), cached)
    scores = scores.unflatten(0, features.shape[:2])  # (row, query, image, region)
    found = []
    for column, example in enumerate(examples):
        truth = example.boxes_of(example.label)
        side = max(example.image().size)
        for row in range(len(features)):
            score, boxes = scores[row, column, column], cached.tensors["box"][column]
            best = nms(boxes, score, overlap)[: max(1, len(truth))]
            found += [(row, column, *box.tolist(), float("nan")) for box in truth]
            found += [(row, column, *(boxes[region] * side).tolist(), float(score[region])) for region in best]
    return pd.DataFrame(found, columns=["row", "image", *SIDES, "score"])


@torch.no_grad()
def name_scores(model: Classifier, examples: Sequence[Example], names: dict[str, str]) -> pd.DataFrame:
    """Cosine of each image with each name in `NAME_PROMPT`: the table that `score_bars` takes."""
    text = model.encode_names(names.values())
    cosine = model.encode_images([example.image() for example in examples]) @ text.T
    rows = [
        (image, names[concept], float(cosine[image, column]), concept == example.label)
        for image, example in enumerate(examples)
        for column, concept in enumerate(names)
    ]
    return pd.DataFrame(rows, columns=["image", "name", "score", "is_true"])


@torch.no_grad()
def word_scores(
    model: Classifier, examples: Sequence[Example], concept: str, names: dict[str, str], words: dict[str, Tensor]
) -> pd.DataFrame:
    """Mean cosine of a concept's images with one word and with the other concepts' names, as `score_panels` takes it.
    `words` gives for each panel the text feature (1, d) of the word that stands in the place of the concept's name.
    """
    mean = model.encode_images([example.image() for example in examples if example.label == concept]).mean(0)
    others = [name for other, name in names.items() if other != concept]
    rivals = list(zip(others, (model.encode_names(others) @ mean).tolist(), strict=True))
    rows = []
    for panel, feature in words.items():
        rows.append((panel, "(word)", float(feature[0] @ mean), True))
        rows += [(panel, name, score, False) for name, score in rivals]
    return pd.DataFrame(rows, columns=["panel", "name", "score", "is_true"])


def first_of(examples: Sequence[Example], concepts: Sequence[str], count: int = 1) -> list[Example]:
    """The first `count` examples of each concept, in the order of `concepts`."""
    return [example for concept in concepts for example in [e for e in examples if e.label == concept][:count]]


def one_per_concept(grid: Grid, world: str) -> list[int]:
    """For each concept the first of the grid's trials that starts from another word than the concept's own."""
    rows = pd.DataFrame([{"dataset": t.dataset, "concept": t.concept, "anchor": t.anchor} for t in grid.trials])
    return rows[~is_diagonal(rows, world)].drop_duplicates("concept").index.tolist()


def named(judge: Classifier, pictures: Sequence[Image.Image], names: dict[str, str]) -> list[str]:
    """The name that the judge gives to each picture, choosing among the names of a dataset's concepts."""
    choices = list(names.values())
    return [choices[index] for index in judge.classify(pictures, choices)]


@torch.no_grad()
def encode_texts(lab: Lab, task: str, trial: Trial, learned: Sequence[Tensor]) -> Tensor:
    """A task's text features (text, ...) of the trial's anchor word, learned words (1, vector, d), and name."""
    model, prompt = lab.model(task), lab.profile.prompt
    name = lab.split(trial.dataset).names[trial.concept]
    plain = model.encode_prompts([prompt.format(trial.anchor), prompt.format(name)])
    return torch.cat([plain[:1], *map(model.encode_words, learned), plain[1:]])


def encode_trial(lab: Lab, task: str, words: TrialWords) -> Tensor:
    """`encode_texts` of each task's word, mapped where it was learned for another one."""
    mapped = [lab.transfer(learned[None], source, task) for source, learned in words.vectors.items()]
    return encode_texts(lab, task, words.trial, mapped)


def draw_trials(lab: Lab, chosen: Sequence[TrialWords], targets: bool = False) -> Named:
    """Figure 4: for each trial a picture for each text of `encode_trial`, all from the same noise, and its judged name.
    With `targets` each row begins with a training image of the concept, which the judge is not shown.
    """
    pictures: Pictures = []
    verdicts = []
    for words in chosen:
        trial, split = words.trial, lab.split(words.trial.dataset)
        drawn = [row[0] for row in lab.generator.generate(encode_trial(lab, "generation", words), 1, trial.seed)]
        target = [example.image() for example in first_of(split.train, [trial.concept])] if targets else []
        pictures.append([*target, *drawn])
        verdicts.append([*("" for _ in target), *named(lab.generator.judge, drawn, split.names)])
    return pictures, verdicts


def detect_trials(lab: Lab, chosen: Sequence[TrialWords]) -> tuple[list[Image.Image], pd.DataFrame]:
    """Figure 4 for the detector: a test image of each trial's concept, and `found_boxes` there for each text."""
    examples = [_test_image(lab, words) for words in chosen]
    features = torch.stack([encode_trial(lab, "detection", words) for words in chosen], dim=1)
    return [example.image() for example in examples], found_boxes(lab.detector, examples, features)


def _test_image(lab: Lab, words: TrialWords) -> Example:
    return first_of(lab.split(words.trial.dataset).test, [words.trial.concept])[0]


@torch.no_grad()
def draw_grid(lab: Lab, grid: Sequence[Sequence[TrialWords]], seed: int = 0) -> Named:
    """Figures 5 and 8 to 11: a picture, from the same noise, and its judged name for each word; none if it diverged."""
    pictures: Pictures = [[None] * len(row) for row in grid]
    verdicts = [[""] * len(row) for row in grid]
    places = [(y, x) for y, row in enumerate(grid) for x, words in enumerate(row) if "generation" in words.vectors]
    states = lab.generator.encode_words(torch.stack([grid[y][x].vectors["generation"] for y, x in places]))
    for (y, x), (drawn,) in zip(places, lab.generator.generate(states, 1, seed), strict=True):
        pictures[y][x] = drawn
        (verdicts[y][x],) = named(lab.generator.judge, [drawn], lab.split(grid[y][x].trial.dataset).names)
    return pictures, verdicts


def named_rightly(lab: Lab, grid: Sequence[Sequence[TrialWords]], verdicts: Sequence[Sequence[str]]) -> tuple[int, int]:
    """How many pictures of `draw_grid` the judge gives their concept's name, and of how many."""
    trials = [words.trial for row in grid for words in row]
    pairs = [pair for pair in zip(trials, [name for row in verdicts for name in row], strict=True) if pair[1]]
    return sum(verdict == lab.split(trial.dataset).names[trial.concept] for trial, verdict in pairs), len(pairs)


@torch.no_grad()
def detect_grid(lab: Lab, grid: Sequence[Sequence[TrialWords]]) -> tuple[Pictures, pd.DataFrame]:
    """Figures 5 and 8 to 11 for the detector: a test image of each row's concept, and what every word finds on it. The
    table is that of `found_boxes`; `image` is the column. A word that diverged has no image.
    """
    images: Pictures = []
    boxes = []
    for y, row in enumerate(grid):
        example = _test_image(lab, row[0])
        learned = {x: words.vectors["detection"] for x, words in enumerate(row) if "detection" in words.vectors}
        images.append([example.image() if x in learned else None for x in range(len(row))])
        if learned:
            features = lab.detector.encode_words(torch.stack(list(learned.values())))
            found = found_boxes(lab.detector, [example], features[:, None])
            boxes.append(found.assign(row=y, image=found["row"].map(dict(enumerate(learned)))))
    return images, pd.concat(boxes, ignore_index=True)


def hits(boxes: pd.DataFrame, overlap: float = 0.5) -> tuple[int, int]:
    """On how many images of `found_boxes` the best box overlaps a true one by `overlap` (IoU), and of how many."""
    right = []
    for _, image in boxes.groupby(["row", "image"]):
        best = image.sort_values("score", ascending=False)[SIDES].head(1).to_numpy()
        truth = image.loc[image["score"].isna(), SIDES].to_numpy()
        right.append(bool((box_iou(torch.tensor(best), torch.tensor(truth)) >= overlap).any()))
    return sum(right), len(right)


@dataclass(frozen=True, eq=False)
class Sheets:
    """The pictures in the table `sheets` (`vwlib.experiments.sheets`), by dataset, source and radius. A source is a
    task, "anchor" or "name". Pictures of anchors do not depend on the concept, those of names not on the anchor.
    """

    lab: Lab
    table: pd.DataFrame

    @cached_property
    def _rows(self) -> dict[tuple[str, str, float | None], tuple[Image.Image, pd.Series]]:
        rows = {}
        for _, row in self.table.iterrows():
            key = row["dataset"], row["trained_on"], None if pd.isna(row["delta"]) else row["delta"]
            rows[key] = Image.open(io.BytesIO(row["sheet"])).convert("RGB"), row
        return rows

    def picture(
        self, source: str, dataset: str, concept: str, anchor: str, delta: float | None = None
    ) -> tuple[Image.Image | None, str]:
        """The picture of one word and the name that the judge gives it; (None, "") for a word that diverged. Raises
        KeyError for an unknown dataset, source or radius, ValueError for an unknown concept or anchor.
        """
        sheet, lists = self._rows[dataset, source, delta]
        row = 0 if source == "anchor" else list(lists["concepts"]).index(concept)
        column = 0 if source == "name" else list(lists["anchors"]).index(anchor)
        name = lists["named"][row * (sheet.width // SIDE) + column]
        if not name:
            return None, ""
        picture = sheet.crop((column * SIDE, row * SIDE, (column + 1) * SIDE, (row + 1) * SIDE))
        return picture, self.lab.split(dataset).names[name]


def sheets_of(lab: Lab) -> Sheets:
    """The stored sheets of a profile; empty where `vwlib experiments sheets` has not made them yet."""
    try:
        return Sheets(lab, tables_of(lab.profile, ["sheets"])["sheets"])
    except FileNotFoundError:
        return Sheets(lab, pd.DataFrame())


def stored_grid(sheets: Sheets, grid: Sequence[Sequence[TrialWords]], seed: int = 0) -> Named:
    """Figures 5 and 8 to 11: what `draw_grid` gives, from the sheets; drawn without sheets and for a seed but 0."""
    if seed or sheets.table.empty:
        return draw_grid(sheets.lab, grid, seed)
    trials = [[words.trial for words in row] for row in grid]
    rows = [[sheets.picture("generation", t.dataset, t.concept, t.anchor, t.delta) for t in row] for row in trials]
    return _parted(rows)


def stored_trials(sheets: Sheets, chosen: Sequence[TrialWords]) -> Named:
    """Figure 4: what `draw_trials` gives with targets, from the sheets; drawn where there are none."""
    if sheets.table.empty:
        return draw_trials(sheets.lab, chosen, targets=True)
    rows = []
    for trial in (words.trial for words in chosen):
        texts = {"anchor": None, **dict.fromkeys(TASKS, trial.delta), "name": None}
        place = (trial.dataset, trial.concept, trial.anchor)
        (example,) = first_of(sheets.lab.split(trial.dataset).train, [trial.concept])
        rows.append([(example.image(), ""), *(sheets.picture(text, *place, delta) for text, delta in texts.items())])
    return _parted(rows)


def _parted(rows: Sequence[Sequence[tuple[Image.Image | None, str]]]) -> Named:
    return [[picture for picture, _ in row] for row in rows], [[name for _, name in row] for row in rows]
