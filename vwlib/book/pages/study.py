"""The stored study: its size, its scores against the radius of the ball, and the words nearest to its words."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isnan

import pandas as pd

from vwlib.book.text import fill
from vwlib.concepts import TASKS, concepts_of
from vwlib.ledger.paper import paper_results
from vwlib.ledger.summary import is_diagonal
from vwlib.settings import Profile, load_profile
from vwlib.study.read import StoredStudy, study_of
from vwlib.study.run import ensure_study


def study_or_stand_in(profile: Profile) -> tuple[StoredStudy, str]:
    """A profile's study, and a notice of its size. If it is not stored, the study of profile smoke, if that is of the
    same models, and a notice that says so.

    Raises FileNotFoundError where nothing can stand in, and ValueError as `study_of` does.
    """
    try:
        study, notice = study_of(profile, ensure_study(profile)), ""
    except FileNotFoundError as error:
        small = load_profile("smoke")
        if small.classifier != profile.classifier:
            raise
        study = study_of(small, ensure_study(small))
        notice = f"{error} Until then this page shows the study of profile 'smoke', whose words are hardly learned. "
    return study, notice + describe_study(study)


def describe_study(study: StoredStudy) -> str:
    """A notice of a study's size."""
    rows = study.table[study.table["trained_on"].isin(TASKS)]
    trials = rows.groupby("dataset")[["concept", "anchor"]].nunique().max()
    return fill("study", study=study, concepts=trials["concept"], anchors=trials["anchor"])


def paper_points() -> pd.DataFrame:
    """The paper's figures 3 and 6 in one table, the unconstrained words without delta."""
    return pd.concat([paper_results("figure_6"), paper_results("figure_3")], ignore_index=True)


def paper_summary(datasets: Sequence[str], delta: float) -> dict[str, float]:
    """The paper's counterparts of `delta_findings`: means over datasets and directions, over all trials; not a number
    at a radius it has not tried.
    """
    points = paper_points()
    points = points[points["dataset"].isin(datasets)]
    return {name: float(part["mean"].mean()) for name, part in _own_and_mapped(points, delta).items()}


def _own_and_mapped(points: pd.DataFrame, delta: float) -> dict[str, pd.DataFrame]:
    """Rows of words on their own task and of mapped ones, within a radius and unconstrained (`_free`)."""
    words = points[points["trained_on"].isin(TASKS)]
    own, near, free = words["trained_on"] == words["evaluated_on"], words["delta"] == delta, words["delta"].isna()
    chosen = {"own": own & near, "own_free": own & free, "moved": ~own & near, "moved_free": ~own & free}
    return {name: words[rows] for name, rows in chosen.items()}


def delta_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Figure 6 in a few numbers: a row for each radius with the mean over datasets and directions, on the words' own
    task and after transfer.

    `summary` is that of `vwlib.ledger.summary.summarise_study`. The paper's means are over the same datasets and over
    all trials.
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
    unconstrained words, `floor` the anchor words' mean. `saturated` counts the own tasks whose interval reaches the
    unconstrained mean; `above` the transfers whose interval begins above the floor, `above_free` the same of
    unconstrained words: each tested by itself, against a mean taken as known.
    Raises ValueError at a radius that no word has.
    """
    radii = sorted(summary["delta"].dropna().unique().tolist())
    if delta not in radii:
        raise ValueError(f"No word of the summary lies within delta {delta:g}; it has the radii {radii}.")
    off, key = summary[summary["trials"] == "off-diagonal"], ["dataset", "evaluated_on"]
    floor = off[off["delta"].isna() & (off["trained_on"] == "anchor")].set_index(key)["mean"]
    parts = {name: part.set_index(key) for name, part in _own_and_mapped(off, delta).items()}
    above = {name: int((part["low"] > floor.reindex(part.index)).sum()) for name, part in parts.items()}
    return {name: float(part["mean"].mean()) for name, part in parts.items()} | {
        "floor": float(floor.mean()),
        "own_cells": len(parts["own"]),
        "saturated": int((parts["own"]["high"] >= parts["own_free"]["mean"]).sum()),
        "moved_cells": len(parts["moved"]),
        "above": above["moved"],
        "above_free": above["moved_free"],
    }


def moves_of(table: pd.DataFrame, world: str) -> pd.DataFrame:
    """The nearest word of each vector of each stored word: the experiments' table `displacements`, or
    `mapped_displacements`, as figures and texts take it.

    Mapped words are looked up in the word table of `task`. `source` is the task they were learned for; `diagonal` says
    whether a word started at its concept's own anchor.
    """
    moves = table.rename(columns={"evaluated_on": "task", "trained_on": "source"})
    moves = moves if "source" in moves else moves.assign(source=moves["task"])
    return moves.assign(diagonal=is_diagonal(moves, world))


def whereabouts(moves: pd.DataFrame, world: str) -> pd.DataFrame:
    """For each task and radius, off the diagonal: the median distance from the anchor, and which words are nearest, as
    shares of vectors.

    `moves` is that of `moves_of`; of mapped words each pair of tasks has its rows.
    """
    rows = []
    for (source, task, delta), part in _off_diagonal(moves, world).groupby(["source", "task", "delta"], dropna=False):
        order = (TASKS.index(source), TASKS.index(task), inf if isnan(delta) else delta)
        others = part.loc[~part["is_anchor"] & ~part["is_own"], "nearest"].value_counts().head(3)
        row = {
            "words of": task if task == source else f"{source}, mapped into {task}",
            "delta": radius_name(delta),
            "median distance": part["distance"].median(),
            "nearest: anchor": f"{part['is_anchor'].mean():.0%}",
            "nearest: concept's word": f"{part['is_own'].mean():.0%}",
            "most frequent other words": ", ".join(f"{word} ({n / len(part):.0%})" for word, n in others.items())
            or "none",
        }
        rows.append((order, row))
    return pd.DataFrame([row for _, row in sorted(rows, key=lambda pair: pair[0])])


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
    moves = moves[~moves["diagonal"]]
    own = {(name, c.name): c.anchor for name in moves["dataset"].unique() for c in concepts_of(name, world)}
    anchors = [own[key] for key in zip(moves["dataset"], moves["concept"], strict=True)]
    return moves.assign(is_own=moves["nearest"] == anchors)


def radius_name(delta: float) -> str:
    """How tables call the radius of a ball; one that is missing means unconstrained words."""
    return "unconstrained" if isnan(delta) else f"{delta:g}"
