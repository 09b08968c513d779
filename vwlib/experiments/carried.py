"""What figure 3 lacks: words carried to another training of one classifier, how much a map carries of real words, what
carried anchor words score, and other maps than the paper's.
"""

from collections.abc import Iterator, Mapping
from itertools import permutations

import pandas as pd
import torch

from vwlib.concepts import TASKS
from vwlib.experiments.base import Case, Cases, Experiment, Sources, per
from vwlib.experiments.displacements import twin_of, twin_weights
from vwlib.experiments.words import anchors_of, trial_rows, values_of, values_of_texts, vectors_of
from vwlib.lab import Lab
from vwlib.ledger.schemas import TRIAL, TableSchema
from vwlib.ledger.statistics import two_way_clustered_estimate
from vwlib.ledger.summary import is_diagonal
from vwlib.miniature.lexicon import read_lexicon
from vwlib.models.base import TaskModel
from vwlib.settings import Profile
from vwlib.study.digest import trials_of
from vwlib.study.store import FRESH, TRIALS
from vwlib.transfer import fit_transfer, shared_words
from vwlib.trials import Trial

CLASSIFIER, TWIN = "classification", "classification_twin"
KINDS = ("ridge", "relative")  # of map, beside the paper's


def labs_of(lab: Lab) -> dict[str, tuple[Lab, str]]:
    """Each task's model, and that of the classifier's other training if there is one, as a lab and the task there."""
    found = {task: (lab, task) for task in TASKS}
    if profile := twin_of(lab.profile):
        twin = Lab(profile, lab.read_split)
        twin.splits = lab.splits
        found[TWIN] = (twin, CLASSIFIER)
    return found


def pairs_of_models(lab: Lab) -> Iterator[tuple[str, str, tuple[Lab, str], tuple[Lab, str]]]:
    """Source, target and their labs: ordered pairs of tasks, then the two trainings of the classifier."""
    known = labs_of(lab)
    pairs = [*permutations(TASKS, 2), *permutations((CLASSIFIER, TWIN), 2)]
    yield from ((one, other, known[one], known[other]) for one, other in pairs if {one, other} <= known.keys())


def twin_cases(profile: Profile) -> Cases:
    """Every dataset of every grid, where there is a second training of the classifier."""
    return per("dataset", fresh=True)(profile) if twin_of(profile) else []


def twin(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """Words carried between two trainings of one classifier, which differ in their seed alone (section 1, a control).

    `source` and `target` are "classification" and "classification_twin"; words are unconstrained, the twin's are
    learned here. `value` is a carried word's score, `own` that of the word that the target learned in its place,
    `floor` that of the carried anchor word, as often as a word has vectors.
    """
    words = sources.words(CLASSIFIER, case["dataset"])
    trials, labs = trials_of(words), {name: labs_of(lab)[name][0] for name in (CLASSIFIER, TWIN)}
    learned = labs[TWIN].learn(CLASSIFIER, trials, progress=False)
    vectors = {CLASSIFIER: vectors_of(words), TWIN: learned.vectors}
    for source, target in permutations(labs):
        carry = fit_transfer(labs[source].classifier, labs[target].classifier)
        anchors = carry(anchors_of(labs[source], CLASSIFIER, trials))
        scored = {"value": carry(vectors[source]), "own": vectors[target], "floor": anchors}
        values = {name: values_of(labs[target], CLASSIFIER, found, trials) for name, found in scored.items()}
        yield trial_rows(trials, source=source, target=target, **values)


def ceilings(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """How much a map carries of a real word: the concept's own name, of which the map was fitted on nothing.

    The map is fitted without the name and its synonyms. `value` is the carried name's score in the target,
    `own` that of the name itself there.
    """
    dataset, names = case["dataset"], lab.split(case["dataset"]).names
    trials = [Trial(dataset, concept, "", seed=sources.seed_of(dataset)) for concept in names]
    for source, target, (one, task), (other, goal) in pairs_of_models(lab):
        model, onto = one.model(task), other.model(goal)
        known = shared_words(model, onto)
        held_out = {name: synonyms_of(lab.profile, name) for name in names.values()}
        carried = [
            fit_transfer(model, onto, [word for word in known if word not in held_out[name]])(rows_of(model, name))
            for name in names.values()
        ]
        own = [rows_of(onto, name) for name in names.values()]
        value, own_value = (values_of_texts(other, goal, texts, trials) for texts in (carried, own))
        rows = trial_rows(trials, source=source, target=target, value=value, own=own_value)
        yield rows.drop(columns=["anchor", "delta"])


def synonyms_of(profile: Profile, name: str) -> set[str]:
    """The words of a name and, in the miniature's language, of the thing's other names; also their plurals."""
    names = read_lexicon()["name"].get(name, ()) if profile.world == "miniature" else ()
    words = {word for text in (name, *names) for word in text.split()}
    return words | {f"{word}s" for word in words}


def rows_of(model: TaskModel, text: str) -> torch.Tensor:
    """The embeddings (token, d) of a text."""
    return model.word_table()[model.vocabulary.encode(text)]


def carried_anchors(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """What is scored in the target by a carried word of which nothing was learned: the floor of carried words.

    It is the carried anchor word, as often as a learned word has vectors.
    """
    for source, target in permutations(TASKS, 2):
        trials = trials_of(sources.words(source, case["dataset"]))
        carried = lab.transfer(anchors_of(lab, source, trials), source, target)
        yield trial_rows(trials, source=source, target=target, value=values_of(lab, target, carried, trials))


def other_maps(lab: Lab, case: Case, sources: Sources) -> Iterator[pd.DataFrame]:
    """All unconstrained words through other maps than the paper's, scored as the study scores them (figure 3)."""
    source, target = case["source"], case["task"]
    words = sources.words(source, case["dataset"])
    trials = trials_of(words)
    for kind in KINDS:
        value = values_of(lab, target, lab.transfer(vectors_of(words), source, target, kind), trials)
        yield trial_rows(trials, trained_on=source, evaluated_on=target, map=kind, value=value)


def row_table(trials: pd.DataFrame, tables: Mapping[str, pd.DataFrame], world: str) -> pd.DataFrame:
    """Figure 3's means and what they stand between: unconstrained words of a grid's datasets, off the diagonal.

    Columns `row` (in the order of the figure), `evaluated_on`, `trained_on`, `mean` with its interval `low` to `high`,
    and `own`: the mean of what the target has itself in the place of what is carried. The twin's rows are the
    classifier's.
    """
    ends = {"source": "trained_on", "target": "evaluated_on"}
    words = trials[trials["delta"].isna()]
    maps, twins, names, anchors = (
        table[table["dataset"].isin(words["dataset"])].rename(columns=ends)
        for table in (tables[name] for name in ("other_maps", "twin", "ceilings", "carried_anchors"))
    )
    into = twins["trained_on"] == CLASSIFIER
    twins = twins.assign(trained_on=CLASSIFIER, evaluated_on=CLASSIFIER)
    learned, same = words["trained_on"].isin(TASKS), words["trained_on"] == words["evaluated_on"]
    parts = {
        "concept's own name": words[words["trained_on"] == "name"],
        "its name, carried": names,
        "learned there": words[same],
        "carried into a twin": twins[into],
        "carried from a twin": twins[~into],
        "carried": words[learned & ~same],
        **{f"carried by {kind}": rows for kind, rows in maps.groupby("map", sort=False)},
        "anchor word, carried": anchors,
        "anchor word": words[words["trained_on"] == "anchor"],
    }
    rows = []
    for row, part in parts.items():
        units = ["concept", "anchor"] if "anchor" in part else ["concept"]
        part = part[~is_diagonal(part, world)] if "anchor" in part else part
        for (target, source), group in part.groupby(["evaluated_on", "trained_on"], sort=False):
            if target in TASKS and source in (*TASKS, "name", "anchor"):
                found = two_way_clustered_estimate({"mean": group}, "mean", units, limits=(0, 1))
                own = group["own"].mean() if "own" in group else float("nan")
                rows.append((row, target, source, found.value, *found.interval(), own))
    return pd.DataFrame(rows, columns=["row", "evaluated_on", "trained_on", "mean", "low", "high", "own"])


_BOTH, _DATASETS = (TRIALS, FRESH), per("dataset", fresh=True)
_ENDS = ("dataset", "concept", "anchor", "source", "target")
_SCORED = ("value", "own", "floor")
_TWIN = TableSchema("words carried between two trainings of the classifier", (*_ENDS, *_SCORED), _SCORED)
_NAMES = TableSchema(
    "real words carried by maps fitted without them",
    ("dataset", "concept", "source", "target", "value", "own"),
    ("value", "own"),
    ("concept",),
)
_ANCHORS = TableSchema("carried anchor words", (*_ENDS, "value"), ("value",))
_MAPS = TableSchema("words carried by other maps", (*TRIAL, "trained_on", "evaluated_on", "map", "value"), ("value",))
TWINS = Experiment("twin", twin, twin_cases, _BOTH, schema=_TWIN, version=2, inputs=twin_weights)
CEILINGS = Experiment("ceilings", ceilings, _DATASETS, _BOTH, schema=_NAMES, inputs=twin_weights)
CARRIED = Experiment("carried_anchors", carried_anchors, _DATASETS, _BOTH, schema=_ANCHORS, version=2)
OTHER_MAPS = Experiment("other_maps", other_maps, per("source", "task", "dataset", fresh=True), _BOTH, schema=_MAPS)
