"""The tables of the experiments, for pages: read where they are stored, computed where they are small, and named where
they are missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vwlib.experiments import EXPERIMENTS, choose, read_table, run
from vwlib.experiments.schemas import SCHEMAS
from vwlib.settings import Profile, load_profile
from vwlib.study.bank import results_root
from vwlib.study.run import run_study


def tables_of(profile: Profile, names: Sequence[str], root: Path | None = None) -> dict[str, pd.DataFrame]:
    """Experiments' tables of a profile by name. Small ones (`compute_on_demand`) are computed where they are missing,
    and the study before them.

    The table of an experiment that the profile does not have, such as one on drawings where there are photographs, is
    empty.
    Raises FileNotFoundError that names the command where one is missing, and ValueError where one was damaged.
    """
    root = root or results_root(profile)
    if profile.study.compute_on_demand:
        run_study(profile, root, progress=False)
        run(profile, choose(EXPERIMENTS, names), root, progress=False)
    empty = {
        name: pd.DataFrame(columns=[*SCHEMAS[name].columns]) for name in names if not EXPERIMENTS[name].cases(profile)
    }
    return {name: empty[name] if name in empty else read_table(name, profile.name, root) for name in names}


def tables_or_stand_in(profile: Profile, names: Sequence[str]) -> tuple[dict[str, pd.DataFrame], str]:
    """`tables_of`, and nothing to say. Where a table is missing, those of profile smoke stand in for all, if it is of
    the same models, and words say so.

    Raises FileNotFoundError where nothing can stand in, and ValueError as `tables_of` does.
    """
    try:
        return tables_of(profile, names), ""
    except FileNotFoundError as error:
        small = load_profile("smoke")
        if small.classifier != profile.classifier:
            raise
        return tables_of(
            small, names
        ), f"{error} Until then those of profile 'smoke' stand in, of a few words that are hardly learned at all."
