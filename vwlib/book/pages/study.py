"""The stored study: what there is of it, its scores against the radius of the ball, and where its words lie."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isnan

import pandas as pd

from vwlib.concepts import TASKS, concepts_of
from vwlib.ledger.paper import paper_results
from vwlib.ledger.summary import is_diagonal
from vwlib.settings import Profile, load_profile
from vwlib.study.read import StoredStudy, study_of
from vwlib.study.run import ensure_study

FREE = "unconstrained"


def study_or_stand_in(profile: Profile) -> tuple[StoredStudy, str]:
    """A profile's study, and in words what it is. Where it is not stored, the small study of profile smoke stands in,
    if it is of the same models.

    Raises FileNotFoundError where nothing can stand in, and ValueError as `study_of` does.
    """
    try:
        study = study_of(profile, ensure_study(profile))
    except FileNotFoundError as error:
        small = load_profile("smoke")
        if small.classifier != profile.classifier:
            raise
        study = study_of(small, ensure_study(small))
        return (
            study,
            f"{error} Until then the study of profile 'smoke' stands in for it, whose words are hardly learned at all. {describe_study(study)}",
        )
    return study, describe_study(study)


def describe_study(study: StoredStudy) -> str:
    """The size of a study in a sentence or two."""
    rows = study.table[study.table["trained_on"].isin(TASKS)]
    trials = rows.groupby("dataset")[["concept", "anchor"]].nunique().max()
    balls = ", ".join(f"{delta:g}" for delta in study.deltas)
    size = f"{len(study.bank):,} words: {trials['concept']} concepts and {trials['anchor']} anchors of each dataset ({', '.join(study.datasets)})"
    told = (
        f"The study has {size}, for three tasks, unconstrained and within balls of radius {balls}, with a single seed."
    )
    return told + (f" Words that diverged and are left out: {study.failed:,}." if study.failed else "")


def paper_points() -> pd.DataFrame:
    """The paper's figures 3 and 6 in one table, the unconstrained words without delta."""
    return pd.concat([paper_results("figure_6"), paper_results("figure_3")], ignore_index=True)


def paper_summary(datasets: Sequence[str], delta: float) -> dict[str, float]:
    """The paper's counterparts of `delta_findings`: means over datasets and directions, over all trials; not a number
    at a radius it has not tried.
    """
    points = paper_points()
    points = points[points["dataset"].isin(datasets)]
    is_own = points["trained_on"] == points["evaluated_on"]
    chosen = {
        "own": is_own & (points["delta"] == delta),
        "own_free": is_own & points["delta"].isna(),
        "moved": ~is_own & (points["delta"] == delta),
        "moved_free": ~is_own & points["delta"].isna(),
    }
    return {name: float(points.loc[rows, "mean"].mean()) for name, rows in chosen.items()}


def delta_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Figure 6 in a few numbers: a row for each radius with the mean over datasets and directions, on the words' own
    task and after transfer.

    `summary` is that of `vwlib.study.read.summarise_study`. The paper's means are over the same datasets and over all
    trials.
    """
    theirs = paper_points()
    parts = {
        "paper": theirs[theirs["dataset"].isin(summary["dataset"].unique())],
        "all trials": summary[summary["trials"] == "all"],
        "off-diagonal": summary[summary["trials"] == "off-diagonal"],
    }
    columns = {}
    for kind, same in (("own task", True), ("transferred", False)):
        for name, part in parts.items():
            chosen = part[part["trained_on"].isin(TASKS) & ((part["trained_on"] == part["evaluated_on"]) == same)]
            columns[f"{kind}, {name}"] = chosen.groupby("delta", dropna=False)["mean"].mean()
    table = pd.DataFrame(columns).loc[lambda frame: frame["own task, all trials"].notna()]
    return table.set_axis(list(map(radius_name, table.index))).rename_axis("delta")


def delta_findings(summary: pd.DataFrame, delta: float) -> dict[str, int | float]:
    """What figure 6 says at one radius, in numbers for the text; off the diagonal, unless a name says otherwise.

    `own` and `moved` are means over datasets and directions at the radius, `own_free` and `moved_free` the same of
    unconstrained words, `floor` the anchor words' mean. `saturated` counts the own tasks whose crossed interval reaches
    the unconstrained mean; `above` the transfers whose crossed interval begins above the floor, `above_free` the same
    of unconstrained words.
    Raises ValueError at a radius that no word has.
    """
    radii = sorted(summary["delta"].dropna().unique().tolist())
    if delta not in radii:
        raise ValueError(f"No word of the summary lies within delta {delta:g}; it has the radii {radii}.")
    off = summary[summary["trials"] == "off-diagonal"]
    key = ["dataset", "evaluated_on"]
    references = off[off["delta"].isna()]
    floor = references[references["trained_on"] == "anchor"].set_index(key)["mean"]
    words = off[off["trained_on"].isin(TASKS)]
    is_own = words["trained_on"] == words["evaluated_on"]
    parts = {
        name: words[own & (words["delta"].isna() if radius is None else words["delta"] == radius)].set_index(key)
        for name, own, radius in (
            ("own", is_own, delta),
            ("own_free", is_own, None),
            ("moved", ~is_own, delta),
            ("moved_free", ~is_own, None),
        )
    }
    means = {name: float(part["mean"].mean()) for name, part in parts.items()}
    return means | {
        "floor": float(floor.mean()),
        "own_cells": len(parts["own"]),
        "saturated": int((parts["own"]["crossed_high"] >= parts["own_free"]["mean"]).sum()),
        "moved_cells": len(parts["moved"]),
        "above": int((parts["moved"]["crossed_low"] > floor.reindex(parts["moved"].index)).sum()),
        "above_free": int((parts["moved_free"]["crossed_low"] > floor.reindex(parts["moved_free"].index)).sum()),
    }


def moves_of(table: pd.DataFrame, world: str) -> pd.DataFrame:
    """Where each vector of each stored word lies: the experiments' table `displacements`, or `mapped_displacements`, as
    figures and texts take it.

    Mapped words are looked for in the word table of `task`. `source` is the task they were learned for; `diagonal` says
    whether a word started at its concept's own anchor.
    """
    moves = table.rename(columns={"evaluated_on": "task", "trained_on": "source"})
    moves = moves if "source" in moves else moves.assign(source=moves["task"])
    return moves.assign(diagonal=is_diagonal(moves, world))


def whereabouts(moves: pd.DataFrame, world: str) -> pd.DataFrame:
    """Where words off the diagonal lie: for each task and radius the median distance from the anchor, and which words
    are nearest, as shares of vectors.

    `moves` is that of `moves_of`; of mapped words each pair of tasks has its rows.
    """
    moves = _off_diagonal(moves, world)
    rows = []
    for (source, task, delta), part in moves.groupby(["source", "task", "delta"], dropna=False):
        order = (TASKS.index(source), TASKS.index(task), inf if isnan(delta) else delta)
        others = part.loc[~part["is_anchor"] & ~part["is_own"], "nearest"].value_counts().head(3)
        frequent = ", ".join(f"{word} ({count / len(part):.0%})" for word, count in others.items())
        shares = (f"{part['is_anchor'].mean():.0%}", f"{part['is_own'].mean():.0%}", frequent or "none")
        rows.append(
            (
                order,
                task if task == source else f"{source}, mapped into {task}",
                radius_name(delta),
                part["distance"].median(),
                *shares,
            )
        )
    columns = [
        "words of",
        "delta",
        "median distance",
        "nearest: anchor",
        "nearest: concept's word",
        "most frequent other words",
    ]
    return pd.DataFrame([row[1:] for row in sorted(rows)], columns=columns)


def whereabouts_findings(moves: pd.DataFrame, world: str, delta: float) -> dict[str, float]:
    """Off the diagonal, of unconstrained words (`free_`) and at one radius (`ball_`): median distance, shares nearest
    to anchor and concept's word.
    """
    moves = _off_diagonal(moves, world)
    found = {}
    for name, part in (("free", moves[moves["delta"].isna()]), ("ball", moves[moves["delta"] == delta])):
        found[f"{name}_distance"] = float(part["distance"].median())
        found |= {f"{name}_{word}": float(part[f"is_{word}"].mean()) for word in ("anchor", "own")}
    return found


def _off_diagonal(moves: pd.DataFrame, world: str) -> pd.DataFrame:
    """The moves of words that do not start at their concept's own word, with a column `is_own`: whether that word is
    the nearest.
    """
    own = {
        (dataset, concept.name): concept.anchor
        for dataset in moves["dataset"].unique()
        for concept in concepts_of(dataset, world)
    }
    moves = moves[~moves["diagonal"]]
    return moves.assign(
        is_own=moves["nearest"] == [own[key] for key in zip(moves["dataset"], moves["concept"], strict=True)]
    )


def radius_name(delta: float) -> str:
    """How tables call the radius of a ball; one that is missing means unconstrained words."""
    return FREE if isnan(delta) else f"{delta:g}"
