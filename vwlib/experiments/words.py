"""What several experiments do with trials and words."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from vwlib.concepts import TASKS, concepts_of
from vwlib.datasets import load_dataset
from vwlib.datasets.choose import test_examples
from vwlib.datasets.splits import dataset_folder, load_split
from vwlib.lab import Lab, Split
from vwlib.learn import Batch, Learned, Loss, learn_words
from vwlib.ledger.schemas import PAIR_SEPARATOR
from vwlib.ledger.summary import is_diagonal
from vwlib.miniature.world import ensure_world
from vwlib.models.base import CachedFeatures, TaskModel
from vwlib.settings import Profile
from vwlib.trials import DatasetSplit, Trial, make_trials
from vwlib.words import Word

VALIDATION_NOISE = 2000  # the first seed of the noises that validation pictures start from; none of the study's


def grid_trials(profile: Profile, dataset: str, count: int, own: bool = False) -> list[Trial]:
    """The unconstrained trials of a dataset's first `count` concepts and anchors; of `own` anchors only if asked."""
    trials = make_trials(profile.model_copy(update={"concepts": count, "anchors": count}), dataset)
    return trials if own else off_diagonal(profile, trials)


def off_diagonal(profile: Profile, trials: Sequence[Trial]) -> list[Trial]:
    """The trials whose anchor is not their concept's own."""
    own = is_diagonal(trial_rows(trials), profile.world).tolist()
    return [trial for trial, same in zip(trials, own, strict=True) if not same]


def vectors_of(words: Sequence[Word]) -> Tensor:
    """The vectors (word, vector, d) of words of one task."""
    return torch.stack([word.vectors for word in words])


def anchors_of(lab: Lab, task: str, trials: Sequence[Trial], count: int | None = None) -> Tensor:
    """Each trial's anchor word, `count` times; by default as often as a learned word has vectors: (word, vector, d)."""
    return lab.model(task).embeddings_of([trial.anchor for trial in trials], count or lab.profile.vectors)


def trial_rows(trials: Sequence[Trial], **columns: Any) -> pd.DataFrame:
    """One row a trial: dataset, concept, anchor, delta (NaN where unconstrained), and further columns."""
    rows = [(t.dataset, t.concept, t.anchor, t.delta) for t in trials]
    table = pd.DataFrame(rows, columns=["dataset", "concept", "anchor", "delta"])
    return table.astype({"delta": float}).assign(**columns)


def pairs_of(words: Sequence[Word]) -> list[tuple[int, int, Trial]]:
    """Rows of any two words of one concept, from different anchors, and a trial whose anchor names the pair."""
    return [
        (j, i, Trial(one.dataset, one.concept, f"{words[j].anchor}{PAIR_SEPARATOR}{one.anchor}"))
        for i, one in enumerate(words)
        for j in range(i)
        if one.concept == words[j].concept
    ]


def reduced(lab: Lab, test_images: int, pictures: int) -> Lab:
    """The lab with fewer test images of a concept and pictures of a word."""
    generator = lab.profile.generator.model_copy(update={"images_per_word": pictures})
    fewer = {"test_images": min(lab.profile.test_images, test_images), "generator": generator}
    few = Lab(lab.profile.model_copy(update=fewer), lab.read_split)
    few.loaded, few.maps = {task: lab.model(task) for task in TASKS if task != "generation"}, lab.maps
    return few


def with_features(lab: Lab, task: str, dataset: str, features: CachedFeatures, split: Split = "train") -> Lab:
    """The lab with other features of a dataset's training or test images."""
    other = Lab(lab.profile, lab.read_split)
    other.loaded, other.splits, other.cached = lab.loaded, lab.splits, lab.cached | {(task, dataset, split): features}
    return other


def images_of(features: CachedFeatures, rows: Sequence[int]) -> CachedFeatures:
    """The detector's or the classifier's features of some images."""
    at = torch.tensor(rows)
    tensors = {key: tensor[at.to(tensor.device)] for key, tensor in features.tensors.items()}
    return CachedFeatures([features.concepts[row] for row in rows], tensors)


def with_split(lab: Lab, split: DatasetSplit) -> Lab:
    """The lab with images of its own in the place of every dataset."""
    return with_reader(lab, lambda *_: split)


def with_reader(lab: Lab, read_split: Callable[[Profile, str], DatasetSplit]) -> Lab:
    """The lab with other images, which `read_split` reads."""
    other = Lab(lab.profile, read_split)
    other.loaded, other.maps = lab.loaded, lab.maps
    return other


def validation_split(profile: Profile, dataset: str) -> DatasetSplit:
    """`load_split` with other images in the place of the test images, on which settings are chosen.

    The miniature draws them. Of photographs they are the training images from which no word is learned; where there are
    none, as in DreamBooth, the test images themselves.
    """
    split = load_split(profile, dataset)
    if profile.world == "miniature" and dataset not in profile.data:
        folder, concepts = ensure_world(validation=True) / dataset, concepts_of(dataset, profile.world)
        images = load_dataset(dataset, folder, concepts, "test")
    else:
        learned = {example.path for example in split.train}
        every = load_dataset(dataset, dataset_folder(profile, dataset), concepts_of(dataset, profile.world), "train")
        images = [example for example in every if example.path not in learned] or list(split.test)
    return replace(split, test=test_examples(images, split.names, profile.test_images))


def values_of(lab: Lab, task: str, vectors: Tensor, trials: Sequence[Trial]) -> np.ndarray:
    """Table 1's metric of words (word, vector, d) on their own concept: (word,)."""
    return np.array([score.value for score in lab.evaluate(task, vectors, trials)])


def values_of_texts(lab: Lab, task: str, vectors: Sequence[Tensor], trials: Sequence[Trial]) -> np.ndarray:
    """The same (word,) of words (vector, d) that differ in how many vectors they have."""
    values = np.empty(len(trials))
    for length in {len(word) for word in vectors}:
        rows = [row for row, word in enumerate(vectors) if len(word) == length]
        values[rows] = values_of(lab, task, torch.stack([vectors[row] for row in rows]), [trials[row] for row in rows])
    return values


def learn_on_loss(
    model: TaskModel, loss: Loss, start: Tensor, radius: Tensor, batches: Iterable[Batch], steps: int, rate: float
) -> Learned:
    """Words learned from `start` (word, vector, d) on an experiment's own loss, within balls of `radius` (word,)."""
    parts = partial(model.memory.map_in_batches, "learning on an experiment's loss")
    device = model.device
    return learn_words(loss, start.to(device), radius.to(device), batches, steps=steps, lr=rate, parts=parts)
