"""The tables that claims are asked of: checked, with the columns that rules ask for, and those made of others."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from vwlib.concepts import DATASETS, TASKS, anchors_of, concepts_of
from vwlib.ledger.claims import load_settings
from vwlib.ledger.paper import paper_results
from vwlib.ledger.schemas import DERIVED, TRIAL, TableSchema
from vwlib.ledger.statistics import design_effect
from vwlib.ledger.summary import is_diagonal
from vwlib.paths import DATA

QUALITY = DATA / "miniature" / "quality.json"

_SCORES, _STUDY = (*TRIAL, "trained_on", "evaluated_on", "value"), "`vwlib study` makes it"
#: The tables that no experiment makes.
OTHERS = {
    "trials": TableSchema("scores of the study's words", _SCORES, ("value",), made_by=_STUDY),
    "fresh": TableSchema("scores of words for fresh concepts", _SCORES, ("value",), made_by=_STUDY),
    "geometry": TableSchema(
        "the word tables' geometry", ("task", "kind", "value"), (), (), None, made_by="`make quality` measures it"
    ),
    "grid_effects": TableSchema(
        "design effect of each mean of figures 3 and 6",
        (),
        units=("scored_on", "learned_for"),
        made_by="`vwlib study` makes its trials",
    ),
    "paper": TableSchema("the paper's figures 3 and 6", (), made_by="it is in data/paper"),
    "design": TableSchema(
        "the sizes of the paper's experiments", (), units=(), stratum=None, made_by="it is in vwlib.concepts"
    ),
}


def prepare(name: str, table: pd.DataFrame, world: str, schemas: Mapping[str, TableSchema]) -> pd.DataFrame:
    """The columns of a table's schema, and those that rules ask for beside them (`DERIVED`). Raises ValueError in one
    sentence for an unknown table, a missing column and a share outside [0, 1].
    """
    if name not in schemas:
        raise ValueError(f"'{name}' is no table of the ledger; there are {', '.join(schemas)}.")
    schema = schemas[name]
    for column in schema.columns:
        if column not in table:
            raise ValueError(f"The table '{name}' has no column '{column}'; it needs {', '.join(schema.columns)}.")
    table = table.reset_index(drop=True)
    if {"trained_on", "evaluated_on"} <= set(table):
        table["role"] = table["role"].fillna(_roles(table)) if "role" in table else _roles(table)
    if {"dataset", "concept", "anchor"} <= set(table):
        table["diagonal"] = is_diagonal(table, world)
    if name == "displacements":
        own = {(dataset, c.name): c.anchor for dataset in DATASETS for c in concepts_of(dataset, world)}
        named = [own.get(key) for key in zip(table["dataset"], table["concept"], strict=True)]
        table["names_concept"] = table["nearest"] == pd.Series(named, table.index)
    if name == "crossings":
        table["never"] = table["crossing"].isna()
        table["crossing_share"] = table["crossing"] / table["depth"]  # a word that never flips acts at no layer
    if name == "compounds":
        table["solved"] = table["value"] >= load_settings().solves
    for column in schema.shares:
        if column in table and not table[column].astype(float).dropna().between(0, 1).all():
            raise ValueError(f"The table '{name}' has values of '{column}' outside 0 to 1.")
    table = _with_stage(name, table)
    table = table[[column for column in table if column in schema.columns or column in DERIVED]]
    # Rows are chosen by words hundreds of times; of categories only codes are compared.
    return table.astype(dict.fromkeys(table.select_dtypes(["object", "string"]), "category"))


def _roles(table: pd.DataFrame) -> pd.Series:
    own = np.where(table["trained_on"] == table["evaluated_on"], "own", "mapped")
    return table["trained_on"].map({"anchor": "floor", "name": "ceiling"}).fillna(pd.Series(own, table.index))


#: Which layers, numbers of blocks or steps are a stage, of those that a task's rows have, sorted; 0 is before the
#: encoder has begun.
_STAGES: dict[str, tuple[str, Callable[[list], dict]]] = {
    "clusters": ("layer", lambda known: {known[0]: "first", known[-1]: "last"}),
    "truncation": (
        "blocks",
        lambda known: {**dict.fromkeys([c for c in known if c <= known[-1] / 2][-1:], "half"), known[-1]: "last"},
    ),
    "sweep": ("steps", lambda known: {**dict.fromkeys(known[-2:-1], "before"), known[-1]: "last"}),
}


def _with_stage(name: str, table: pd.DataFrame) -> pd.DataFrame:
    if name not in _STAGES:
        return table
    column, stages = _STAGES[name]
    stage = pd.Series("other", table.index)
    for _, places in table.loc[table[column] > 0, column].groupby(table["task"]):
        for place, called in stages(sorted(places.unique())).items():
            stage[places.index[places == place]] = called
    return table.assign(stage=stage)


def with_carried(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables; those of trials have the carried anchor words of their datasets as rows of a further role."""
    found = dict(tables)
    if (carried := found.get("carried_anchors")) is not None:
        names = {"source": "trained_on", "target": "evaluated_on"}
        carried = carried.rename(columns=names).assign(role="carried", delta=np.nan)
        for name in {"trials", "fresh"} & found.keys():
            own = carried[carried["dataset"].isin(found[name]["dataset"].unique())]
            found[name] = pd.concat([found[name], own], ignore_index=True)
    return found


def geometry_table(path: Path = QUALITY) -> pd.DataFrame | None:
    """What `make quality` measures of the word tables, one row a task and number (`kind`); None where it did not."""
    measured = json.loads(path.read_text()).get("geometry") if path.exists() else None
    if not measured:
        return None
    rows = [(task, kind, float(value)) for task, numbers in measured.items() for kind, value in numbers.items()]
    return pd.DataFrame(rows, columns=["task", "kind", "value"])


def grid_effects(trials: pd.DataFrame) -> pd.DataFrame:
    """Claim 53: the design effect of each dataset's mean of unconstrained words, of a prepared table of trials."""
    keys = ["dataset", "evaluated_on", "trained_on"]
    words = trials[trials["role"].isin(["own", "mapped"]) & trials["delta"].isna()]
    groups = words.groupby(keys, observed=True)
    rows = [(*key, design_effect(group)) for key, group in groups if group["value"].notna().any()]
    found = pd.DataFrame(rows, columns=[*keys, "effect"])
    # Each dataset's means are of other trials.
    return found.assign(
        **{new: found["dataset"] + found[of] for new, of in (("scored_on", keys[1]), ("learned_for", keys[2]))}
    )


def paper_table() -> pd.DataFrame:
    """The paper's figures 3 and 6 as a table of trials has them."""
    table = pd.concat([paper_results("figure_3"), paper_results("figure_6")], ignore_index=True)
    return table.rename(columns={"mean": "value"}).assign(role=_roles)


def design_table() -> pd.DataFrame:
    """How many words the paper's two experiments learn."""
    words = len(TASKS) * sum(len(concepts_of(dataset)) * len(anchors_of(dataset)) for dataset in DATASETS)
    deltas = paper_results("figure_6")["delta"].nunique()
    return pd.DataFrame({"kind": ["experiment 1", "experiment 2"], "words": [words, words * deltas]})
