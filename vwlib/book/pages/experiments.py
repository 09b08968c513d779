"""The tables of the experiments, for pages: read where they are stored, computed where they are small, and named where
they are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from vwlib.book.pages.tables import with_interval
from vwlib.experiments.running import EXPERIMENTS, SCHEMAS, choose, run
from vwlib.ledger.estimate import Estimate
from vwlib.ledger.judge import claim_cases
from vwlib.settings import Profile, load_profile
from vwlib.study.run import ensure_study
from vwlib.study.store import read_table


def tables_of(profile: Profile, names: Sequence[str], root: Path | None = None) -> dict[str, pd.DataFrame]:
    """The tables of experiments by name. With `compute_on_demand`, the study and missing tables are computed first.

    The table of an experiment that the profile does not have is empty, such as one on drawings where there are
    photographs. Raises FileNotFoundError that names the command where a table is missing, and ValueError where one was
    damaged.
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


def tables_or_stand_in(profile: Profile, names: Sequence[str]) -> tuple[dict[str, pd.DataFrame], str]:
    """`tables_of` and an empty notice. If a table is missing, all tables of profile smoke and a notice that says so.

    Raises FileNotFoundError where smoke's tables are of other models, and ValueError as `tables_of` does.
    """
    try:
        return tables_of(profile, names), ""
    except FileNotFoundError as error:
        small = load_profile("smoke")
        if small.classifier != profile.classifier:
            raise
        notice = (
            f"{error} Until then this page shows the tables of profile 'smoke', whose few words are hardly learned."
        )
        return tables_of(small, names), notice


def claim_of(number: int, tables: Mapping[str, pd.DataFrame], profile: Profile) -> dict[str, Estimate]:
    """What the ledger estimates for a claim, by case: pages take from it every quantity that a claim judges.

    Without the claim's table, or without rows in it, there are no cases.
    """
    known = {name: table for name, table in tables.items() if name in SCHEMAS and len(table)}
    return claim_cases(number, known, SCHEMAS, profile.world)


def claim_table(
    cases: Mapping[str, Estimate],
    quantity: str,
    case: str = "case",
    form: str = "+.2f",
    arms: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """A row for each case of a claim: its name, the means of the arms, the quantity with its 95 % interval, the trials.

    `case` and `quantity` head their columns. `arms` gives those of the arms that are shown a heading; their means are
    over the trials that all arms share.
    """
    rows = []
    for name, estimate in cases.items():
        means = {heading: estimate.means[arm] for arm, heading in arms.items() if arm in estimate.means}
        found = with_interval(estimate.value, *estimate.interval(), form)
        rows.append({case: name or "all", **means, quantity: found, "trials": estimate.n})
    return pd.DataFrame(rows, columns=[case, *dict.fromkeys(arms.values()), quantity, "trials"])
