"""What the layers of the text encoder make of all words (section 5.2), with a plain swap of real words beside them."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from vwlib.concepts import TASKS, concepts_of, find_concept
from vwlib.experiments import layer_statistics
from vwlib.experiments.base import COUNT, EACH, SCORED_OFTEN, Case, Experiment, Size, Sources
from vwlib.experiments.words import anchors_of, off_diagonal, trial_rows, vectors_of
from vwlib.lab import Lab
from vwlib.layers import hidden_states
from vwlib.ledger.schemas import TRIAL, TableSchema
from vwlib.models.base import TaskModel
from vwlib.study.digest import trials_of
from vwlib.study.store import TRIALS
from vwlib.trials import Trial


def word_sets(lab: Lab, case: Case, sources: Sources, small: bool = False) -> Iterator[tuple[Tensor, pd.DataFrame]]:
    """All words of a dataset in a task's encoder, or only those of the task's `small` grid.

    Vectors (word, vector, d) and their `label_words`, with `kind` and `trained_on`. For words near their anchors, and
    for unconstrained ones, the learned and the transferred; then the swap, which has the concept's own word in the
    place of every anchor.
    """
    task, dataset = case["task"], case["dataset"]

    def labelled(trials: Sequence[Trial], kind: str, trained_on: str) -> pd.DataFrame:
        words = layer_statistics.label_words(trials, lab.profile.world).assign(kind=kind, trained_on=trained_on)
        return words.astype({"delta": float})

    trials: dict[tuple[str, str], Trial] = {}
    for delta in (sources.sizes.near, None):
        for source in (task, *(other for other in TASKS if other != task)):
            of = source, dataset, delta
            words = sources.grid(*of, count=sources.sizes.grid[task]) if small else sources.words(*of)
            if words:
                kind = "learned" if source == task else "transferred"
                yield lab.transfer(vectors_of(words), source, task), labelled(trials_of(words), kind, source)
            trials |= {(word.concept, word.anchor): Trial(dataset, word.concept, word.anchor) for word in words}
    plain = list(trials.values())
    yield own_words(lab, task, plain), labelled(plain, "swap", "name")


def own_words(lab: Lab, task: str, trials: Sequence[Trial]) -> Tensor:
    """The single real word of each trial's concept, as often as a learned word has vectors: (word, vector, d)."""
    owners = [find_concept(trial.concept, trial.dataset, lab.profile.world).anchor for trial in trials]
    return lab.model(task).embeddings_of(owners, lab.profile.vectors)


def clusters(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """Whether activations group by anchor or by concept, layer by layer (figures 7 and 12 to 18)."""
    for vectors, words in word_sets(lab, case, sources):
        states, first = hidden_states(lab.model(case["task"]), vectors), words.iloc[0]
        agreement = layer_statistics.cluster_agreement(states, words, draws=sources.sizes.draws)
        of = {"dataset": case["dataset"], "task": case["task"], "kind": first["kind"]}
        yield agreement.assign(**of, trained_on=first["trained_on"], delta=first["delta"])


def depths(model: TaskModel, generation_depths: int) -> list[int]:
    """To how many blocks an encoder is cut: every number, but for the generator, whose pictures take long, a few."""
    blocks = len(model.blocks)
    if model.task != "generation":
        return list(range(blocks + 1))
    return sorted({round(step) for step in np.linspace(0, blocks, generation_depths)})


def truncation(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """Scores of anchor and concept with truncated text encoders, and of a swap of real words (figure 7)."""
    task, dataset, few = case["task"], case["dataset"], sources.reduced(lab)
    model, names, test = few.model(task), few.split(dataset).names, few.features(task, dataset, "test")
    blocks = depths(model, sources.sizes.generation_depths)
    for vectors, words in word_sets(lab, case, sources, small=True):
        yield layer_statistics.truncation_scores(model, vectors, words, names, test, blocks)


def probes(lab: Lab, case: Case, sources: Sources) -> pd.DataFrame:
    """What a linear probe of each layer takes a word for, its concept or its anchor (section 5.2)."""
    own = {concept.name: concept.anchor for concept in concepts_of(case["dataset"], lab.profile.world)}
    sets = list(word_sets(lab, case, sources, small=True))
    return layer_statistics.probe_scores(lab.model(case["task"]), sets, own)


def crossings(_: Lab, case: Case, sources: Sources) -> pd.DataFrame:
    """The layer at which a word turns from its anchor to its concept (section 5.2)."""
    table = sources.tables["truncation"]
    return layer_statistics.flip_layers(table[(table["task"] == case["task"]) & (table["dataset"] == case["dataset"])])


def relative_distance(layers: Tensor, anchors: Tensor, concepts: Tensor) -> Tensor:
    """How much nearer words are to their concept's word than to their anchor, from -1 to 1: (layer, word).

    All hidden states are (layer, word, d), of the words and of the two real words in the same prompt.
    """
    from_anchor, from_concept = ((layers - real).norm(dim=-1) for real in (anchors, concepts))
    return (from_anchor - from_concept) / (from_anchor + from_concept)


def disagreement(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """Disagreement of first and last layer about a word, beside its transfer (section 5.2, appendix A).

    Of words of the largest delta and unconstrained ones. `disagreement`, a difference of `relative_distance`, is 2 for
    a word that turns from anchor to concept; `value` is the mean over the two other tasks.
    """
    task, dataset, table = case["task"], case["dataset"], sources.trials
    mapped = table[(table["trained_on"] == task) & (table["evaluated_on"] != task)].groupby("word_id")["value"].mean()
    deltas = lab.profile.study.deltas
    for delta in ([max(deltas)] if deltas else []) + [None]:
        words = sources.words(task, dataset, delta)
        off = set(off_diagonal(lab.profile, trials_of(words)))
        words = [word for word, trial in zip(words, trials_of(words), strict=True) if trial in off]
        trials = trials_of(words)
        sets = vectors_of(words), anchors_of(lab, task, trials), own_words(lab, task, trials)
        near = relative_distance(*(hidden_states(lab.model(task), vectors) for vectors in sets))
        first, last = near[1], near[-1]
        columns = {"disagreement": (last - first).double().numpy(), "first": first.numpy(), "last": last.numpy()}
        yield trial_rows(trials, task=task, **columns, value=[mapped[word.word_id] for word in words])


_DRAWS = Size("draws", COUNT, 1000, 50, "draws of a bootstrap")
_CUTS = "numbers of blocks to which the generator's text encoder is cut; the others' to every number"
_DEPTHS = Size("generation_depths", COUNT, 5, 2, _CUTS)
_AGREEMENT = TableSchema(
    "agreement of activations with anchors and concepts",
    ("dataset", "task", "kind", "delta", "layer", "by", "ari", "low", "high"),
    units=(),
)
_SCORES = TableSchema(
    "scores of truncated text encoders", (*TRIAL, "task", "kind", "blocks", "of", "value"), shares=("value",)
)
_TURNS = TableSchema(
    "layers at which words turn from anchor to concept", (*TRIAL, "task", "kind", "crossing", "depth"), ("never",)
)
_BESIDE = TableSchema("early and late layers' disagreement beside transfer", (*TRIAL, "task", "disagreement", "value"))
CLUSTERS = Experiment("clusters", clusters, EACH, (TRIALS,), ("near",), (_DRAWS,), _AGREEMENT)
TRUNCATION = Experiment("truncation", truncation, EACH, (TRIALS,), ("near", *SCORED_OFTEN), (_DEPTHS,), _SCORES)
CROSSINGS = Experiment("crossings", crossings, EACH, ("truncation",), schema=_TURNS)
PROBES = Experiment("probes", probes, EACH, (TRIALS,), ("near", "grid"))
DISAGREEMENT = Experiment("disagreement", disagreement, EACH, (TRIALS,), schema=_BESIDE)
