"""Single words: where they land and lie, how they were learned, what they score."""

from collections.abc import Sequence

import pandas as pd
from torch import Tensor

from vwlib.book.pages.pictures import encode_texts
from vwlib.lab import Lab
from vwlib.learn import Learned
from vwlib.ledger.paper import paper_results
from vwlib.study.read import StoredStudy
from vwlib.trials import Trial


def nearest_table(displacements: pd.DataFrame, most: int = 8) -> pd.DataFrame:
    """The words nearest to learned vectors, the most frequent first: a row for each task and setting."""
    rows = []
    for (task, setting), part in displacements.groupby(["task", "setting"], sort=False):
        counts = part["nearest"].value_counts().head(most)
        rows.append((task, setting, ", ".join(f"{word} ({count})" for word, count in counts.items())))
    return pd.DataFrame(rows, columns=["task", "setting", "nearest words (number of vectors)"])


def setting_of(delta: float | None) -> str:
    """How tables and figures call the constraint of a trial."""
    return "unconstrained" if pd.isna(delta) else f"within delta = {delta:g}"


def loss_table(learned: dict[str, Learned], trials: Sequence[Trial]) -> pd.DataFrame:
    """The losses of each task's words, one row a step and word; `word` is the seed."""
    rows = [
        (task, setting_of(trial.delta), trial.seed, step, float(loss))
        for task, result in learned.items()
        for trial, losses in zip(trials, result.losses.T, strict=True)
        for step, loss in enumerate(losses, 1)
    ]
    return pd.DataFrame(rows, columns=["task", "setting", "word", "step", "loss"])


def encode_stages(lab: Lab, task: str, trials: Sequence[Trial], vectors: Tensor) -> dict[str, Tensor]:
    """The text encoder's output for the anchor word, the first learned word of each setting, and the concept's name.
    `vectors` (trial, vector, d) are the words learned for `trials`, which share dataset, concept and anchor.
    """
    learned: dict[str, Tensor] = {}
    for trial, word in zip(trials, vectors, strict=True):
        learned.setdefault(f"learned, {setting_of(trial.delta)}", word[None])
    texts = encode_texts(lab, task, trials[0], list(learned.values()))
    return dict(zip(["anchor word", *learned, "concept's name"], texts[:, None], strict=True))


def stage_scores(
    lab: Lab, trials: Sequence[Trial], learned: dict[str, Learned], study: StoredStudy | None = None
) -> pd.DataFrame:
    """Mean score of one concept's words on their own tasks, one row a task, beside the paper's (missing where untried).

    `trials` share dataset, concept and anchor. A `study` that has learned the same words has their scores.
    """
    first, rows = trials[0], []
    if study is not None and study.learned(trials):
        same = {column: getattr(first, column) for column in ("dataset", "concept", "anchor")}
        scores = study.table[(study.table[list(same)] == pd.Series(same)).all(axis=1)]
    else:
        scores = pd.concat([lab.run_trials(trials, [task], [task], learned=learned).table for task in learned])
    for task in learned:
        on_task = scores[scores["evaluated_on"] == task]
        references = on_task.groupby("trained_on")["value"].first()
        row = {"task": task, "anchor word": references["anchor"]}
        for delta in dict.fromkeys(trial.delta for trial in trials):
            same_ball = on_task["delta"].isna() if delta is None else on_task["delta"] == delta
            words = on_task[same_ball & (on_task["trained_on"] == task)]
            row[setting_of(delta)] = words["value"].mean()
            row[f"paper, {setting_of(delta)}"] = paper_mean(task, first.dataset, delta)
        rows.append(row | {"concept's name": references["name"]})
    return pd.DataFrame(rows).set_index("task")


def paper_mean(task: str, dataset: str, delta: float | None) -> float:
    """The paper's mean on a task's own words, unconstrained (figure 3) or in a ball (figure 6); NaN without a value."""
    table = paper_results("figure_3" if delta is None else "figure_6", dataset)
    own = table[(table["trained_on"] == task) & (table["evaluated_on"] == task)]
    means = own.loc[own["delta"].isna() if delta is None else own["delta"] == delta, "mean"]
    return float(means.iloc[0]) if len(means) else float("nan")
