"""The stored study: its size, its scores against the radius of the ball, and the words nearest to its words."""

from math import inf, isnan

import pandas as pd

from vwlib.book.pages.experiments import or_stand_in
from vwlib.book.text import fill
from vwlib.concepts import TASKS, concepts_of
from vwlib.ledger.paper import paper_results
from vwlib.ledger.summary import is_diagonal
from vwlib.settings import Profile
from vwlib.study.read import StoredStudy, study_of
from vwlib.study.run import ensure_study


def study_or_stand_in(profile: Profile) -> tuple[StoredStudy, str]:
    """A profile's study, or smoke's (`or_stand_in`), and a notice of its size; raises as `study_of` does."""
    study, notice = or_stand_in(lambda profile: study_of(profile, ensure_study(profile)), profile, "study")
    rows = study.table[study.table["trained_on"].isin(TASKS)]
    trials = rows.groupby("dataset")[["concept", "anchor"]].nunique().max()
    size = fill("study", study=study, concepts=trials["concept"], anchors=trials["anchor"])
    return study, f"{notice} {size}".strip()


def paper_points() -> pd.DataFrame:
    """The paper's figures 3 and 6 in one table, the unconstrained words without delta."""
    return pd.concat([paper_results("figure_6"), paper_results("figure_3")], ignore_index=True)


def delta_means(summary: pd.DataFrame) -> pd.DataFrame:
    """Figure 6 in a few numbers: means over datasets and directions, by radius (the last, NaN: unconstrained).

    `summary` is `summarise_study`'s. The paper's means are over the same datasets and over all trials.
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
    return pd.DataFrame(columns).loc[lambda frame: frame["own task, all trials"].notna()]


def delta_counts(summary: pd.DataFrame, delta: float) -> dict[str, int | float]:
    """What figure 6 says at one radius, off the diagonal, in numbers for the text.

    `floor` is the anchor words' mean. Of `own_cells` own tasks, `saturated` have an interval that reaches the
    unconstrained mean; of `moved_cells` transfers, `above` have one that begins above the floor, and `above_free` of
    unconstrained words: each tested by itself, against a mean taken as known.
    """
    key = ["dataset", "evaluated_on"]
    off = summary[summary["trials"] == "off-diagonal"].set_index(key, drop=False)
    near, free = off[off["delta"] == delta], off[off["delta"].isna()]
    floor = free.loc[free["trained_on"] == "anchor", "mean"]
    (own, moved), (own_free, moved_free) = (
        (words[words["trained_on"] == words["evaluated_on"]], words[words["trained_on"] != words["evaluated_on"]])
        for words in (part[part["trained_on"].isin(TASKS)] for part in (near, free))
    )
    return {
        "floor": float(floor.mean()),
        "own_cells": len(own),
        "saturated": int((own["high"] >= own_free["mean"]).sum()),
        "moved_cells": len(moved),
        "above": int((moved["low"] > floor.reindex(moved.index)).sum()),
        "above_free": int((moved_free["low"] > floor.reindex(moved_free.index)).sum()),
    }


def moves_of(table: pd.DataFrame, world: str) -> pd.DataFrame:
    """The tables `displacements` and `mapped_displacements` as figures and texts take them, a row a vector.

    `task` has the word table, `source` learned the word; `diagonal` says whether it started at its concept's own
    anchor, `is_own` whether that is the nearest word.
    """
    moves = table.rename(columns={"evaluated_on": "task", "trained_on": "source"})
    moves = moves if "source" in moves else moves.assign(source=moves["task"])
    own = {(name, c.name): c.anchor for name in moves["dataset"].unique() for c in concepts_of(name, world)}
    anchors = [own[key] for key in zip(moves["dataset"], moves["concept"], strict=True)]
    return moves.assign(diagonal=is_diagonal(moves, world), is_own=moves["nearest"] == anchors)


def nearest_words(moves: pd.DataFrame) -> pd.DataFrame:
    """For each task and radius, off the diagonal: the median distance from the anchor, and which words are nearest, as
    shares of vectors. `moves` is that of `moves_of`; of mapped words each pair of tasks has its rows.
    """
    rows = {}
    groups = moves[~moves["diagonal"]].groupby(["source", "task", "delta"], dropna=False)
    for (source, task, delta), part in groups:
        others = part.loc[~part["is_anchor"] & ~part["is_own"], "nearest"].value_counts().head(3)
        rows[TASKS.index(source), TASKS.index(task), inf if isnan(delta) else delta] = {
            "words of": task if task == source else f"{source}, mapped into {task}",
            "delta": radius_name(delta),
            "median distance": part["distance"].median(),
            "nearest: anchor": f"{part['is_anchor'].mean():.0%}",
            "nearest: concept's word": f"{part['is_own'].mean():.0%}",
            "most frequent other words": ", ".join(f"{word} ({n / len(part):.0%})" for word, n in others.items())
            or "none",
        }
    return pd.DataFrame([rows[place] for place in sorted(rows)])


def radius_name(delta: float) -> str:
    """How tables call the radius of a ball; one that is missing means unconstrained words."""
    return "unconstrained" if isnan(delta) else f"{delta:g}"
