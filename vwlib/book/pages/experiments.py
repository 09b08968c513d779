"""The tables of the experiments, for pages: read where they are stored, computed where they are small."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import pandas as pd

from vwlib.book.figures.style import tasks_in
from vwlib.book.pages.tables import estimated
from vwlib.experiments.running import EXPERIMENTS, SCHEMAS, choose, run
from vwlib.ledger.estimate import Estimate
from vwlib.ledger.judge import claim_cases
from vwlib.settings import Profile, load_profile
from vwlib.study.run import ensure_study
from vwlib.study.store import read_table

Stored = TypeVar("Stored")

#: What pages call the arms of claim 49: words with random offsets of three kinds, and learned words.
OFFSET_ARMS = {"isotropic": "random", "vocabulary": "random", "word": "random", "optimised": "learned"}


def tables_of(profile: Profile, names: Sequence[str], root: Path | None = None) -> dict[str, pd.DataFrame]:
    """The tables of experiments by name; with `compute_on_demand`, the study and missing tables are computed first.

    A table is empty where the profile cannot have it. Raises FileNotFoundError that names the command where one is
    missing, and ValueError where one was damaged.
    """
    root = ensure_study(profile, root)
    if profile.study.compute_on_demand:
        run(profile, choose(names), root, progress=False)
    return {
        name: read_table(name, profile.name, root)
        if EXPERIMENTS[name].cases(profile)
        else pd.DataFrame(columns=[*SCHEMAS[name].columns])
        for name in names
    }


def or_stand_in(read: Callable[[Profile], Stored], profile: Profile, what: str) -> tuple[Stored, str]:
    """What `read` finds of a profile, and an empty notice. If it is missing, that of profile smoke and a notice. Raises
    FileNotFoundError where smoke's models are others.
    """
    try:
        return read(profile), ""
    except FileNotFoundError as error:
        small = load_profile("smoke")
        if small.classifier != profile.classifier:
            raise
        notice = (
            f"{error} Until then this page shows the {what} of profile 'smoke', whose few words are hardly learned."
        )
        return read(small), notice


def tables_or_stand_in(profile: Profile, names: Sequence[str]) -> tuple[dict[str, pd.DataFrame], str]:
    """`tables_of` and a notice (`or_stand_in`)."""
    return or_stand_in(lambda profile: tables_of(profile, names), profile, "tables")


def claim_of(number: int, tables: Mapping[str, pd.DataFrame], profile: Profile) -> dict[str, Estimate]:
    """What the ledger estimates for a claim, by case; no cases without rows in the claim's table."""
    known = {name: table for name, table in tables.items() if name in SCHEMAS and len(table)}
    return claim_cases(number, known, SCHEMAS, profile.world)


def claim_table(
    cases: Mapping[str, Estimate],
    quantity: str,
    case: str = "case",
    form: str = "+.2f",
    arms: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """A row for each case of a claim: its name, means of the arms, the quantity with its 95 % interval, the trials.

    `case` and `quantity` head their columns, `arms` those of the arms shown, over the trials that all arms share.
    """
    rows = []
    for name, estimate in cases.items():
        means = {heading: estimate.means[arm] for arm, heading in arms.items() if arm in estimate.means}
        rows.append({case: name or "all", **means, quantity: estimated(estimate, form), "trials": estimate.n})
    return pd.DataFrame(rows, columns=[case, *dict.fromkeys(arms.values()), quantity, "trials"])


def reach_table(table: pd.DataFrame) -> pd.DataFrame:
    """Mean cosine with a random direction: the anchor's, and what learning reaches in each radius (table `reach`)."""
    radius = table["delta"].map("δ = {:g}".format).where(table["delta"].notna(), "free")
    rows = []
    for task in tasks_in(table):
        own = table["task"] == task
        reached = table[own].groupby(radius[own], sort=False)["cosine"].mean()
        rows.append({"encoder of": task, "anchor": table.loc[own, "start"].mean(), **reached})
    return pd.DataFrame(rows)


def segment_table(table: pd.DataFrame, cases: Mapping[str, Estimate]) -> pd.DataFrame:
    """Claim 39: mean scores of pairs of solutions and half way between them, and the share that lose more than 0.1.

    `table` is `segments`, `cases` the claim's. Half way is the better of straight line and curve.
    """
    shares = claim_table(cases, "lose more than 0.1", "words for", ".0%").rename(columns={"trials": "pairs"})
    means = table.groupby(["task", "kind"])["value"].mean().unstack().reindex(columns=["ends", "middle"])
    return shares.join(means.rename(columns={"middle": "half way"}), on="words for")


def compound_table(table: pd.DataFrame, cases: Mapping[str, Estimate]) -> pd.DataFrame:
    """Claim 28: the share of a compound's word that the best two words leave unexplained, and that its parts do.

    The claim is of the compounds that do their task; scores and parts are of all.
    """
    names = {"learned": "by the best two words", "real": "a part's word by the best two others"}
    columns = {"residual": "by its two parts, all compounds", "value": "score, all compounds"}
    learned = table[table["kind"] == "learned"].reindex(columns=["task", *columns]).groupby("task").mean()
    claim = claim_table(cases, "difference", "words for", arms=names)
    return claim.join(learned.rename(columns=columns), on="words for")
