"""The tables of the experiments, for pages: read where they are stored, computed where they are small, and named where
they are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from vwlib.book.pages.tables import with_interval
from vwlib.experiments import EXPERIMENTS, choose, read_table, run
from vwlib.experiments.schemas import SCHEMAS
from vwlib.ledger.judge import judge_claims
from vwlib.settings import Profile, load_profile
from vwlib.study.bank import results_root
from vwlib.study.run import run_study


def tables_of(profile: Profile, names: Sequence[str], root: Path | None = None) -> dict[str, pd.DataFrame]:
    """The tables of experiments by name. With `compute_on_demand`, the study and missing tables are computed first.

    The table of an experiment that the profile does not have is empty, such as one on drawings where there are
    photographs. Raises FileNotFoundError that names the command where a table is missing, and ValueError where one was
    damaged.
    """
    root = root or results_root(profile)
    if profile.study.compute_on_demand:
        run_study(profile, root, progress=False)
        run(profile, choose(EXPERIMENTS, names), root, progress=False)
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


def judge_tables(tables: Mapping[str, pd.DataFrame], profile: Profile) -> pd.DataFrame:
    """The ledger's verdicts (`vwlib.ledger.judge.judge_claims`) on these tables alone: what a page reads from it.

    Tables that the ledger does not know and tables without rows are left out.
    """
    known = {name: table for name, table in tables.items() if name in SCHEMAS and len(table)}
    return judge_claims(known, SCHEMAS, profile.name)


def claim_texts(judged: pd.DataFrame, claim: int, form: str) -> dict[str, str]:
    """What the ledger finds in each case of a claim: the value with its 95 % interval, or a dash for missing rows.

    `judged` is that of `judge_tables`. Raises KeyError for an unknown claim.
    """
    cases = judged.set_index("id").at[claim, "cases"]
    return {
        case["case"]: with_interval(case["ours"], *case["interval"], form) if case["interval"] else "–"
        for case in cases
    }


def claim_table(judged: pd.DataFrame, claim: int, case: str, quantity: str, form: str = "+.2f") -> pd.DataFrame:
    """What the ledger finds in each case of a claim, a row a case; `case` and `quantity` head the columns."""
    return pd.DataFrame(claim_texts(judged, claim, form).items(), columns=[case, quantity])
