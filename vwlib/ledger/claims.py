"""The paper's claims as data (`data/paper/claims.toml`): what each compares, and by which rule it is decided.

A claim names a table, what is compared in it (its *arms*, each a choice of rows), the *quantity* (an expression of the
arms' means), the cases in which it is asked, and a test with its bound. *Checks* are what claims presuppose of the
models. `vwlib.ledger.judge` decides; `vwlib.ledger.before` has what was fixed before the results.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from vwlib.ledger.estimate import names_in
from vwlib.ledger.schemas import DERIVED, TableSchema
from vwlib.paths import DATA

CLAIMS = DATA / "paper" / "claims.toml"

Scope = Literal["miniature", "real weights", "other experiment", "text"]
Test = Literal["above", "below", "equivalent", "number", "equals", "definition"]
Key = Literal["dataset", "concept", "trained_on", "evaluated_on", "task", "source", "target"]

#: Expressions by a label; a single one has none.
Expressions = Annotated[
    dict[str, str], Field(min_length=1), BeforeValidator(lambda value: {"": value} if isinstance(value, str) else value)
]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Arm(_Data):
    """A row filter. Fields left out do not filter, except that by default only unconstrained ("free"), off-diagonal
    words are selected.

    `role` is own (scored where it was learned), mapped, carried (the source's anchor word, mapped), floor (the target's
    anchor word) or ceiling (the concept's name); the latter three have no delta. `stage` is the first, half (of the
    blocks) or last layer, or the last or second last (before) number of steps. `measure` is its column where the arms
    have several.
    """

    role: Literal["own", "mapped", "carried", "floor", "ceiling"] | None = None
    dataset: str | None = None
    trained_on: str | None = None
    evaluated_on: str | None = None
    task: str | None = None
    kind: str | None = None
    by: str | None = None
    of: str | None = None
    stage: Literal["first", "half", "last", "before"] | None = None
    solved: bool | None = None
    measure: str = ""
    delta: float | Literal["free", "any"] = "free"
    diagonal: bool | Literal["any"] = False

    def fixed(self) -> dict[str, Any]:
        """The plain conditions on columns."""
        return self.model_dump(exclude={"delta", "diagonal", "measure"}, exclude_none=True)

    def choose(self, table: pd.DataFrame, case: Mapping[str, str]) -> pd.DataFrame:
        """Its rows of a prepared table in one case. A case's `trained_on` does not apply to floor and ceiling."""
        conditions = {**case, **self.fixed()}
        if self.role in ("own", "floor", "ceiling"):
            conditions.pop("trained_on", None)
        mask = np.ones(len(table), bool)
        for column, value in conditions.items():
            mask &= (table[column] == value).to_numpy(bool)
        if "delta" in table and self.role not in ("carried", "floor", "ceiling") and self.delta != "any":
            deltas = table["delta"].to_numpy(float)
            mask &= np.isnan(deltas) if self.delta == "free" else np.isclose(deltas, self.delta)
        if "diagonal" in table and self.diagonal != "any":
            mask &= table["diagonal"].to_numpy(bool) == self.diagonal
        return table[mask]


class Revision(_Data):
    """A change of a rule after it was locked: the day, and what and why."""

    on: date
    why: str = Field(min_length=1)


class Claim(_Data):
    """One claim and its decision rule."""

    id: int = Field(ge=1)
    claim: str = Field(min_length=1)  #: in our own words
    place: str = Field(min_length=1)  #: in the paper
    section: str = ""  #: of the paper, whose claims are corrected together
    scope: Scope
    said: str = ""  #: the number in the paper's text
    note: str = ""  #: where text and figures disagree, or what limits the answer
    changed: str = ""  #: what is asked otherwise than by the first edition's last rule, and why
    revised: Revision | None = None  #: the change of a rule that was locked
    figure: str = ""  #: the book's figure that shows it
    data: Literal["forty", "fresh"] = "forty"  #: the concepts that decide it
    checks: list[str] = []  #: what it presupposes
    tasks: list[str] = []  #: in which it presupposes it; none: in all
    table: str
    measure: str = "value"
    quantity: str = Field(min_length=1)  #: in words
    arms: dict[str, Arm] = Field(min_length=1)
    value: Expressions  #: of the arms
    paper_value: str = ""  #: the expression for the paper's figures where it is another
    each: list[Key] = []  #: asked in each of their values
    cases: list[dict[str, str]] = []  #: or in these
    need: Literal["all", "most", "any"] = "all"  #: of the cases
    share: Literal["", "words", "concepts"] = ""  #: of which the expression is above zero
    x: str = ""  #: the slope of the measure on this column
    within: list[str] = []  #: among rows that have these columns alike
    bound: float | None = None  #: of the tests "above", "below" and "equals"
    margin: float | None = Field(None, gt=0)  #: of the tests "equivalent" and "number"
    test: Test

    @field_validator("value", "paper_value")
    @classmethod
    def _of_the_arms(cls, value: dict[str, str] | str, info: ValidationInfo) -> dict[str, str] | str:
        for expression in filter(None, value.values() if isinstance(value, dict) else [value]):
            if unknown := sorted(names_in(expression) - set(info.data.get("arms", {}))):
                raise ValueError(f"'{expression}' names '{unknown[0]}', which is no arm")
        return value

    @field_validator("test")
    @classmethod
    def _has_its_bound(cls, test: Test, info: ValidationInfo) -> Test:
        needed = "margin" if test in ("equivalent", "number") else "bound"
        if test != "definition" and info.data.get(needed) is None:
            raise ValueError(f"'{test}' needs a {needed}")
        return test

    def check_columns(self, schemas: Mapping[str, TableSchema]) -> None:
        """Raise ValueError unless its table exists and has the columns that it asks for."""
        if self.table not in schemas:
            raise ValueError(f"Claim {self.id}: '{self.table}' is no table; there are {', '.join(schemas)}.")
        known = {"", *schemas[self.table].columns, *DERIVED}
        asked = [self.x, *self.each, *self.within, *(key for case in self.cases for key in case)]
        asked += [self.measure_of(name) for name in self.arms]
        for key in (*asked, *(key for arm in self.arms.values() for key in arm.fixed())):
            if key not in known and schemas[self.table].columns:
                raise ValueError(f"Claim {self.id}: the table '{self.table}' has no column '{key}'.")

    def measure_of(self, arm: str) -> str:
        """The column that an arm's means are of."""
        return self.arms[arm].measure or self.measure

    @property
    def is_exact(self) -> bool:
        """Whether there is nothing to estimate: counts, definitions, and the paper's printed figures."""
        return self.test in ("equals", "definition") or self.table in ("paper", "design", "vocabulary", "timing")

    @property
    def is_asked_often(self) -> bool:
        """Whether it is asked in several cases."""
        return bool(self.each) or len(self.cases) > 1 or len(self.value) > 1

    @property
    def digest(self) -> str:
        """What the rule decides by, in 64 hexadecimal digits: the same for two rules that differ in words only."""
        return digest_of(self.model_dump(exclude=WORDS, exclude_defaults=True))


#: The fields of a claim that are words about its rule.
WORDS = {"claim", "place", "said", "note", "changed", "revised", "figure", "quantity"}


def digest_of(rule: Any) -> str:
    """The SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(rule, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Demand(_Data):
    """What a check asks: an expression of its arms' means, and what it must reach."""

    quantity: str
    value: str
    bound: float


class Check(_Data):
    """What claims presuppose of the models: decided before their rules are asked."""

    sentence: str
    table: str
    arms: dict[str, Arm]
    each: list[Key] = []
    at_least: list[Demand]


class Question(_Data):
    """A question of the primary family, and the claims that it asks."""

    question: str
    claims: list[int]


class Answer(_Data):
    """An answer to the book's question, and the verdicts on claims that give it."""

    answer: str
    verdicts: dict[int, str] = {}


class Settings(_Data):
    """What else is decided by a rule: the level of the tests, the book's question, the premise, the margins."""

    level: float = Field(gt=0, lt=1)  #: of the ledger's tests, after correction
    #: Of the own name's score, what a word reaches that solves its task. The experiment `segments` takes it from here,
    #: and its digest does not cover it: after a change, that table has to be made anew by hand.
    solves: float = Field(gt=0, le=1)
    question: str
    answers: list[Answer]  #: the first whose verdicts are those found
    primary: list[Question] = []  #: the primary family
    premise: dict[str, float]  #: by task, the mean score of its own words that the study presupposes
    alike: float = Field(gt=0)  #: scores of two kinds of map that differ by less for sure are alike

    def answer(self, verdicts: Mapping[int, str]) -> str:
        """The answer to the question that verdicts by claim give."""
        return next(a.answer for a in self.answers if all(verdicts.get(n) == v for n, v in a.verdicts.items()))


def load_settings(path: Path = CLAIMS) -> Settings:
    """The settings of a ledger file."""
    return Settings.model_validate(tomllib.loads(path.read_text())["settings"])


def load_checks(path: Path = CLAIMS) -> dict[str, Check]:
    """The checks of a ledger file by name."""
    rows = tomllib.loads(path.read_text()).get("checks", {})
    return {name: Check.model_validate(row) for name, row in rows.items()}


def load_claims(path: Path = CLAIMS) -> list[Claim]:
    """The claims of a ledger file, in its order.

    Arms that several claims share stand once, under `[arms]`; a claim lists the names of those that it uses, or gives
    its own. Raises ValueError in one sentence that names the claim and the field where the file is malformed.
    """
    try:
        data = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path.name} is not readable as TOML: {error}.") from error
    rows = data.get("claim", [])
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path.name} holds no claim.")
    claims = [_read_claim(path.name, number, row, data.get("arms", {})) for number, row in enumerate(rows, 1)]
    numbers = [claim.id for claim in claims]
    if twice := [number for number in numbers if numbers.count(number) > 1]:
        raise ValueError(f"{path.name}, claim {twice[0]}, field 'id': there are several claims of that number.")
    for claim in claims:
        if unknown := sorted(set(claim.checks) - set(data.get("checks", {}))):
            raise ValueError(f"{path.name}, claim {claim.id}, field 'checks': there is no check '{unknown[0]}'.")
    return claims


def _read_claim(file: str, number: int, row: dict[str, Any], shared: Mapping[str, Any]) -> Claim:
    """A claim of a file's row, its shared arms filled in."""
    where = f"{file}, claim {row['id']}" if "id" in row else f"{file}, the {number}. claim"
    common, arms = row.get("where", {}), row.get("arms")
    if isinstance(arms, list):
        if unknown := [arm for arm in arms if arm not in shared]:
            raise ValueError(f"{where}, field 'arms': '{unknown[0]}' is not among the shared arms.")
        arms = {arm: shared[arm] for arm in arms}
    if isinstance(arms, dict):
        arms = {arm: common | rows for arm, rows in arms.items()}
    given = {key: value for key, value in (row | {"arms": arms}).items() if key != "where" and value is not None}
    try:
        return Claim.model_validate(given)
    except ValidationError as error:
        field, trouble = first_error(error)
        raise ValueError(f"{where}, field '{field}': {trouble}.") from error


def first_error(error: ValidationError) -> tuple[str, str]:
    """The field and the message of the first error."""
    found = error.errors()[0]
    # The last part of the place of a wrong delta names one of the types that it might have.
    places = [str(part) for part in found["loc"] if not str(part).startswith(("float", "literal"))]
    trouble = found["msg"].removeprefix("Value error, ")
    return ".".join(places), trouble[:1].lower() + trouble[1:]
