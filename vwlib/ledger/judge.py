"""The verdicts on the paper's claims, by their rules, on the tables of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vwlib.concepts import DATASETS, FRESH, TASKS, concepts_of
from vwlib.ledger.claims import CLAIMS, Check, Claim, load_checks, load_claims, load_settings
from vwlib.ledger.estimate import Estimate, evaluate, names_in
from vwlib.ledger.judgements import ClaimCase, Judgement, correct
from vwlib.ledger.schemas import TableSchema
from vwlib.ledger.statistics import pooled_estimate, slope_estimate, two_way_clustered_estimate
from vwlib.ledger.tables import OTHERS, design_table, geometry_table, grid_effects, paper_table, prepare, with_carried
from vwlib.ledger.verdicts import DEFINITION
from vwlib.settings import load_profile

Tables = Mapping[str, pd.DataFrame]
Schemas = Mapping[str, TableSchema]


def judge_claims(tables: Tables, schemas: Schemas, profile: str = "miniature", path: Path = CLAIMS) -> pd.DataFrame:
    """The verdict on every claim, from the tables of a profile's study by name (`schemas`); one row a claim.

    Columns are the claim's `id`, `claim`, `place`, `section`, `scope`, `data`, `figure`, `note` and `changed`; those of
    the case that decides, `case`, `ours`, `interval` and `n`; `paper` (its number, as text), `p`, `p_adjusted` (for the
    other claims of its family), `family`, `verdict`, `detectable` (how far beyond the bound a true value is found nine
    times in ten), `cases`, `reason`, `missing` and `singly`. Where a table is missing, or the models fail a check, a
    claim is undecidable.

    Raises ValueError for a malformed ledger, an unknown table, and a table without the columns that it must have.
    """
    claims, schemas, primary = load_claims(path), {**OTHERS, **schemas}, load_settings(path).primary
    for claim in claims:
        claim.check_columns(schemas)
    judge = Judge.of(tables, schemas, load_profile(profile).world, load_checks(path))
    found = [judge.judge(claim) for claim in claims]
    correct(found, primary)
    fields = {"id", "claim", "place", "section", "scope", "data", "figure", "note", "changed"}
    family = {number: question.question for question in primary for number in question.claims}
    rows = [(one.claim, one.record()) for one in found]
    return pd.DataFrame([c.model_dump(include=fields) | row | {"family": family.get(c.id, "")} for c, row in rows])


def claim_cases(number: int, tables: Tables, schemas: Schemas, world: str, **changes: Any) -> dict[str, Estimate]:
    """What the ledger estimates for one claim, by the name of the case, for figures and texts about the same quantity:
    with `changes`, fields of the claim, in other cases or of other data. Checks are not asked, and cases that lack rows
    are left out. Raises KeyError for an unknown claim.
    """
    claim = {claim.id: claim for claim in load_claims()}[number].model_copy(update=changes)
    cases = Judge.of(tables, {**OTHERS, **schemas}, world, {}).cases(claim)
    return {case.name: case.estimate for case in cases if case.estimate}


@dataclass(frozen=True)
class Judge:
    """What rules are asked of: prepared tables by name, their schemas, the world of concepts, the checks."""

    tables: Tables
    schemas: Schemas
    world: str
    checks: Mapping[str, Check]

    @classmethod
    def of(cls, tables: Tables, schemas: Schemas, world: str, checks: Mapping[str, Check]) -> Judge:
        """One for tables as they are stored; of the miniature's word tables the measured geometry comes to them."""
        if "geometry" not in tables and world == "miniature" and (measured := geometry_table()) is not None:
            tables = {**tables, "geometry": measured}
        ready = {name: prepare(name, table, world, schemas) for name, table in with_carried(tables).items()}
        return cls(ready | {"paper": paper_table(), "design": design_table()}, schemas, world, checks)

    def judge(self, claim: Claim) -> Judgement:
        """What comes of a rule before the correction in its family has decided on its verdict."""
        papers = [_paper_number(claim, self.tables["paper"], case, value) for case, _, value in self.asked(claim)]
        found = Judgement(claim, _paper_text(claim, papers))
        if claim.test == "definition":
            found.verdict = DEFINITION
        if claim.scope == "real weights" and self.world != "paper":
            found.reason = "other models"
            return found
        found.missing, found.checked = self.check(claim)
        if found.missing:
            found.reason = "check" if isfinite(found.checked) else "missing"
        elif self.table(claim) is None:
            found.missing = self.no_table(self.name_of(claim))
        else:
            found.cases = self.cases(claim)
            found.missing = next((case.missing for case in found.cases if case.missing), "")
            if any(case.estimate for case in found.cases):
                found.decide()
            else:
                made = "" if "makes it" in found.missing else f"; {self.schemas[self.name_of(claim)].made_by}"
                found.missing = f"{found.missing.rstrip('.')}{made}."
        return found

    def check(self, claim: Claim) -> tuple[str, float]:
        """Which check the models fail, empty where they pass all of a claim's; the weakest number of the last asked."""
        weakest = nan
        for check in (self.checks[name] for name in claim.checks):
            if (table := self.tables.get(check.table)) is None:
                return f"{check.sentence} This cannot be asked: {self.no_table(check.table)}", nan
            found = []
            for case in _cases(check.each, self.world):
                if claim.tasks and not set(case.values()) & set(claim.tasks):
                    continue
                rows = {name: arm.choose(table, case)[arm.measure or "value"] for name, arm in check.arms.items()}
                name = _name(case, "")
                if lacks := [arm for arm, row in rows.items() if row.dropna().empty]:
                    reason = f"the table '{check.table}' has no rows for '{lacks[0]}' ({name})."
                    return f"{check.sentence} This cannot be asked: {reason}", nan
                means = {arm: row.astype(float).mean() for arm, row in rows.items()}
                values = [(float(evaluate(demand.value, means)[0]), demand) for demand in check.at_least]
                found += [(value / demand.bound, value, demand, name) for value, demand in values]
            share, weakest, demand, name = min(found, key=lambda one: one[0])
            if not share >= 1:
                number = f"{weakest:.2f}{f' ({name})' if name else ''}, and {demand.bound:.2g} is needed"
                return f"{check.sentence} Here {demand.quantity} is {number}.", weakest
        return "", weakest

    def no_table(self, name: str) -> str:
        """That a table is missing, and what makes it."""
        return f"The table '{name}' is missing ({self.schemas[name].rows}); {self.schemas[name].made_by}."

    def is_fresh(self, claim: Claim) -> bool:
        """Whether fresh concepts decide; the paper's own models have none."""
        return claim.data == "fresh" and self.world == "miniature"

    def name_of(self, claim: Claim) -> str:
        """The name of a claim's table."""
        return "fresh" if claim.table == "trials" and self.is_fresh(claim) else claim.table

    def table(self, claim: Claim) -> pd.DataFrame | None:
        """The table of a claim, if it is there: the rows of the concepts that decide."""
        if claim.table == "grid_effects" and "trials" in self.tables:
            return grid_effects(self.tables["trials"])
        table = self.tables.get(self.name_of(claim))
        if table is None or claim.table == "trials" or "dataset" not in table:
            return table
        return table[table["dataset"].isin(list(FRESH)) == self.is_fresh(claim)]

    def asked(self, claim: Claim) -> list[tuple[dict[str, str], str, str]]:
        """A claim's cases with the labels and expressions of its values."""
        cases = claim.cases or _cases(claim.each, self.world)
        return [(case, label, value) for case in cases for label, value in claim.value.items()]

    def cases(self, claim: Claim) -> list[ClaimCase]:
        """What comes out in each case of a claim; none without its table."""
        found, table, paper_figures = list[ClaimCase](), self.table(claim), self.tables["paper"]
        for case, label, expression in self.asked(claim) if table is not None else []:
            name, paper = _name(case, label), _paper_number(claim, paper_figures, case, expression)
            try:
                if claim.test == "number" and paper is None:
                    raise ValueError("The paper's figures do not show this number.")
                estimate = self.estimate(claim, table, case, expression)
            except ValueError as error:
                found.append(ClaimCase(name, paper=paper, missing=str(error)))
            else:
                found.append(ClaimCase(name, estimate, paper, "", *_p_values(claim, estimate, paper or 0.0)))
        return found

    def estimate(self, claim: Claim, table: pd.DataFrame, case: Mapping[str, str], expression: str) -> Estimate:
        """The claim's quantity in one case; ValueError where rows are missing."""
        schema, names = self.schemas[claim.table], [name for name in claim.arms if name in names_in(expression)]
        arms = {name: claim.arms[name].choose(table, case) for name in names}
        for name, rows in arms.items():
            self._check_rows(name, rows, case, claim)
        first, measures = arms[names[0]], {name: claim.measure_of(name) for name in names}
        if claim.is_exact:
            means = {name: rows[measures[name]].astype(float).mean() for name, rows in arms.items()}
            return Estimate(float(evaluate(expression, means)[0]), 0.0, inf, min(map(len, arms.values())))
        if claim.x:
            return slope_estimate(first, claim.x, claim.measure, within=claim.within)
        if not schema.units:
            values = evaluate(expression, {name: rows[measures[name]].to_numpy() for name, rows in arms.items()})
            return pooled_estimate(values, first["low"], first["high"])
        alike: dict[tuple, list[str]] = {}
        for name in names:
            alike.setdefault((claim.arms[name].dataset, claim.arms[name].diagonal), []).append(name)
        bounded = set(measures.values()) <= set(schema.shares)
        return two_way_clustered_estimate(
            arms,
            expression,
            schema.units,
            schema.stratum,
            measures,
            paired_arms=list(alike.values()),
            share=claim.share,
            limits=(0.0, 1.0) if bounded else (-inf, inf),
            pairs=schema.pairs,
        )

    def _check_rows(self, name: str, rows: pd.DataFrame, case: Mapping[str, str], claim: Claim) -> None:
        """That an arm has rows. A mean over all datasets or tasks is no mean over those that happen to be done."""
        arm, table = claim.arms[name], self.name_of(claim)
        conditions = {**case, **arm.fixed()} | ({"delta": arm.delta} if "delta" in rows and arm.delta != "any" else {})
        asked = ", ".join(f"{key} {value}" for key, value in conditions.items())
        lacks = f"The table '{table}' has no rows for '{name}' ({asked})"
        if rows.empty or rows[claim.measure_of(name)].isna().all():
            raise ValueError(f"{self.no_table('carried_anchors') if arm.role == 'carried' else lacks + '.'}")
        if claim.table != "trials":
            return
        for column, values in (("dataset", FRESH if table == "fresh" else DATASETS), ("evaluated_on", TASKS)):
            absent = [value for value in values if value not in set(rows[column])] if column not in conditions else []
            if absent:
                raise ValueError(f"{lacks} with {column} {absent[0]}.")


def _cases(each: Sequence[str], world: str) -> list[dict[str, str]]:
    """Cases, as conditions on columns: every value of `each`; words are mapped between different tasks."""

    def values(key: str, case: Mapping[str, str]) -> Sequence[str]:
        if key == "concept":
            return [concept.name for concept in concepts_of(case["dataset"], world)]
        return DATASETS if key == "dataset" else TASKS

    cases: list[dict[str, str]] = [{}]
    for key in each:
        cases = [case | {key: value} for case in cases for value in values(key, case)]
    pairs = [("trained_on", "evaluated_on"), ("source", "target")]
    return [case for case in cases if all(case.get(one, "") != case.get(other, " ") for one, other in pairs)]


def _name(case: Mapping[str, str], label: str) -> str:
    parts = dict(case)
    for one, other in (("trained_on", "evaluated_on"), ("source", "target")):
        if {one, other} <= set(case):
            parts = {"direction": f"{parts.pop(one)} to {parts.pop(other)}"} | parts
    return ", ".join(filter(None, [*parts.values(), label]))


def _p_values(claim: Claim, estimate: Estimate, paper: float) -> tuple[float, float]:
    """One-sided p values for the claim and against it; 0 and 1 where numbers are compared without a test."""
    bound = claim.bound or 0.0
    if claim.is_exact:
        value = estimate.value
        equal = bool(np.isclose(value, bound, rtol=0, atol=1e-9))
        holds = {"above": value > bound, "below": value < bound, "equals": equal, "definition": True}[claim.test]
        return float(not holds), float(holds)
    if claim.test in ("above", "below"):
        p = estimate.p_above(bound), estimate.p_below(bound)
        return p if claim.test == "above" else p[::-1]
    middle, margin = paper if claim.test == "number" else 0.0, claim.margin or 0.0
    return estimate.p_within(middle - margin, middle + margin), estimate.p_outside(middle - margin, middle + margin)


def _paper_number(claim: Claim, paper: pd.DataFrame, case: Mapping[str, str], expression: str) -> float | None:
    """The quantity as the paper's figures have it, over all its trials; None where they do not show it."""
    if claim.table not in ("trials", "paper") or "concept" in case:
        return None
    if not claim.paper_value and (claim.share or claim.x or claim.measure != "value"):
        return None
    expression = claim.paper_value or expression
    arms = {name: claim.arms[name] for name in names_in(expression)}
    if any(arm.diagonal is True for arm in arms.values()):
        return None  # the figures' means are over all trials
    rows = {name: arm.choose(paper, case) for name, arm in arms.items()}
    means = {name: chosen.groupby("dataset")["value"].mean().mean() for name, chosen in rows.items()}
    value = float(evaluate(expression, means)[0])
    return value if isfinite(value) else None


def _paper_text(claim: Claim, numbers: Sequence[float | None]) -> str:
    found = sorted(number for number in numbers if number is not None)
    if not found:
        return claim.said or "no number"
    low, high = two_digits(found[0]), two_digits(found[-1])
    figures = low if low == high else f"{low} to {high}"
    return f"text: {claim.said}; figures: {figures}" if claim.said else figures


def two_digits(number: float) -> str:
    """A number with two digits; adding zero takes the sign off a negative zero."""
    return f"{round(number, 2) + 0:.2f}"
