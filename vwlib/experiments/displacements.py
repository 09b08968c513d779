"""Where learned words lie: how far from their anchors (figure 5), and at the same offset in two models (section 1)."""

import itertools
from collections.abc import Iterator, Sequence

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from vwlib.concepts import TASKS
from vwlib.experiments.base import EACH, Case, Cases, Experiment, Sources, per
from vwlib.experiments.words import anchors_of, trial_rows, vectors_of
from vwlib.lab import Lab
from vwlib.learn import ball_radius
from vwlib.ledger.schemas import TRIAL, TableSchema
from vwlib.models.base import TaskModel
from vwlib.models.loading import OPEN_CLIP, resolve
from vwlib.settings import Profile
from vwlib.study.digest import digest_folder, trials_of
from vwlib.study.store import TRIALS
from vwlib.transfer import fit_transfer
from vwlib.trials import Trial


def radii(profile: Profile) -> list[float | None]:
    """Unconstrained, and every delta of the study."""
    return [None, *profile.study.deltas]


def displacements(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """How far learned words lie from their anchor, and which word is nearest (figure 5, section 6).

    `displacement_table` of all the study's words of a case; those of another `source` are mapped into the model of
    `task`.
    """
    task, source = case["task"], case.get("source", case["task"])
    for delta in radii(lab.profile):
        if words := sources.words(source, case["dataset"], delta):
            vectors = lab.transfer(vectors_of(words), source, task)
            yield displacement_table(lab.model(task), trials_of(words), vectors)


def mapped_displacements(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """The same of mapped words in the target model (section 1)."""
    for table in displacements(lab, case, sources):
        yield table.rename(columns={"task": "evaluated_on"}).assign(trained_on=case["source"])


def nearest_words(vectors: Tensor, model: TaskModel, count: int = 5) -> list[list[str]]:
    """The model's own words nearest to each vector (vector, d), nearest first."""
    words = model.vocabulary.words()
    names, ids = list(words), list(words.values())
    order = torch.cdist(vectors.float(), model.word_table()[ids]).topk(count, largest=False).indices
    return [[names[i] for i in row] for row in order]


def displacement_table(model: TaskModel, trials: Sequence[Trial], vectors: Tensor) -> pd.DataFrame:
    """The distance of each vector of each word (word, vector, d) from its anchor, and the word nearest to it.

    `distance` is in units of delta, the anchor's distance to its nearest other word.
    """
    table, known = model.word_table(), model.vocabulary.words()
    rows = []
    for trial, word in zip(trials, vectors, strict=True):
        anchor = model.vocabulary.token_of(trial.anchor)
        ids = sorted({*known.values(), anchor})
        unit = ball_radius(table[ids], ids.index(anchor), 1.0)
        for number, (vector, nearest) in enumerate(zip(word, nearest_words(word, model, 1), strict=True), 1):
            distance = float((vector - table[anchor]).norm()) / unit
            of = (model.task, trial.dataset, trial.concept, trial.anchor, trial.delta, trial.seed, number)
            rows.append((*of, distance, nearest[0], nearest[0] == trial.anchor))
    columns = ["task", "dataset", "concept", "anchor", "delta", "seed", "vector", "distance", "nearest", "is_anchor"]
    return pd.DataFrame(rows, columns=columns).astype({"delta": float})


def twin_of(profile: Profile) -> Profile | None:
    """A control: the profile with the classifier of another seed, in the folder `<its name>_twin`; None without it."""
    source = f"{profile.classifier.source.rstrip('/')}_twin"
    if not all((resolve(source) / file).exists() for file in OPEN_CLIP):
        return None
    return profile.model_copy(update={"classifier": profile.classifier.model_copy(update={"source": source})})


def twin_weights(profile: Profile) -> str | None:
    """A digest of the classifier's other training (a control); None where there is none."""
    twin = twin_of(profile)
    return digest_folder(twin.classifier.source) if twin else None


def offset_cases(profile: Profile) -> Cases:
    """The datasets, between models and, where there is a second training of the classifier, between seeds."""
    kinds = ("models", "seeds") if twin_of(profile) else ("models",)
    return [{"kind": kind, "dataset": dataset} for kind in kinds for dataset in profile.study.datasets]


def offsets(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """Cosine of what two models, or two trainings of one, learned for a concept (section 1, a control).

    `kind` "models": the study's unconstrained words of two tasks, one mapped into the other's model. "seeds": the
    classifier and its other training, whose words are learned here.
    """
    if case["kind"] == "seeds":
        yield from _between_trainings(lab, case["dataset"], sources)
        return
    words = {task: {(w.concept, w.anchor): w for w in sources.words(task, case["dataset"])} for task in TASKS}
    for source, target in itertools.permutations(TASKS, 2):
        both = [key for key in words[source] if key in words[target]]
        one, other = ([words[task][key] for key in both] for task in (source, target))
        trials = trials_of(one)
        mapped = lab.transfer(offsets_of(lab, source, trials, vectors_of(one)), source, target)
        learned = offsets_of(lab, target, trials, vectors_of(other))
        yield _cosines(trials, mapped, learned, kind="models", source=source, target=target)


def _between_trainings(lab: Lab, dataset: str, sources: Sources) -> Iterator[pd.DataFrame]:
    task, profile = "classification", twin_of(lab.profile)
    assert profile is not None
    twin, words = Lab(profile, lab.read_split), sources.grid(task, dataset)
    trials = trials_of(words)
    own = offsets_of(lab, task, trials, vectors_of(words))
    others = offsets_of(twin, task, trials, twin.learn(task, trials, progress=False).vectors)
    model, other_model = lab.model(task), twin.model(task)
    to, back = fit_transfer(model, other_model)(own), fit_transfer(other_model, model)(others)
    for name, one, other in (("to the twin", to, others), ("from the twin", back, own)):
        yield _cosines(trials, one, other, kind="seeds", source=task, target=name)


def _cosines(trials: Sequence[Trial], one: Tensor, other: Tensor, **of: str) -> pd.DataFrame:
    """Cosines of words' vectors (word, vector, d), each word's taken as one long vector."""
    return trial_rows(trials, **of, cosine=F.cosine_similarity(one.flatten(1), other.flatten(1)).double().numpy())


def offsets_of(lab: Lab, task: str, trials: Sequence[Trial], vectors: Tensor) -> Tensor:
    """What was added to the anchor, (word, vector, d)."""
    return vectors - anchors_of(lab, task, trials, 1)


_FOUND = (*TRIAL, "task", "distance", "nearest", "is_anchor")
_LEARNED = TableSchema("learned words' distance from their anchor", _FOUND, ("is_anchor", "names_concept"))
_MAPPED = TableSchema(
    "mapped words' nearest words in the target model",
    (*TRIAL, "trained_on", "evaluated_on", "is_anchor"),
    ("is_anchor",),
)
_COSINES = TableSchema(
    "cosines of one concept's offsets in two models",
    (*TRIAL[:3], "kind", "cosine"),
    made_by="`vwlib experiments` makes it; `vwlib pretrain classifier_twin` trains the classifier again",
)
DISPLACEMENTS = Experiment("displacements", displacements, EACH, (TRIALS,), schema=_LEARNED)
MAPPED = Experiment(
    "mapped_displacements", mapped_displacements, per("source", "task", "dataset"), (TRIALS,), schema=_MAPPED
)
OFFSETS = Experiment("offsets", offsets, offset_cases, (TRIALS,), ("grid",), schema=_COSINES, inputs=twin_weights)
