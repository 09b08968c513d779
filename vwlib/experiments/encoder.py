"""What the layers of the text encoder make of all words (section 5.2), with a plain swap of real words beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from vwlib.concepts import TASKS, concepts_of, find_concept
from vwlib.experiments.base import COUNT, Experiment, ExperimentCase, Size, Sources, per
from vwlib.experiments.layer_statistics import (
    cluster_agreement,
    flip_layers,
    label_words,
    probe_scores,
    truncation_scores,
)
from vwlib.experiments.words import off_diagonal, trial_rows, vectors_of
from vwlib.lab import Lab
from vwlib.layers import hidden_states
from vwlib.ledger.schemas import TRIAL, TableSchema
from vwlib.models.base import TaskModel
from vwlib.study.digest import trials_of
from vwlib.study.tables import TRIALS
from vwlib.trials import Trial
from vwlib.words import Word


@dataclass(frozen=True)
class WordSet:
    """Words in one encoder: learned for its task, learned for another and mapped ("transferred"), or real ("swap")."""

    kind: str
    trained_on: str  # the task, or "name" for real words
    trials: list[Trial]
    vectors: Tensor  # (word, vector, d)

    def labels(self, world: str) -> pd.DataFrame:
        """`vwlib.experiments.layer_statistics.label_words` of the trials, with the set's kind and origin."""
        words = label_words(self.trials, world).assign(kind=self.kind, trained_on=self.trained_on)
        return words.astype({"delta": float})


def word_sets(lab: Lab, case: ExperimentCase, sources: Sources, small: bool = False) -> Iterator[WordSet]:
    """All words of a dataset in a task's encoder, or only those of the small grid: for words near their anchors and
    for unconstrained ones the learned and the transferred, then the swap.

    The swap has a row for each concept and anchor, as the others have: the concept's own word in the anchor's place,
    whatever that is.
    """
    task, dataset = case["task"], case["dataset"]

    def of(source: str, delta: float | None) -> list[Word]:
        if not small:
            return sources.words(source, dataset, delta)
        # The grid of the task in whose encoder they stand, whatever they were learned for.
        wanted = {(word.concept, word.anchor) for word in sources.grid(task, dataset, delta)}
        return [word for word in sources.words(source, dataset, delta) if (word.concept, word.anchor) in wanted]

    trials: dict[tuple[str, str], Trial] = {}
    for delta in (sources.sizes.near, None):
        for source in (task, *(other for other in TASKS if other != task)):
            if words := of(source, delta):
                kind = "learned" if source == task else "transferred"
                yield WordSet(kind, source, trials_of(words), lab.transfer(vectors_of(words), source, task))
            trials |= {(word.concept, word.anchor): Trial(dataset, word.concept, word.anchor) for word in words}
    plain = list(trials.values())
    yield WordSet("swap", "name", plain, own_words(lab, task, plain))


def own_words(lab: Lab, task: str, trials: Sequence[Trial]) -> Tensor:
    """The single real word of each trial's concept, as often as a learned word has vectors: (word, vector, d)."""
    owners = [find_concept(trial.concept, trial.dataset, lab.profile.world).anchor for trial in trials]
    return lab.model(task).embeddings_of(owners, lab.profile.vectors)


def clusters(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """`vwlib.experiments.layer_statistics.cluster_agreement` of all words near their anchors, and of all unconstrained
    ones, in one task's encoder.

    `trained_on` tells transferred words apart.
    """
    tables = []
    for found in word_sets(lab, case, sources):
        states, words = hidden_states(lab.model(case["task"]), found.vectors), found.labels(lab.profile.world)
        agreement = cluster_agreement(states, words, draws=sources.sizes.draws)
        of = {"dataset": case["dataset"], "task": case["task"], "kind": found.kind, "trained_on": found.trained_on}
        tables.append(agreement.assign(**of, delta=words["delta"].iloc[0]))
    return pd.concat(tables, ignore_index=True)


def depths(model: TaskModel, generation_depths: int) -> list[int]:
    """To how many blocks an encoder is cut: every number, but for the generator, whose pictures take long, only evenly
    spaced ones.
    """
    blocks = len(model.blocks)
    if model.task != "generation":
        return list(range(blocks + 1))
    return sorted({round(step) for step in np.linspace(0, blocks, generation_depths)})


def truncation(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """`vwlib.experiments.layer_statistics.truncation_scores` of the small grid's words, near their anchors and
    unconstrained.
    """
    task, dataset, few = case["task"], case["dataset"], sources.reduced(lab)
    model, names, test = few.model(task), few.split(dataset).names, few.features(task, dataset, "test")
    blocks = depths(model, sources.sizes.generation_depths)
    tables = [
        truncation_scores(model, found.vectors, found.labels(lab.profile.world), names, test, blocks)
        for found in word_sets(lab, case, sources, small=True)
    ]
    return pd.concat(tables, ignore_index=True)


def probes(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """`vwlib.experiments.layer_statistics.probe_scores` of the small grid's words, near their anchors and
    unconstrained.
    """
    own = {concept.name: concept.anchor for concept in concepts_of(case["dataset"], lab.profile.world)}
    tables = [
        probe_scores(lab.model(case["task"]), found.vectors, found.labels(lab.profile.world), own)
        for found in word_sets(lab, case, sources, small=True)
    ]
    return pd.concat(tables, ignore_index=True)


def crossings(_: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """`vwlib.experiments.layer_statistics.flip_layers` of the table `truncation`."""
    table = sources.tables["truncation"]
    return flip_layers(table[(table["task"] == case["task"]) & (table["dataset"] == case["dataset"])])


def relative_distance(layers: Tensor, anchors: Tensor, concepts: Tensor) -> Tensor:
    """At each layer, how much nearer words are to their concept's own word than to their anchor: (layer, word), from -1
    at the anchor to 1 at the concept.

    All hidden states are (layer, word, d), of the words and of the two real words in the same prompt.
    """
    from_anchor, from_concept = ((layers - real).norm(dim=-1) for real in (anchors, concepts))
    return (from_anchor - from_concept) / (from_anchor + from_concept)


def disagreement(lab: Lab, case: ExperimentCase, sources: Sources) -> pd.DataFrame:
    """How differently the first and the last layer see a word (the difference of `relative_distance`), and its score in
    other models.

    Words of delta 1 and unconstrained, among which there are both those that transfer and those that do not.
    `disagreement` is 2 for a word that the first layer takes for its anchor and the last one for its concept; `value`
    is the mean over the two other tasks.
    """
    task, dataset, model = case["task"], case["dataset"], lab.model(case["task"])
    table = sources.trials
    mapped = table[(table["trained_on"] == task) & (table["evaluated_on"] != task)].groupby("word_id")["value"].mean()
    deltas, tables = lab.profile.study.deltas, []
    for delta in ([max(deltas)] if deltas else []) + [None]:
        words = sources.words(task, dataset, delta)
        off = set(off_diagonal(lab.profile, trials_of(words)))
        words = [word for word, trial in zip(words, trials_of(words), strict=True) if trial in off]
        trials = trials_of(words)
        anchors = model.embeddings_of([trial.anchor for trial in trials], lab.profile.vectors)
        sets = vectors_of(words), anchors, own_words(lab, task, trials)
        near = relative_distance(*(hidden_states(model, vectors) for vectors in sets))
        first, last = near[1], near[-1]
        columns = {"disagreement": (last - first).double().numpy(), "first": first.numpy(), "last": last.numpy()}
        tables.append(trial_rows(trials, task=task, **columns, value=[mapped[word.word_id] for word in words]))
    return pd.concat(tables, ignore_index=True)


CLUSTERS = Experiment(
    "clusters",
    "Whether activations group by anchor or by concept, layer by layer (figures 7 and 12 to 18).",
    clusters,
    per("task", "dataset"),
    needs=(TRIALS,),
    shared=("near",),
    sizes=(Size("draws", COUNT, 1000, 50, "draws of a bootstrap"),),
    schema=TableSchema(
        "agreement of activations with anchors and concepts",
        ("dataset", "task", "kind", "delta", "layer", "by", "ari", "low", "high"),
        units=(),
    ),
)
TRUNCATION = Experiment(
    "truncation",
    "Scores of anchor and concept with truncated text encoders, and of a swap of real words (figure 7).",
    truncation,
    per("task", "dataset"),
    needs=(TRIALS,),
    shared=("near", "grid", "test_images", "pictures"),
    sizes=(
        Size(
            "generation_depths",
            COUNT,
            5,
            3,
            "numbers of blocks to which the generator's text encoder is cut; the others' to every number",
        ),
    ),
    schema=TableSchema(
        "scores of truncated text encoders", (*TRIAL, "task", "kind", "blocks", "of", "value"), shares=("value",)
    ),
)
CROSSINGS = Experiment(
    "crossings",
    "The layer at which a word turns from its anchor to its concept (section 5.2).",
    crossings,
    per("task", "dataset"),
    needs=("truncation",),
    schema=TableSchema(
        "layers at which words turn from anchor to concept",
        (*TRIAL, "task", "kind", "crossing", "depth"),
        shares=("never",),
    ),
)
PROBES = Experiment(
    "probes",
    "What a linear probe of each layer takes a word for, its concept or its anchor (section 5.2).",
    probes,
    per("task", "dataset"),
    needs=(TRIALS,),
    shared=("near", "grid"),
)
DISAGREEMENT = Experiment(
    "disagreement",
    "Disagreement of first and last layer about a word, beside its transfer (section 5.2, appendix A).",
    disagreement,
    per("task", "dataset"),
    needs=(TRIALS,),
    schema=TableSchema(
        "early and late layers' disagreement beside transfer", (*TRIAL, "task", "disagreement", "value")
    ),
)
