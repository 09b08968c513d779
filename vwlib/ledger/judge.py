"""The verdicts on the paper's claims, by their rules, on the tables of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from vwlib.concepts import DATASETS, TASKS, concepts_of
from vwlib.ledger.claims import CLAIMS, Arm, Claim, load_claims, load_settings
from vwlib.ledger.estimate import Estimate, evaluate, names_in
from vwlib.ledger.schemas import TableSchema
from vwlib.ledger.statistics import (
    cases_needed,
    combined_p,
    holm,
    pooled_estimate,
    slope_estimate,
    two_way_clustered_estimate,
)
from vwlib.ledger.tables import OTHERS, design_table, grid_effects, paper_table, prepare
from vwlib.ledger.verdicts import VERDICTS
from vwlib.settings import load_profile

LEVEL = load_settings().level

#: Why a verdict is what it is: the claim is of other models; a table or rows are missing; numbers are compared without
#: a test; the test is passed. Or it is not: the effect is small; the p value counts alone, but not among the ledger's;
#: the interval does not clear the bound.
Reason = Literal["other models", "missing", "exact", "passed", "small", "alone", "interval"]


@dataclass(frozen=True)
class ClaimCase:
    """What came out in one case: our estimate and the paper's number, or what is missing; p values for and against."""

    name: str
    estimate: Estimate | None = None
    paper: float | None = None
    missing: str = ""
    p_for: float = 1.0
    p_against: float = 1.0

    @property
    def small(self) -> bool:
        """Whether the effect is surely there and surely too small to matter: neither for the claim nor against it."""
        return max(self.p_for, self.p_against) < LEVEL / 2

    @property
    def weights(self) -> tuple[float, float]:
        """The p values for and against with which the case counts among others."""
        return (1.0, 1.0) if self.small else (self.p_for, self.p_against)

    def record(self) -> dict[str, Any]:
        """The case as plain data."""
        found = self.estimate
        return {
            "case": self.name,
            "paper": self.paper,
            "ours": found.value if found else None,
            "interval": list(found.interval()) if found else None,
            "p_for": self.p_for,
            "p_against": self.p_against,
            "n": found.n if found else 0,
            "ties": found.ties if found else 0.0,
            "missing": self.missing,
        }


@dataclass
class Judgement:
    """What came of one rule of a claim."""

    claim: Claim
    paper: str  # its number, as text
    cases: list[ClaimCase] = field(default_factory=list)
    deciding: ClaimCase | None = None
    p: float = nan  # two-sided: for the claim or against it
    p_holm: float = nan
    favours: str = VERDICTS[2]  # the verdict if the test is passed
    verdict: str = VERDICTS[2]
    reason: Reason = "missing"
    missing: str = ""  # the table or rows that are not there, with the command that makes them

    @property
    def singly(self) -> dict[str, int]:
        """Of several cases, each tested alone: how many are as claimed, as claimed but too small, and against."""
        if len(self.cases) < 2:
            return {}
        passed = [[p < LEVEL / 2 for p in case.weights] for case in self.cases]
        small = sum(case.small for case in self.cases)
        return {"for": sum(p for p, _ in passed), "small": small, "against": sum(p for _, p in passed)}

    def decide(self) -> None:
        """Find the case that decides, the side that it is on, and the p value; an exact claim's verdict."""
        needs = (self.claim.need, {"all": "any", "most": "half", "any": "all"}[self.claim.need])
        sides = zip(*(case.weights for case in self.cases), strict=True)
        p = [combined_p(side, need) for side, need in zip(sides, needs, strict=True)]
        side = int(p[1] < p[0])  # 0: for the claim, 1: against it
        ordered = sorted((case for case in self.cases if case.estimate), key=lambda case: case.weights[side])
        # The weakest case decides where all are needed, the strongest where one is enough.
        self.deciding = ordered[cases_needed(len(ordered), needs[side]) - 1]
        self.favours = VERDICTS[side]
        if self.claim.is_exact:
            self.reason, self.verdict = "exact", self.favours if min(p) <= LEVEL else VERDICTS[2]
        else:
            self.p = min(1.0, 2 * min(p))

    def record(self) -> dict[str, Any]:
        """The columns of `judge_claims` that follow from the rule."""
        found = self.deciding.estimate if self.deciding else None
        tested = found if isfinite(self.p) else None
        return {
            "paper": self.paper,
            "ours": found.value if found else nan,
            "interval": list(tested.interval()) if tested else None,
            "p": self.p,
            "verdict": self.verdict,
            "p_holm": self.p_holm,
            "case": self.deciding.name if self.deciding else "",
            "cases": [case.record() for case in self.cases],
            "n": found.n if found else 0,
            "detectable": tested.detectable() if tested and self.reason != "passed" else nan,
            "ties": found.ties if found else 0.0,
            "reason": self.reason,
            "missing": self.missing,
            "singly": self.singly,
        }


def judge_claims(
    tables: Mapping[str, pd.DataFrame],
    schemas: Mapping[str, TableSchema],
    profile: str = "miniature",
    path: Path = CLAIMS,
    draws: int = 1000,
) -> pd.DataFrame:
    """The verdict on every claim, from the tables of a profile's study by name (`schemas`); one row a claim.

    Columns are the claim's `id`, `claim`, `place`, `scope`, `figure`, `note`, `data` and `revised`; those of the case
    that decides, `case`, `ours`, `interval`, `n` and `ties` (the share of a sign test's trials that count half);
    `paper` (its number, as text), `p`, `p_holm` (corrected for all claims that have a test), `verdict`, `detectable`
    (how far beyond the bound a true value is found nine times in ten), `cases`, `reason`, `missing` and `singly`.
    `first_verdict` is that by the claim's first rule, corrected among all first rules; `first`, where that rule is
    another, has its columns. A claim whose table is missing is undecided.

    Raises ValueError for a malformed ledger, an unknown table, and a table without the columns that it must have.
    """
    claims, schemas = load_claims(path), {**OTHERS, **schemas}
    for claim in claims:
        claim.check_columns(schemas)
        (claim.first or claim).check_columns(schemas)
    judge = Judge.of(tables, schemas, load_profile(profile).world, draws)
    rules = [judge.judge(claim) for claim in claims]
    firsts = [judge.judge(rule.claim.first) if rule.claim.first else replace(rule) for rule in rules]
    for judgements in (rules, firsts):
        _correct(judgements)
    rows = []
    for claim, rule, first in zip(claims, rules, firsts, strict=True):
        row = claim.model_dump(include={"id", "claim", "place", "scope", "figure", "note", "data"}) | rule.record()
        row |= {"revised": " ".join(claim.revised), "first_verdict": first.verdict}
        rows.append(row | {"first": first.record() if claim.first else None})
    return pd.DataFrame(rows)


def claim_cases(
    number: int, tables: Mapping[str, pd.DataFrame], schemas: Mapping[str, TableSchema], world: str
) -> dict[str, Estimate]:
    """What the ledger estimates for one claim, by the name of the case, for figures and texts about the same quantity.
    Cases that lack rows are left out. Raises KeyError for an unknown claim.
    """
    claim = {claim.id: claim for claim in load_claims()}[number]
    cases = Judge.of(tables, {**OTHERS, **schemas}, world).judge(claim).cases
    return {case.name: case.estimate for case in cases if case.estimate}


def _correct(judgements: Sequence[Judgement]) -> None:
    """Decide on the verdicts, with Holm's correction for as many rules as have a test."""
    tested = [found for found in judgements if isfinite(found.p)]
    for found, adjusted in zip(tested, holm([found.p for found in tested]), strict=True):
        found.p_holm = float(adjusted)
        if adjusted < LEVEL:
            found.verdict, found.reason = found.favours, "passed"
        elif found.deciding and found.deciding.small:
            found.reason = "small"
        else:
            found.reason = "alone" if found.p < LEVEL else "interval"


@dataclass(frozen=True)
class Judge:
    """What rules are asked of: prepared tables by name, their schemas, the world of concepts, the bootstrap's draws."""

    tables: Mapping[str, pd.DataFrame]
    schemas: Mapping[str, TableSchema]
    world: str
    draws: int

    @classmethod
    def of(
        cls, tables: Mapping[str, pd.DataFrame], schemas: Mapping[str, TableSchema], world: str, draws: int = 1000
    ) -> Judge:
        """One for tables as they are stored."""
        ready = {name: prepare(name, table, world, schemas) for name, table in tables.items()}
        return cls(ready | {"paper": paper_table(), "design": design_table()}, schemas, world, draws)

    def judge(self, claim: Claim) -> Judgement:
        """What comes of a rule before Holm's correction has decided on its verdict."""
        asked = [(case, label, value) for case in _cases(claim, self.world) for label, value in claim.value.items()]
        papers = [_paper_number(claim, self.tables["paper"], case, expression) for case, _, expression in asked]
        found, schema, table = (
            Judgement(claim, _paper_text(claim, papers)),
            self.schemas[claim.table],
            self.table(claim),
        )
        if claim.scope == "real weights" and self.world != "paper":
            found.verdict, found.reason = VERDICTS[3], "other models"
            return found
        if table is None:
            found.missing = f"The table '{claim.table}' is missing ({schema.rows}); {schema.made_by}."
            return found
        for (case, label, expression), paper in zip(asked, papers, strict=True):
            name = _name(case, label)
            try:
                if claim.test == "number" and paper is None:
                    raise ValueError("The paper's figures do not show this number.")
                estimate = self.estimate(claim, table, case, expression)
            except ValueError as error:
                found.cases.append(ClaimCase(name, paper=paper, missing=str(error)))
            else:
                found.cases.append(ClaimCase(name, estimate, paper, "", *_p_values(claim, estimate, paper or 0.0)))
        found.missing = next((case.missing for case in found.cases if case.missing), "")
        if any(case.estimate for case in found.cases):
            found.decide()
        else:
            found.missing = f"{found.missing.rstrip('.')}; {schema.made_by}."
        return found

    def table(self, claim: Claim) -> pd.DataFrame | None:
        """The table of a claim, if it is there."""
        if claim.table == "grid_effects" and "trials" in self.tables:
            return grid_effects(self.tables["trials"], self.draws)
        return self.tables.get(claim.table)

    def estimate(self, claim: Claim, table: pd.DataFrame, case: Mapping[str, str], expression: str) -> Estimate:
        """The claim's quantity in one case; ValueError where rows are missing."""
        schema, names = self.schemas[claim.table], [name for name in claim.arms if name in names_in(expression)]
        arms = {name: claim.arms[name].choose(table, case) for name in names}
        for name, rows in arms.items():
            _check_rows(name, claim.arms[name], rows, case, claim)
        first = arms[names[0]]
        if claim.is_exact:
            means = {name: rows[claim.measure].astype(float).mean() for name, rows in arms.items()}
            return Estimate(float(evaluate(expression, means)[0]), 0.0, inf, min(map(len, arms.values())))
        if claim.x:
            return slope_estimate(first, claim.x, claim.measure, within=claim.within)
        if not schema.units:
            values = evaluate(expression, {name: rows[claim.measure].to_numpy() for name, rows in arms.items()})
            return pooled_estimate(values, first["low"], first["high"])
        alike: dict[tuple, list[str]] = {}
        for name in names:
            alike.setdefault((claim.arms[name].dataset, claim.arms[name].diagonal), []).append(name)
        return two_way_clustered_estimate(
            arms,
            expression,
            schema.units,
            schema.stratum,
            claim.measure,
            paired_arms=list(alike.values()),
            sign_test=claim.positive,
            limits=(0.0, 1.0) if claim.measure in schema.shares else (-inf, inf),
            draws=self.draws,
            pairs=schema.pairs,
        )


def _cases(claim: Claim, world: str) -> list[dict[str, str]]:
    """A claim's cases, as conditions on columns: every value of `each`; words are mapped between different tasks."""

    def values(key: str, case: Mapping[str, str]) -> Sequence[str]:
        if key == "concept":
            return [concept.name for concept in concepts_of(case["dataset"], world)]
        return DATASETS if key == "dataset" else TASKS

    cases: list[dict[str, str]] = [{}]
    for key in claim.each:
        cases = [case | {key: value} for case in cases for value in values(key, case)]
    return claim.cases or [case for case in cases if case.get("trained_on", "") != case.get("evaluated_on", " ")]


def _name(case: Mapping[str, str], label: str) -> str:
    parts = dict(case)
    if {"trained_on", "evaluated_on"} <= set(case):
        parts = {"direction": f"{parts.pop('trained_on')} to {parts.pop('evaluated_on')}"} | parts
    return ", ".join(filter(None, [*parts.values(), label]))


def _p_values(claim: Claim, estimate: Estimate, paper: float) -> tuple[float, float]:
    """One-sided p values for the claim and against it; 0 and 1 where numbers are compared without a test."""
    bound = claim.bound or 0.0
    against = bound if claim.against is None else claim.against
    if claim.is_exact:
        value = estimate.value
        equal = bool(np.isclose(value, bound, rtol=0, atol=1e-9))
        holds = {"above": value > bound, "below": value < bound, "equals": equal}[claim.test]
        return float(not holds), float(holds)
    if claim.test == "above":
        return estimate.p_above(bound), estimate.p_below(against)
    if claim.test == "below":
        return estimate.p_below(bound), estimate.p_above(against)
    middle, margin = paper if claim.test == "number" else 0.0, claim.margin or 0.0
    return estimate.p_within(middle - margin, middle + margin), estimate.p_outside(middle - margin, middle + margin)


def _check_rows(name: str, arm: Arm, rows: pd.DataFrame, case: Mapping[str, str], claim: Claim) -> None:
    """That an arm has rows. A mean over all datasets or tasks is no mean over those that happen to be done."""
    conditions = {**case, **arm.fixed()} | ({"delta": arm.delta} if "delta" in rows and arm.delta != "any" else {})
    asked = ", ".join(f"{key} {value}" for key, value in conditions.items())
    if rows.empty or rows[claim.measure].isna().all():
        raise ValueError(f"The table '{claim.table}' has no rows for '{name}' ({asked}).")
    if claim.table != "trials":
        return
    for column, values in (("dataset", DATASETS), ("evaluated_on", TASKS)):
        absent = [value for value in values if value not in set(rows[column])] if column not in conditions else []
        if absent:
            raise ValueError(f"The table 'trials' has no rows for '{name}' ({asked}) with {column} {absent[0]}.")


def _paper_number(claim: Claim, paper: pd.DataFrame, case: Mapping[str, str], expression: str) -> float | None:
    """The quantity as the paper's figures have it, over all its trials; None where they do not show it."""
    if claim.table not in ("trials", "paper") or "concept" in case:
        return None
    if not claim.paper_value and (claim.positive or claim.x or claim.measure != "value"):
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
