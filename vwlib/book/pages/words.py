"""Single words: where they land and lie, how they were learned, what they score."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from vwlib.learn import Learned
from vwlib.ledger import paper
from vwlib.models import TaskModel, load_model
from vwlib.settings import Profile
from vwlib.study.compat import load_material, reference_rows, score
from vwlib.study.read import StoredStudy
from vwlib.transfer import held_out_neighbours, ordered_pairs
from vwlib.trials import Trial


def landing_table(models: dict[str, TaskModel], words: Sequence[str]) -> pd.DataFrame:
    """For each ordered pair the shared word nearest to where each of the words lands, by a map that was not fitted on
    them: a row a pair.
    """
    pairs = {
        pair: held_out_neighbours(models[pair[0]], models[pair[1]], words, count=1) for pair in ordered_pairs(models)
    }
    return (
        pd.DataFrame({" to ".join(pair): landed["nearest 1"] for pair, landed in pairs.items()})
        .T.rename_axis("map")
        .rename_axis(None, axis=1)
    )


def nearest_table(moves: pd.DataFrame, most: int = 8) -> pd.DataFrame:
    """The words nearest to the vectors in a table of `vwlib.lab.displacements`, the most frequent first: a row for each
    task and setting.
    """
    rows = []
    for (task, setting), part in moves.groupby(["task", "setting"], sort=False):
        counts = part["nearest"].value_counts().head(most)
        rows.append((task, setting, ", ".join(f"{word} ({count})" for word, count in counts.items())))
    return pd.DataFrame(rows, columns=["task", "setting", "nearest words (number of vectors)"])


def setting_of(trial: Trial) -> str:
    """How tables and figures call a trial's constraint."""
    return "unconstrained" if trial.delta is None else f"within delta = {trial.delta:g}"


def loss_table(learned: dict[str, Learned], trials: Sequence[Trial]) -> pd.DataFrame:
    """The losses of each task's words, one row a step and word: `task`, `setting`, `word` (its seed), `step`, `loss`."""
    rows = [
        (task, setting_of(trial), trial.seed, step, float(loss))
        for task, result in learned.items()
        for trial, losses in zip(trials, result.losses.T, strict=True)
        for step, loss in enumerate(losses, 1)
    ]
    return pd.DataFrame(rows, columns=["task", "setting", "word", "step", "loss"])


@torch.no_grad()
def encode_stages(task: str, profile: Profile, trials: Sequence[Trial], learned: Learned) -> dict[str, Tensor]:
    """What the text encoder makes of the prompt with the anchor word, with the first learned word of each setting, and
    with the concept's name.
    """
    model, first = load_model(task, profile), trials[0]
    own = load_material(profile, first.dataset).names[first.concept]
    stages = {"anchor word": model.encode_prompts([profile.prompt.format(first.anchor)])}
    for trial, vectors in zip(trials, learned.vectors, strict=True):
        stages.setdefault(f"learned, {setting_of(trial)}", model.encode_words(vectors[None]))
    return stages | {"concept's name": model.encode_prompts([profile.prompt.format(own)])}


def stage_scores(
    profile: Profile, trials: Sequence[Trial], learned: dict[str, Learned], study: StoredStudy | None = None
) -> pd.DataFrame:
    """Mean score of one concept's words on their own tasks, one row a task, by setting; beside each setting the paper's
    mean for the dataset.

    `trials` share dataset, concept and anchor. Scores are read from the `study` where it has all of the trials, since
    it has learned and scored the same words. The paper's value is missing where it tried no such ball.
    """
    first, is_stored = trials[0], study is not None and bool(study.learned(trials))
    rows = []
    for task, result in learned.items():
        if study is not None and is_stored:
            scores, references = _stored_scores(study, task, trials)
        else:
            scores = [one.value for one in score(task, profile, result.vectors, trials)]
            references = pd.DataFrame(reference_rows(task, profile, [first])).set_index("trained_on")["value"]
        row: dict[str, object] = {"task": task, "anchor word": references["anchor"]}
        for setting in dict.fromkeys(map(setting_of, trials)):
            chosen = [
                (trial, value) for trial, value in zip(trials, scores, strict=True) if setting_of(trial) == setting
            ]
            row[setting] = sum(value for _, value in chosen) / len(chosen)
            row[f"paper, {setting}"] = paper_mean(task, first.dataset, chosen[0][0].delta)
        rows.append(row | {"concept's name": references["name"]})
    return pd.DataFrame(rows).set_index("task")


def _stored_scores(study: StoredStudy, task: str, trials: Sequence[Trial]) -> tuple[list[float], pd.Series]:
    """The stored scores of trials' words on their own task, and of anchor word and concept's name there."""
    first = trials[0]
    of = (
        (study.table["dataset"] == first.dataset)
        & (study.table["concept"] == first.concept)
        & (study.table["anchor"] == first.anchor)
    )
    rows = study.table[of & (study.table["evaluated_on"] == task)]
    own = rows[rows["trained_on"] == task]
    scores = [
        float(own.loc[own["delta"].isna() if t.delta is None else own["delta"] == t.delta, "value"].iloc[0])
        for t in trials
    ]
    return scores, rows[rows["trained_on"].isin(["anchor", "name"])].set_index("trained_on")["value"]


def paper_mean(task: str, dataset: str, delta: float | None) -> float:
    """The paper's mean on a task's own words, unconstrained (figure 3) or within a ball (figure 6); not a number where
    there is none.
    """
    table = paper.paper_results("figure_3" if delta is None else "figure_6", dataset)
    own = table[
        (table["trained_on"] == task)
        & (table["evaluated_on"] == task)
        & (table["delta"].isna() if delta is None else table["delta"] == delta)
    ]
    return float(own["mean"].iloc[0]) if len(own) else float("nan")
