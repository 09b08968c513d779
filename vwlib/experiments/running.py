"""Running experiments: case after case, in this process. Finished cases are never computed again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from vwlib.datasets.splits import open_lab
from vwlib.experiments.base import Experiment, Sources, case_name
from vwlib.experiments.registry import SCHEMAS, check_sizes
from vwlib.files import write_whole
from vwlib.paths import DATA
from vwlib.settings import Profile, load_profile
from vwlib.study.formats import pack_table, read_file, unpack_table
from vwlib.study.run import threads
from vwlib.study.store import Store
from vwlib.study.tables import TRIALS


def run(profile: Profile, chosen: Sequence[Experiment], root: Path = DATA, progress: bool = True) -> None:
    """Compute the chosen experiments' tables that are missing, damaged or stale. Killed, the next run goes on.

    Raises FileNotFoundError where the study's words are missing, and OSError where a folder cannot be written to.
    """
    check_sizes(profile)
    lab = open_lab(profile)
    for experiment in chosen:
        if state(experiment, store := Store(profile, root)) == "stored":
            continue
        tables = {name: store.read_table(name) for name in experiment.needs if name != TRIALS}
        sources = Sources(profile, root, tables, experiment.sizes_of(profile))
        digest, cases = experiment.digest(store), []
        for case in (bar := tqdm(experiment.cases(profile), experiment.name, unit="case", disable=not progress)):
            bar.set_postfix_str(name := case_name(case))
            rows = read_file(file := store.case_file(experiment.name, digest, name), unpack_table)
            if rows is None:
                with threads(profile.study.threads):
                    rows = experiment.rows(lab, case, sources)
                write_whole(file, pack_table(rows))
            cases.append(rows)
        if cases:
            needs = {name: store.checksum(name) for name in experiment.needs}
            store.publish_table(experiment.name, cases, says=experiment.question, digest=digest, needs=needs)


def state(experiment: Experiment, store: Store) -> str:
    """What is known of an experiment's table: "stored", "missing", "damaged" or "stale" (made from something else)."""
    if trouble := store.trouble(experiment.name):
        return trouble
    try:
        fresh = experiment.digest(store) == store.record(experiment.name).get("digest")
    except FileNotFoundError:  # a table that it was made from is gone
        fresh = False
    return "stored" if fresh else "stale"


def status(profile: Profile, chosen: Sequence[Experiment], root: Path = DATA) -> pd.DataFrame:
    """One row an experiment: its `table` and `state`, how many `rows` are stored, and what it `asks`."""
    check_sizes(profile)
    store = Store(profile, root)
    rows = [
        (
            experiment.name,
            state(experiment, store) if experiment.cases(profile) else "not for this profile",
            store.record(experiment.name).get("rows", 0),
            experiment.question,
        )
        for experiment in chosen
    ]
    return pd.DataFrame(rows, columns=["table", "state", "rows", "asks"])


def read_tables(profile: str, root: Path = DATA) -> dict[str, pd.DataFrame]:
    """The stored tables of a profile that the ledger judges by, by name. Raises ValueError where one was altered."""
    store = Store(load_profile(profile), root)
    names = sorted({TRIALS, *SCHEMAS})
    return {name: store.read_table(name) for name in names if store.table_file(name).exists()}
