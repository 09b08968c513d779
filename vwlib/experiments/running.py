"""Running experiments: case after case, in this process. What is finished is never computed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from vwlib.experiments.base import TRIALS, Experiment, Sources, case_name
from vwlib.experiments.tables import Tables, read_records, read_table
from vwlib.paths import DATA
from vwlib.settings import Profile
from vwlib.study.run import threads


def choose(experiments: Mapping[str, Experiment], names: Sequence[str]) -> list[Experiment]:
    """The experiments of these names and those whose tables they need, each after what it needs; all of them without a
    name.

    Raises ValueError for a name that is no experiment's.
    """
    for name in names:
        if name not in experiments:
            raise ValueError(f"'{name}' is no experiment; there are {', '.join(experiments)}.")
    found: dict[str, Experiment] = {}

    def add(name: str) -> None:
        for needed in experiments[name].needs:
            if needed != TRIALS:
                add(needed)
        found.setdefault(name, experiments[name])

    for name in names or experiments:
        add(name)
    return list(found.values())


def run(profile: Profile, chosen: Sequence[Experiment], root: Path = DATA, progress: bool = True) -> None:
    """Compute whatever is missing, damaged or stale of the chosen experiments' tables. Killed at any point, the next
    run goes on.

    Raises FileNotFoundError that names the command where the study's words are missing, OSError where a folder cannot
    be written to.
    """
    for experiment in chosen:
        tables = Tables(profile, root)
        if not tables.trouble(experiment):
            continue
        sources = Sources(
            profile, root, {name: read_table(name, profile.name, root) for name in experiment.needs if name != TRIALS}
        )
        cases = experiment.cases(profile)
        parts = []
        for case in (bar := tqdm(cases, desc=experiment.name, unit="case", disable=not progress)):
            bar.set_postfix_str(case_name(case))
            rows = tables.load_case(experiment, case)
            if rows is None:
                with threads(profile.study.threads):
                    rows = experiment.compute(profile, case, sources)
                tables.save_case(experiment, case, rows)
            parts.append(rows)
        if parts:
            tables.publish(experiment, parts)


def status(profile: Profile, chosen: Sequence[Experiment], root: Path = DATA) -> pd.DataFrame:
    """One row an experiment: `table`, `state` ("stored", "missing", "damaged" or "stale"), how many `rows` are stored,
    and what it `is`.
    """
    tables, records = Tables(profile, root), read_records(profile.name, root)
    rows = []
    for experiment in chosen:
        state = tables.trouble(experiment) or "stored"
        state = state if experiment.cases(profile) else "not for this profile"
        rows.append((experiment.name, state, records.get(experiment.name, {}).get("rows", 0), experiment.says))
    return pd.DataFrame(rows, columns=["table", "state", "rows", "is"])
