"""Do two models, or two trainings of one, learn the same offset for a concept? Section 1, control K2."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch.nn.functional as F
from torch import Tensor

from vwlib.concepts import TASKS
from vwlib.experiments.base import Experiment, ExperimentCase, Sources
from vwlib.experiments.words import trial_rows, vectors_of
from vwlib.lab import Lab
from vwlib.ledger.schemas import TableSchema
from vwlib.models.loading import OPEN_CLIP, resolve
from vwlib.settings import Profile
from vwlib.study.digest import digest_folder, trials_of
from vwlib.study.tables import TRIALS
from vwlib.transfer import fit_transfer
from vwlib.trials import Trial


def twin_of(profile: Profile) -> Profile | None:
    """Control K2: the profile with a classifier that was trained from another seed; None if there is none.

    Its folder has the classifier's name and `_twin`, and stands in the same folder (`vwlib pretrain classifier_twin`).
    """
    source = f"{profile.classifier.source.rstrip('/')}_twin"
    if not all((resolve(source) / file).exists() for file in OPEN_CLIP):
        return None
    return profile.model_copy(update={"classifier": profile.classifier.model_copy(update={"source": source})})


def twin_weights(profile: Profile) -> str | None:
    """A digest of the classifier's other training (control K2); None where there is none."""
    twin = twin_of(profile)
    return digest_folder(twin.classifier.source) if twin else None


def cases(profile: Profile) -> list[dict[str, str]]:
    """The datasets, between models and, where there is a second training of the classifier, between seeds."""
    kinds = ("models", "seeds") if twin_of(profile) else ("models",)
    return [{"kind": kind, "dataset": dataset} for kind in kinds for dataset in profile.study.datasets]


def compute(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """Cosine of what two models learned for a concept from one anchor, the offset of one mapped into the other.

    `kind` "models": two of the three tasks' models, all of the study's unconstrained words. "seeds": the classifier and
    its other training (control K2), whose words are learned here.
    """
    if case["kind"] == "seeds":
        return _between_trainings(lab, case["dataset"], sources)
    words = {task: {(w.concept, w.anchor): w for w in sources.words(task, case["dataset"])} for task in TASKS}
    tables = []
    for source, target in itertools.permutations(TASKS, 2):
        both = [key for key in words[source] if key in words[target]]
        one, other = [words[source][key] for key in both], [words[target][key] for key in both]
        trials = trials_of(one)
        mapped = lab.transfer(offsets_of(lab, source, trials, vectors_of(one)), source, target)
        cosines = cosines_of(mapped, offsets_of(lab, target, trials, vectors_of(other)))
        tables.append(trial_rows(trials, kind="models", source=source, target=target, cosine=cosines))
    return pd.concat(tables, ignore_index=True)


def _between_trainings(lab: Lab, dataset: str, sources: Sources) -> pd.DataFrame:
    task, profile = "classification", twin_of(lab.profile)
    assert profile is not None
    twin, words = Lab(profile, lab.read_split), sources.grid(task, dataset)
    trials = trials_of(words)
    own = offsets_of(lab, task, trials, vectors_of(words))
    others = offsets_of(twin, task, trials, twin.learn(task, trials, progress=False).vectors)
    models = lab.model(task), twin.model(task)
    tables = []
    for name, transfer, one, other in (
        ("to the twin", fit_transfer(*models), own, others),
        ("from the twin", fit_transfer(*models[::-1]), others, own),
    ):
        cosines = cosines_of(transfer(one), other)
        tables.append(trial_rows(trials, kind="seeds", source=task, target=name, cosine=cosines))
    return pd.concat(tables, ignore_index=True)


def offsets_of(lab: Lab, task: str, trials: Sequence[Trial], vectors: Tensor) -> Tensor:
    """What was added to the anchor, (word, vector, d)."""
    return vectors - lab.model(task).embeddings_of([trial.anchor for trial in trials])


def cosines_of(one: Tensor, other: Tensor) -> np.ndarray:
    """Cosines (word,) of words' vectors (word, vector, d), each word's taken as one long vector."""
    return F.cosine_similarity(one.flatten(1), other.flatten(1)).double().numpy()


OFFSETS = Experiment(
    "offsets",
    "Cosine of what two models, or two trainings of one, learned for a concept (section 1, control K2).",
    compute,
    cases,
    needs=(TRIALS,),
    shared=("grid",),
    schema=TableSchema(
        "cosines of one concept's offsets in two models",
        ("dataset", "concept", "anchor", "kind", "cosine"),
        made_by="`vwlib experiments` makes it; `vwlib pretrain classifier_twin` trains the classifier again",
    ),
    inputs=twin_weights,
)
