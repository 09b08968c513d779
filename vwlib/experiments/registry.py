"""The experiments by the name of their table. A new one is an `Experiment` in a module of this package."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules

import vwlib.experiments
from vwlib.experiments.base import Experiment
from vwlib.settings import Profile
from vwlib.study.tables import TRIALS

_MODULES = [
    import_module(f"vwlib.experiments.{module.name}")
    for module in iter_modules(vwlib.experiments.__path__)
    if module.name not in ("registry", "running")
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
            if needed != TRIALS:
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
