"""The experiments by name, and running them: case after case, in this process. Finished cases are kept."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pandas as pd
from tqdm.auto import tqdm

import vwlib.experiments
from vwlib.datasets.splits import open_lab
from vwlib.experiments.base import Experiment, Sources, case_name
from vwlib.files import write_whole
from vwlib.ledger.tables import OTHERS
from vwlib.paths import DATA
from vwlib.settings import Profile, load_profile
from vwlib.study.formats import pack_table, read_file, unpack_table
from vwlib.study.run import threads
from vwlib.study.store import GRIDS, Store

_MODULES = [
    import_module(f"vwlib.experiments.{module.name}")
    for module in iter_modules(vwlib.experiments.__path__)
    if module.name != "running"
]
EXPERIMENTS = {
    value.name: value for module in _MODULES for value in vars(module).values() if isinstance(value, Experiment)
}
#: What the ledger asks of the tables that it reads.
SCHEMAS = {name: experiment.schema for name, experiment in EXPERIMENTS.items() if experiment.schema}


def choose(names: Sequence[str]) -> list[Experiment]:
    """The experiments of these names, by default all, each after those it needs. ValueError: an unknown name."""
    for name in names:
        if name not in EXPERIMENTS:
            raise ValueError(f"'{name}' is no experiment; there are {', '.join(EXPERIMENTS)}.")
    chosen: dict[str, Experiment] = {}

    def add(name: str) -> None:
        for needed in EXPERIMENTS[name].needs:
            if needed not in GRIDS:
                add(needed)
        chosen.setdefault(name, EXPERIMENTS[name])

    for name in names or EXPERIMENTS:
        add(name)
    return list(chosen.values())


def check_sizes(profile: Profile) -> None:
    """Raise ValueError if the profile gives a size that no experiment has, or one of another type."""
    known = {size.name for experiment in EXPERIMENTS.values() for size in experiment.sizes}
    if unknown := sorted(profile.experiments.own.keys() - known):
        names = ", ".join(sorted(known | type(profile.experiments).model_fields.keys()))
        raise ValueError(f"Profile '{profile.name}': no experiment has the size '{unknown[0]}'; there are {names}.")
    for experiment in EXPERIMENTS.values():
        experiment.sizes_of(profile)


def run(profile: Profile, chosen: Sequence[Experiment], root: Path = DATA, progress: bool = True) -> None:
    """Compute the chosen experiments' tables that are missing, damaged or stale. Killed, the next run goes on.

    Raises FileNotFoundError where the study's words are missing, and OSError where a folder cannot be written to.
    """
    check_sizes(profile)
    lab = open_lab(profile)
    for experiment in chosen:
        if state(experiment, store := Store(profile, root)) == "stored":
            continue
        tables = {name: store.read_table(name) for name in experiment.needs if name not in GRIDS}
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
    names = [experiment.name for experiment in chosen]
    states = [state(one, store) if one.cases(profile) else "not for this profile" for one in chosen]
    rows = [store.record(name).get("rows", 0) for name in names]
    return pd.DataFrame({"table": names, "state": states, "rows": rows, "asks": [one.question for one in chosen]})


def read_tables(profile: str, root: Path = DATA) -> dict[str, pd.DataFrame]:
    """The stored tables of a profile that the ledger judges by, by name. Raises ValueError where one was altered."""
    store = Store(load_profile(profile), root)
    names = sorted({*OTHERS, *SCHEMAS})
    return {name: store.read_table(name) for name in names if store.table_file(name).exists()}
