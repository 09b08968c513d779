"""The ledger: the paper's claims as data (`data/paper/claims.toml`), judged by fixed rules on the tables of a study.

A claim names a table, what is compared in it (its *arms*, each a choice of rows), the *quantity* (an expression of the
arms' means), the cases in which it is asked, and a test with its bounds. The same quantity is taken of the paper's own
figures, where they show it.

A rule that was changed after the study was computed keeps its first form, which is judged on the same tables, so that
both verdicts can be read side by side. `data/paper/first_rules.toml` has a digest of every rule as it was first
published.
"""

from __future__ import annotations

import ast
import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from vwlib.concepts import DATASETS, TASKS, anchors_of, concepts_of
from vwlib.files import write_whole
from vwlib.ledger.estimate import evaluate
from vwlib.ledger.paper import paper_results
from vwlib.ledger.statistics import (
    Estimate,
    combined_p,
    design_effect,
    holm,
    pooled_estimate,
    slope_estimate,
    two_way_clustered_estimate,
)
from vwlib.ledger.summary import is_diagonal
from vwlib.paths import DATA
from vwlib.settings import load_profile

CLAIMS = DATA / "paper" / "claims.toml"
FIRST_RULES = DATA / "paper" / "first_rules.toml"
VERDICTS = ("replicated", "contradicted", "undecided", "not decidable at this scale")
LEVEL = 0.05

Scope = Literal["miniature", "real weights", "other experiment", "text"]
Test = Literal["above", "below", "equivalent", "number", "equals"]
#: A change of a rule: when, to the minute (UTC), and what.
Change = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d \d\d:\d\d: [^\n]+\.$")]


@dataclass(frozen=True)
class Kind:
    """A kind of table: what a row is, the columns that it must have, which of them lie in [0, 1], what is resampled,
    and who makes it.
    """

    rows: str
    columns: tuple[str, ...]
    made_by: str
    shares: tuple[str, ...] = ()
    units: tuple[str, ...] = ("concept", "anchor")
    stratum: str | None = "dataset"
    pairs: bool = False  # whether `anchor` names two


_WORD = ("dataset", "concept", "anchor", "delta")
_MAKES = "`vwlib experiments` makes it"

#: Tables by name. The study makes "trials", `vwlib.experiments` those that follow, with further columns; the last three
#: are made here, from the others or from the paper's figures. `kind` tells learned words ("learned"), mapped ones
#: ("transferred") and plain swaps of two real words ("swap") apart, or what a table's comment says.
KINDS = {
    "trials": Kind(
        "scores of the study's words",
        (*_WORD, "trained_on", "evaluated_on", "value"),
        "`vwlib study` makes it",
        ("value",),
    ),
    # As `vwlib.lab.displacements`, with the dataset: one row a vector of a learned word.
    "displacements": Kind(
        "learned words' distance from their anchor",
        (*_WORD, "task", "distance", "nearest", "is_anchor"),
        _MAKES,
        ("is_anchor", "names_concept"),
    ),
    # The same for mapped words, in the target model.
    "mapped_displacements": Kind(
        "mapped words' nearest words in the target model",
        (*_WORD, "trained_on", "evaluated_on", "is_anchor"),
        _MAKES,
        ("is_anchor",),
    ),
    # `vwlib.transfer.quality_of_all`: one row a word.
    "maps": Kind(
        "held-out words through the transfer maps",
        ("word", "source", "target", "top1"),
        _MAKES,
        ("top1",),
        ("word",),
        None,
    ),
    # `vwlib.experiments.layer_statistics.cluster_agreement` of each dataset, task and delta, with these columns added: one row a layer and
    # grouping.
    "clusters": Kind(
        "agreement of activations with anchors and concepts",
        ("dataset", "task", "kind", "delta", "layer", "by", "ari", "low", "high"),
        _MAKES,
        (),
        (),
    ),
    # `vwlib.experiments.layer_statistics.truncation_scores`: one row a word, number of blocks and `of` ("concept" or "anchor").
    "truncation": Kind(
        "scores of truncated text encoders", (*_WORD, "task", "kind", "blocks", "of", "value"), _MAKES, ("value",)
    ),
    # `vwlib.experiments.layer_statistics.flip_layers`: one row a word; `crossing` is null where a word never turns to its concept.
    "crossings": Kind(
        "layers at which words turn from anchor to concept",
        (*_WORD, "task", "kind", "crossing", "depth"),
        _MAKES,
        ("never",),
    ),
    # One row a word: how far early and late layers disagree about it, and its score after the transfer.
    "disagreement": Kind(
        "early and late layers' disagreement beside transfer", (*_WORD, "task", "disagreement", "value"), _MAKES
    ),
    # B4 and E2: `kind` is "random" or "optimised"; `kept` says whether the output is still the anchor's.
    "perturbations": Kind(
        "random and optimised offsets of equal length", (*_WORD, "task", "kind", "kept"), _MAKES, ("kept",)
    ),
    # `kind` is "models" (two models) or "seeds" (two trainings of one, control K2); `cosine` of one's mapped offset and
    # the other's.
    "offsets": Kind(
        "cosines of one concept's offsets in two models",
        ("dataset", "concept", "anchor", "kind", "cosine"),
        f"{_MAKES}; the classifier's second training is `vwlib pretrain classifier_twin`",
    ),
    # E3: `kind` is "data" or "start"; `spread` is the standard deviation of the score over resampled images, or over
    # starts.
    "spreads": Kind(
        "spread of scores over data and over starts", ("dataset", "concept", "anchor", "kind", "spread"), _MAKES
    ),
    # B3: `kind` is "learned" or "held-out" (the parts' own words, from the best two others); `residual` is the share of
    # a compound's word that its parts' words leave unexplained.
    "compounds": Kind(
        "what compounds leave unexplained",
        ("task", "concept", "kind", "residual"),
        _MAKES,
        ("residual",),
        ("concept",),
        "task",
    ),
    # `found` says whether a generated picture is nearest to its own instance among five of a category.
    "instances": Kind("instances told apart in generations", (*_WORD, "found"), _MAKES, ("found",)),
    # B10: `frequency` is the logarithm to base 10 of the share of training captions that name the concept, `gain` the
    # transferred score over the floor.
    "frequency": Kind(
        "transfer beside training frequency", ("dataset", "concept", "anchor", "frequency", "gain"), _MAKES
    ),
    # `kind` is "ends" or "middle" (of the line, or of the curve where that is higher) between two solutions of a
    # concept; `anchor` names the pair.
    "segments": Kind(
        "scores between two solutions of a concept",
        ("dataset", "concept", "anchor", "task", "kind", "value"),
        _MAKES,
        ("value",),
        pairs=True,
    ),
    # `kind` is "same noise" or "other noise" of pictures from two anchors' words; `anchor` names the pair.
    "likeness": Kind(
        "similarity of generations from two anchors",
        ("dataset", "concept", "anchor", "kind", "cosine"),
        _MAKES,
        pairs=True,
    ),
    # `agrees`: how often the best boxes of two anchors' words ("learned"), or of the two anchors ("anchors"), overlap
    # by half or more; `anchor` names the pair.
    "agreement": Kind(
        "overlap of detections from two anchors",
        ("dataset", "concept", "anchor", "kind", "agrees"),
        _MAKES,
        ("agrees",),
        pairs=True,
    ),
    # One row a word and number of optimisation steps, at the tasks' own rates.
    "sweep": Kind(
        "scores after fewer steps", ("dataset", "concept", "anchor", "task", "steps", "value"), _MAKES, ("value",)
    ),
    # Of the profile's models, so that only the profile 'paper' decides the claim: `entries` and whole `words` of two,
    # `d` dimensions of the source.
    "vocabulary": Kind(
        "words that two models share", ("source", "target", "entries", "words", "d"), _MAKES, (), (), None
    ),
    "timing": Kind("days that the study took", ("days",), _MAKES, (), (), None),
    "grid_effects": Kind(
        "design effect of each mean of figures 3 and 6",
        (),
        "`vwlib study` makes its trials",
        (),
        ("evaluated_on", "trained_on"),
    ),
    "paper": Kind("the paper's figures 3 and 6", (), "it is in data/paper"),
    "design": Kind("the sizes of the paper's experiments", (), "it is in vwlib.concepts", (), (), None),
}
_DERIVED = {"names_concept", "never", "crossing_share", "crossing_or_never", "stage", "role", "diagonal"}


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Arm(_Data):
    """A choice of rows. What is not said is not asked, except that words are unconstrained ("free") and learned from
    another concept's anchor.

    `role` is own (scored where it was learned), mapped, floor (the anchor word) or ceiling (the concept's name); the
    latter two have no delta. `stage` is the first, half (of the blocks) or last layer, or the last or second last
    (before) number of steps.
    """

    role: Literal["own", "mapped", "floor", "ceiling"] | None = None
    dataset: str | None = None
    trained_on: str | None = None
    evaluated_on: str | None = None
    task: str | None = None
    kind: str | None = None
    by: str | None = None
    of: str | None = None
    stage: Literal["first", "half", "last", "before"] | None = None
    delta: float | Literal["free", "any"] = "free"
    diagonal: bool | Literal["any"] = False

    def fixed(self) -> dict[str, Any]:
        """The plain conditions on columns."""
        return self.model_dump(exclude={"delta", "diagonal"}, exclude_none=True)

    def choose(self, table: pd.DataFrame, case: Mapping[str, str]) -> pd.DataFrame:
        """Its rows of a prepared table in one case. A floor or ceiling is no word, so a case's `trained_on` does not
        bear on it.
        """
        conditions = {**case, **self.fixed()}
        if self.role in ("own", "floor", "ceiling"):
            conditions = {key: value for key, value in conditions.items() if key != "trained_on"}
        mask = np.ones(len(table), bool)
        for column, value in conditions.items():
            mask &= (table[column] == value).to_numpy(bool)
        if "delta" in table and self.role not in ("floor", "ceiling") and self.delta != "any":
            deltas = table["delta"].to_numpy(float)
            mask &= np.isnan(deltas) if self.delta == "free" else np.isclose(deltas, self.delta)
        if "diagonal" in table and self.diagonal != "any":
            mask &= table["diagonal"].to_numpy(bool) == self.diagonal
        return table[mask]


class Claim(_Data):
    """One claim and its decision rule."""

    id: int = Field(ge=1)
    claim: str = Field(min_length=1)  # in our own words
    place: str = Field(min_length=1)  # in the paper
    scope: Scope
    said: str = ""  # the number in the paper's text
    note: str = ""  # where text and figures disagree, or what limits the answer
    data: str = ""  # what of the data that it rests on was changed after a result, and what came of it
    revised: list[Change] = []  # how the rule was changed after the study was computed, and when, in order
    figure: str = ""  # the book's figure that shows it
    table: str
    measure: str = "value"
    quantity: str = Field(min_length=1)  # in words
    arms: dict[str, Arm] = Field(min_length=1)
    value: dict[str, str] = Field(min_length=1)  # expressions of the arms, by a label
    paper_value: str = ""  # the expression for the paper's figures where it is another
    each: list[str] = []  # asked in each of their values
    cases: list[dict[str, str]] = []  # or in these
    need: Literal["all", "most", "any"] = "all"  # of the cases
    positive: bool = False  # the share of trials in which the expression is positive
    x: str = ""  # the slope of the measure on this column
    within: list[str] = []  # among rows that have these columns alike
    test: Test
    bound: float | None = None
    against: float | None = None  # what "above" and "below" must fall short of to be contradicted
    margin: float | None = Field(None, gt=0)
    first: Claim | None = None  # with the rule as it was first published, where that is another

    @model_validator(mode="before")
    @classmethod
    def _one_value(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("value"), str):
            data = data | {"value": {"": data["value"]}}
        return data

    @model_validator(mode="after")
    def _whole(self) -> Claim:
        for field, trouble in self._troubles():
            raise PydanticCustomError("claim", "{trouble}", {"field": field, "trouble": trouble})
        return self

    def _troubles(self) -> list[tuple[str, str]]:
        if self.table not in KINDS:
            return [("table", f"'{self.table}' is no table; there are {', '.join(KINDS)}")]
        asked = [
            ("measure", self.measure),
            ("x", self.x),
            *(("each", key) for key in self.each),
            *(("cases", key) for case in self.cases for key in case),
        ]
        asked += [("within", key) for key in self.within]
        asked += [("arms", key) for arm in self.arms.values() for key in arm.fixed()]
        known = {"", *KINDS[self.table].columns, *_DERIVED}
        found = [
            (field, f"the table '{self.table}' has no column '{key}'")
            for field, key in asked
            if key not in known and KINDS[self.table].columns
        ]
        for expression in (*self.value.values(), *filter(None, [self.paper_value])):
            found += [("value", f"'{expression}' {trouble}") for trouble in _unreadable(expression, self.arms)]
        for field in {
            "above": ["bound"],
            "below": ["bound"],
            "equals": ["bound"],
            "equivalent": ["margin"],
            "number": ["margin"],
        }[self.test]:
            if getattr(self, field) is None:
                found.append((field, f"the test '{self.test}' needs it"))
        unknown = [key for key in self.each if key not in ("dataset", "concept", "trained_on", "evaluated_on", "task")]
        return found + [("each", f"'{key}' has no list of values") for key in unknown]

    @property
    def rule(self) -> str:
        """The decision rule as a sentence, with the file's bounds."""
        return _rule(self)

    @property
    def asks(self) -> str:
        """The quantity in words; with how a sign test counts ties."""
        return f"{self.quantity}, ties counting half" if self.positive else self.quantity

    @property
    def digest(self) -> str:
        """What the rule decides by, as 16 hexadecimal digits: the same for two rules that differ in words only."""
        rule = self.model_dump(include=set(RULE) - {"quantity"}, exclude_defaults=True)
        if self.against == self.bound:
            rule.pop("against", None)
        return hashlib.sha256(json.dumps(rule, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]

    @property
    def test_name(self) -> str:
        """How the interval and the p value come about."""
        return _test_name(self)


#: The fields that are the rule. Of the others, words about it.
RULE = (
    *(
        "scope",
        "table",
        "measure",
        "quantity",
        "arms",
        "value",
        "paper_value",
        "each",
        "cases",
        "need",
        "positive",
        "x",
        "within",
    ),
    *("test", "bound", "against", "margin"),
)


def _unreadable(expression: str, arms: Mapping[str, Arm]) -> list[str]:
    """What is wrong with an expression: only names of arms, numbers and + - * / are read."""
    try:
        nodes = list(ast.walk(ast.parse(expression, mode="eval")))
    except SyntaxError:
        return ["is no expression"]
    allowed = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Name, ast.Constant, ast.Load)
    unknown = [node.id for node in nodes if isinstance(node, ast.Name) and node.id not in arms]
    return [f"names '{name}', which is no arm" for name in unknown] + [
        "may only add, subtract, multiply and divide arms" for node in nodes if not isinstance(node, allowed)
    ][:1]


def load_claims(path: Path = CLAIMS) -> list[Claim]:
    """The claims of a ledger file, in its order.

    Arms that several claims share stand once, under `[arms]`; a claim lists the names of those that it uses, or gives
    its own. Under `first` a claim has what was another in its first rule. Raises ValueError in one sentence that names
    the claim and the field where the file is malformed.
    """
    try:
        data = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path.name} is not readable as TOML: {error}.") from error
    shared = data.get("arms", {})
    rows = data.get("claim", [])
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path.name} holds no claim.")
    claims = [_read_claim(path.name, number, row, shared) for number, row in enumerate(rows, 1)]
    numbers = [claim.id for claim in claims]
    for number in numbers:
        if numbers.count(number) > 1:
            raise ValueError(
                f"{path.name}, claim {number}, field 'id': there are {numbers.count(number)} claims of that number."
            )
    return claims


def _read_claim(file: str, number: int, row: dict[str, Any], shared: Mapping[str, Any]) -> Claim:
    name = f"claim {row['id']}" if "id" in row else f"the {number}. claim"
    earlier = row.get("first")
    row = {key: value for key, value in row.items() if key != "first"}
    claim = _validated(file, name, row, shared)
    if (earlier is None) != (not claim.revised):
        field, other = ("first", "revised") if earlier is None else ("revised", "first")
        raise ValueError(
            f"{file}, {name}, field '{field}': a changed rule has both, what changed (revised) and the first rule (first); '{other}' is alone."
        )
    if earlier is None:
        return claim
    if not isinstance(earlier, dict):
        raise ValueError(f"{file}, {name}, field 'first': it must give fields of the rule their first values.")
    for field in earlier:
        if field not in (*RULE, "where"):
            raise ValueError(
                f"{file}, {name}, field 'first.{field}': it is no part of a rule; there are {', '.join((*RULE, 'where'))}."
            )
    first = _validated(
        file, name, {key: value for key, value in row.items() if key != "revised"} | earlier, shared, "first."
    )
    if first.digest == claim.digest:
        raise ValueError(f"{file}, {name}, field 'first': it says nothing else than the last rule.")
    return claim.model_copy(update={"first": first})


def _validated(file: str, name: str, row: dict[str, Any], shared: Mapping[str, Any], inside: str = "") -> Claim:
    """A claim of a file's row, with the shared arms that it names and what all its arms have alike; `inside` precedes a
    field's name in errors.
    """
    if isinstance(row.get("arms"), list):
        for arm in row["arms"]:
            if arm not in shared:
                raise ValueError(f"{file}, {name}, field '{inside}arms': '{arm}' is not among the shared arms.")
        row = row | {"arms": {arm: shared[arm] for arm in row["arms"]}}
    where = row.get("where", {})
    if not isinstance(where, dict):
        raise ValueError(f"{file}, {name}, field '{inside}where': it must give columns their values.")
    if where and isinstance(row.get("arms"), dict):
        row = row | {
            "arms": {arm: where | choice if isinstance(choice, dict) else choice for arm, choice in row["arms"].items()}
        }
    row = {key: value for key, value in row.items() if key != "where"}
    try:
        return Claim.model_validate(row)
    except ValidationError as error:
        found = error.errors()[0]
        # The last part of where a delta is wrong names one of the types that it might have.
        places = [str(part) for part in found["loc"] if not str(part).startswith(("float", "literal"))]
        field, trouble = found.get("ctx", {}).get("field") or ".".join(places), found["msg"]
        raise ValueError(f"{file}, {name}, field '{inside}{field}': {trouble[0].lower()}{trouble[1:]}.") from error


_RULES = {
    "above": "Replicated where it lies above {bound:g}{every}, contradicted where it lies below {against:g}{otherwise}",
    "below": "Replicated where it lies below {bound:g}{every}, contradicted where it lies above {against:g}{otherwise}",
    "equivalent": "Replicated where it lies within {margin:g} of zero{every}, contradicted where it lies outside{otherwise}",
    "number": "Replicated where it lies within {margin:g} of the paper's own number{every}, contradicted where it lies outside{otherwise}",
    "equals": "Replicated where it is {bound:g}{every}, otherwise contradicted",
}
_EVERY = {"all": " in every case", "most": " in more than half of the cases", "any": " in at least one case"}
_OTHERWISE = {"all": " in any case", "most": " in at least half of them", "any": " in every case"}
_OPPOSITE: dict[str, str] = {"all": "any", "most": "half", "any": "all"}


def _rule(claim: Claim) -> str:
    several = bool(claim.each) or len(claim.cases) > 1 or len(claim.value) > 1
    parts = {
        "bound": claim.bound,
        "against": claim.bound if claim.against is None else claim.against,
        "margin": claim.margin,
    }
    words = {"every": _EVERY[claim.need] if several else "", "otherwise": _OTHERWISE[claim.need] if several else ""}
    rule = f"{claim.asks[0].upper()}{claim.asks[1:]}. {_RULES[claim.test].format(**parts, **words)}"
    if _is_exact(claim):
        return f"{rule}."
    between = ", as where it surely does both" if claim.against not in (None, claim.bound) else ""
    return f"{rule}: with its 95 % interval, and p < {LEVEL:g} by Holm's correction over the ledger's tests; else undecided{between}."


def _test_name(claim: Claim) -> str:
    kind = KINDS[claim.table]
    if _is_exact(claim):
        return "comparison of numbers"
    if claim.x:
        within = f", within each {' and '.join(claim.within)}" if claim.within else ""
        return f"slope by generalised estimating equations, grouped by concept{within}"
    if not kind.units:
        return "t test of the datasets' results"
    way = "crossed bootstrap over " + " and ".join(f"{unit}s" for unit in kind.units)
    if "evaluated_on" in kind.units:
        way = "crossed bootstrap over tasks"
    if kind.pairs:
        way = "bootstrap over concepts, and jackknife over the anchors of the pairs"
    if claim.positive:
        return f"sign test by {way}"
    return f"{'two one-sided tests' if claim.test in ('equivalent', 'number') else 'one-sided test'} by {way}"


def _is_exact(claim: Claim) -> bool:
    """Whether there is nothing to estimate: counts, definitions, and the paper's printed figures."""
    return claim.test == "equals" or claim.table in ("paper", "design", "vocabulary", "timing")


@dataclass(frozen=True)
class Case:
    """What came out in one case of a claim: our estimate and the paper's number, or why there is none, and p values for
    and against.
    """

    name: str
    estimate: Estimate | None = None
    paper: float | None = None
    missing: str = ""
    p_for: float = 1.0
    p_against: float = 1.0

    @property
    def small(self) -> bool:
        """Whether the effect is surely there and surely smaller than what matters, which speaks neither for the claim
        nor against it.
        """
        return (
            max(self.p_for, self.p_against) < LEVEL / 2
        )  # half the level on either side is what a 95 % interval clears

    @property
    def weights(self) -> tuple[float, float]:
        """The p values for and against with which the case counts among others."""
        return (1.0, 1.0) if self.small else (self.p_for, self.p_against)

    def record(self) -> dict[str, Any]:
        """The case as plain data."""
        found = self.estimate
        interval = [_plain(limit) for limit in found.interval()] if found else None
        return {
            "case": self.name,
            "paper": _plain(self.paper),
            "ours": _plain(found.value) if found else None,
            "interval": interval,
            "p_for": _plain(self.p_for),
            "p_against": _plain(self.p_against),
            "n": found.n if found else 0,
            "ties": _plain(found.ties) if found else 0.0,
            "missing": self.missing,
        }


def judge_claims(
    tables: Mapping[str, pd.DataFrame], profile: str = "miniature", path: Path = CLAIMS, draws: int = 1000
) -> pd.DataFrame:
    """The verdict on every claim, from the tables of a profile's study by name (`KINDS`); one row a claim.

    Columns `id`, `claim`, `place`, `paper` (its number, as text), `ours` and `interval` of the case that decides,
    `test`, `p` (two-sided: for the claim or against it), `verdict`, `scope`, `figure`, and further `p_holm`, `case`,
    `cases` (all of them), `n`, `detectable` (how far beyond the bound a true value is found nine times in ten), `rule`,
    `why`, `note`, `data`, `revised`, `ties` (the share of a sign test's trials that count half), `first_verdict` (by
    the claim's first rule, corrected among the tests of all first rules) and, where that rule is another,
    `first`: its `rule`, `ours`, `interval`, `case`, `p_holm`, `ties` and `why`. A claim whose table is missing is
    undecided.

    Raises ValueError for a malformed ledger, an unknown table, and a table without the columns that it must have.
    """
    claims = load_claims(path)
    world = load_profile(profile).world
    asked = {rule.table for claim in claims for rule in (claim, claim.first or claim)}
    ready = _with_derived({name: prepare(name, table, world) for name, table in tables.items()}, asked, draws)
    rows = [_judge(claim, ready, world, draws) for claim in claims]
    firsts = [
        _judge(claim.first, ready, world, draws) if claim.first else dict(row)
        for claim, row in zip(claims, rows, strict=True)
    ]
    for ledger in (rows, firsts):
        _decide_all(ledger)
    told = ("rule", "ours", "interval", "case", "p_holm", "ties", "why")
    for claim, row, first in zip(claims, rows, firsts, strict=True):
        row["first_verdict"], row["first"] = (
            first["verdict"],
            {key: first[key] for key in told} if claim.first else None,
        )
    return (
        pd.DataFrame(rows)
        .drop(columns=["favours", "summary", "small"])
        .astype({"p": float, "p_holm": float, "ours": float, "detectable": float})
    )


def _decide_all(ledger: Sequence[dict[str, Any]]) -> None:
    """Fill in the verdicts of a ledger's rows, with Holm's correction for as many claims as have a test."""
    tested = [row for row in ledger if row["p"] is not None]
    for row, adjusted in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = float(adjusted)
        _decide(row)


def prepare(name: str, table: pd.DataFrame, world: str) -> pd.DataFrame:
    """A table with what the queries ask beside its own columns: `role`, `diagonal`, `stage`, `names_concept`, `never`,
    `crossing_share`, `crossing_or_never`.

    Raises ValueError in one sentence for an unknown table, a missing column and a share outside [0, 1].
    """
    if name not in KINDS:
        raise ValueError(f"'{name}' is no table of the ledger; there are {', '.join(KINDS)}.")
    kind = KINDS[name]
    for column in kind.columns:
        if column not in table:
            raise ValueError(f"The table '{name}' has no column '{column}'; it needs {', '.join(kind.columns)}.")
    table = table.reset_index(drop=True)
    if {"trained_on", "evaluated_on"} <= set(table):
        reference = table["trained_on"].map({"anchor": "floor", "name": "ceiling"})
        table["role"] = reference.fillna(
            pd.Series(np.where(table["trained_on"] == table["evaluated_on"], "own", "mapped"), table.index)
        )
    if {"dataset", "concept", "anchor"} <= set(table):
        table["diagonal"] = is_diagonal(table, world)
    if name == "displacements":
        own = {
            (dataset, concept.name): concept.anchor for dataset in DATASETS for concept in concepts_of(dataset, world)
        }
        table["names_concept"] = table["nearest"] == pd.Series(
            [own.get(key) for key in zip(table["dataset"], table["concept"], strict=True)], table.index
        )
    if name == "crossings":
        table["never"] = table["crossing"].isna()
        table["crossing_share"] = table["crossing"] / table["depth"]  # a word that never turns acts at no layer
        table["crossing_or_never"] = table["crossing_share"].fillna(1 + 1 / table["depth"])  # or later than at any
    for column in kind.shares:
        if not table[column].astype(float).dropna().between(0, 1).all():
            raise ValueError(f"The table '{name}' has values of '{column}' outside 0 to 1.")
    return _with_stage(name, table)


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


def _with_derived(tables: dict[str, pd.DataFrame], asked: set[str], draws: int) -> dict[str, pd.DataFrame]:
    tables |= {"paper": _paper_table(), "design": _design_table()}
    if "trials" in tables and "grid_effects" in asked:
        trials = tables["trials"]
        groups = trials[trials["role"].isin(["own", "mapped"]) & trials["delta"].isna()].groupby(
            ["dataset", "evaluated_on", "trained_on"]
        )
        rows = [(*key, design_effect(group, draws=draws)) for key, group in groups if group["value"].notna().any()]
        tables["grid_effects"] = pd.DataFrame(rows, columns=["dataset", "evaluated_on", "trained_on", "effect"])
    return tables


def _paper_table() -> pd.DataFrame:
    table = pd.concat([paper_results("figure_3"), paper_results("figure_6")], ignore_index=True).rename(
        columns={"mean": "value"}
    )
    return table.assign(role=np.where(table["trained_on"] == table["evaluated_on"], "own", "mapped"))


def _design_table() -> pd.DataFrame:
    words = len(TASKS) * sum(len(concepts_of(dataset)) * len(anchors_of(dataset)) for dataset in DATASETS)
    deltas = paper_results("figure_6")["delta"].nunique()
    return pd.DataFrame({"kind": ["experiment 1", "experiment 2"], "words": [words, words * deltas]})


def _judge(claim: Claim, tables: Mapping[str, pd.DataFrame], world: str, draws: int) -> dict[str, Any]:
    """A claim's row, before Holm's correction has decided on its verdict."""
    row: dict[str, Any] = {
        "id": claim.id,
        "claim": claim.claim,
        "place": claim.place,
        "paper": claim.said or "no number",
        "ours": nan,
        "interval": None,
    }
    row |= {
        "test": claim.test_name,
        "p": None,
        "verdict": "undecided",
        "scope": claim.scope,
        "figure": claim.figure,
        "p_holm": nan,
        "case": "",
    }
    row |= {
        "cases": [],
        "n": 0,
        "detectable": nan,
        "rule": claim.rule,
        "why": "",
        "note": claim.note,
        "data": claim.data,
        "revised": " ".join(claim.revised),
        "ties": 0.0,
        "favours": "",
        "summary": "",
        "small": False,
    }
    asked = [(case, label, expression) for case in _cases(claim, world) for label, expression in claim.value.items()]
    papers = [_paper_number(claim, tables["paper"], case, expression) for case, _, expression in asked]
    row["paper"] = _paper_text(claim, papers)
    if claim.scope == "real weights" and world != "paper":
        return row | {
            "verdict": VERDICTS[3],
            "why": "It is about the paper's own models: judged with the profile 'paper' only.",
        }
    if claim.table not in tables:
        kind = KINDS[claim.table]
        return row | {"why": f"The table '{claim.table}' is missing ({kind.rows}); {kind.made_by}."}
    table = tables[claim.table]
    cases = [
        _case(claim, table, case, _name(case, label), expression, paper, draws)
        for (case, label, expression), paper in zip(asked, papers, strict=True)
    ]
    row["cases"] = [case.record() for case in cases]
    known = [case for case in cases if case.estimate]
    if not known:
        return row | {"why": f"{cases[0].missing.rstrip('.')}; {KINDS[claim.table].made_by}."}
    p_for, p_against = (
        combined_p(side, need)
        for side, need in zip(
            zip(*(c.weights for c in cases), strict=True), (claim.need, _OPPOSITE[claim.need]), strict=True
        )
    )
    holds = p_for <= p_against
    case = _deciding(known, claim.need if holds else _OPPOSITE[claim.need], holds)
    assert case.estimate
    row |= {
        "ours": case.estimate.value,
        "case": case.name,
        "n": case.estimate.n,
        "ties": case.estimate.ties,
        "summary": _summary(cases),
    }
    if _is_exact(claim):
        missing = [c.missing for c in cases if c.missing]
        verdict = "undecided" if min(p_for, p_against) > LEVEL else "replicated" if holds else "contradicted"
        return row | {"verdict": verdict, "why": missing[0] if missing else ""}
    low, high = case.estimate.interval()
    missing_part = next((f" {c.missing}" for c in cases if c.missing), "")
    row |= {
        "interval": [low, high],
        "p": min(1.0, 2 * min(p_for, p_against)),
        "favours": "replicated" if holds else "contradicted",
        "small": case.small,
    }
    return row | {"detectable": case.estimate.detectable(), "summary": row["summary"] + missing_part}


def _decide(row: dict[str, Any]) -> None:
    """Fill in the verdict and why, once the p value is corrected for the number of claims."""
    if row["p_holm"] < LEVEL:
        row |= {"verdict": row["favours"], "why": row["summary"].strip(), "detectable": nan}
        return
    power = f"With these {row['n']} trials a true value {row['detectable']:.2g} beyond the bound would be found nine times in ten, taken singly."
    if row["small"]:
        row["why"] = f"The effect is as claimed, but smaller than what matters. {row['summary']}".strip()
        return
    reason = (
        "Alone it would count, but not among so many claims."
        if row["p"] < LEVEL
        else "The interval does not clear the bound."
    )
    row["why"] = " ".join(
        filter(
            None,
            [
                reason,
                row["summary"].strip(),
                power if isfinite(row["detectable"]) else "These trials are too few to say what they would find.",
            ],
        )
    )


def _summary(cases: Sequence[Case]) -> str:
    if len(cases) < 2:
        return ""
    for_it, against = (sum(p < LEVEL / 2 for p in side) for side in zip(*(case.weights for case in cases), strict=True))
    small = sum(case.small for case in cases)
    told = f", {small} as claimed but by less than what matters," if small else ""
    return f"Taken singly, {for_it} of {len(cases)} cases are as claimed{told} and {against} against."


def _deciding(cases: Sequence[Case], need: str, holds: bool) -> Case:
    """The case whose p value decides: the weakest where all are needed, the strongest where one is enough."""
    ordered = sorted(cases, key=lambda case: case.weights[0 if holds else 1])
    return ordered[
        {"all": len(ordered), "most": len(ordered) // 2 + 1, "half": (len(ordered) + 1) // 2, "any": 1}[need] - 1
    ]


def _cases(claim: Claim, world: str) -> list[dict[str, str]]:
    """The cases of a claim, as conditions on columns: every value of `each`; words are mapped between different tasks
    only.
    """
    if claim.cases:
        return claim.cases
    cases: list[dict[str, str]] = [{}]
    for key in claim.each:
        found = []
        for case in cases:
            values = {
                "dataset": DATASETS,
                "concept": [c.name for c in concepts_of(case["dataset"], world)] if key == "concept" else (),
            }.get(key, TASKS)
            found += [case | {key: value} for value in values]
        cases = found
    return [case for case in cases if case.get("trained_on", "") != case.get("evaluated_on", " ")]


def _name(case: Mapping[str, str], label: str) -> str:
    parts = {**case}
    direction = (
        [f"{parts.pop('trained_on')} to {parts.pop('evaluated_on')}"]
        if {"trained_on", "evaluated_on"} <= set(case)
        else []
    )
    return ", ".join([*direction, *parts.values(), *filter(None, [label])])


def _case(
    claim: Claim,
    table: pd.DataFrame,
    case: Mapping[str, str],
    name: str,
    expression: str,
    paper: float | None,
    draws: int,
) -> Case:
    if claim.test == "number" and paper is None:
        return Case(name, missing="The paper's figures do not show this number.")
    try:
        estimate = _estimate(claim, table, case, expression, draws)
    except ValueError as error:
        return Case(name, paper=paper, missing=str(error))
    if _is_exact(claim):
        holds = _holds_exactly(claim, estimate.value)
        return Case(name, estimate, paper, p_for=float(not holds), p_against=float(holds))
    return Case(name, estimate, paper, "", *_p_values(claim, estimate, paper or 0.0))


def _holds_exactly(claim: Claim, value: float) -> bool:
    bound = claim.bound or 0.0
    return {
        "above": value > bound,
        "below": value < bound,
        "equals": bool(np.isclose(value, bound, rtol=0, atol=1e-9)),
    }[claim.test]


def _p_values(claim: Claim, estimate: Estimate, paper: float) -> tuple[float, float]:
    """One-sided p values for the claim and against it."""
    bound = claim.bound or 0.0
    against = bound if claim.against is None else claim.against
    if claim.test == "above":
        return estimate.p_above(bound), estimate.p_below(against)
    if claim.test == "below":
        return estimate.p_below(bound), estimate.p_above(against)
    middle = paper if claim.test == "number" else 0.0
    low, high = middle - (claim.margin or 0.0), middle + (claim.margin or 0.0)
    return estimate.p_within(low, high), estimate.p_outside(low, high)


def _estimate(claim: Claim, table: pd.DataFrame, case: Mapping[str, str], expression: str, draws: int) -> Estimate:
    """The claim's quantity in one case; ValueError where rows are missing."""
    kind = KINDS[claim.table]
    arms = {name: arm.choose(table, case) for name, arm in claim.arms.items() if name in _names(expression)}
    for name, rows in arms.items():
        _check_rows(name, claim.arms[name], rows, case, claim)
    if _is_exact(claim):
        value = float(
            evaluate(expression, {name: rows[claim.measure].astype(float).mean() for name, rows in arms.items()})[0]
        )
        return Estimate(value, 0.0, inf, min(map(len, arms.values())))
    first = next(iter(arms.values()))
    if claim.x:
        return slope_estimate(first, claim.x, claim.measure, within=claim.within)
    if not kind.units:
        return pooled_estimate(
            evaluate(expression, {name: rows[claim.measure].to_numpy() for name, rows in arms.items()}),
            first["low"],
            first["high"],
        )
    groups: dict[tuple, list[str]] = {}
    for name in arms:
        groups.setdefault((claim.arms[name].dataset, claim.arms[name].diagonal), []).append(name)
    limits = (0.0, 1.0) if claim.measure in kind.shares else (-inf, inf)
    together = list(groups.values())
    return two_way_clustered_estimate(
        arms,
        expression,
        kind.units,
        kind.stratum,
        claim.measure,
        together,
        claim.positive,
        limits,
        draws,
        pairs=kind.pairs,
    )


def _check_rows(name: str, arm: Arm, rows: pd.DataFrame, case: Mapping[str, str], claim: Claim) -> None:
    conditions = {**case, **arm.fixed()} | (
        {"delta": arm.delta} if "delta" in KINDS[claim.table].columns and arm.delta != "any" else {}
    )
    asked = ", ".join(f"{key} {value}" for key, value in conditions.items())
    if rows.empty or rows[claim.measure].isna().all():
        raise ValueError(f"The table '{claim.table}' has no rows for '{name}' ({asked}).")
    if claim.table == "trials":  # a mean over all datasets or tasks is no mean over those that happen to be done
        for column, values in (("dataset", DATASETS), ("evaluated_on", TASKS)):
            absent = [value for value in values if value not in set(rows[column])] if column not in conditions else []
            if absent:
                raise ValueError(f"The table 'trials' has no rows for '{name}' ({asked}) with {column} {absent[0]}.")


def _names(expression: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(expression, mode="eval")) if isinstance(node, ast.Name)}


def _paper_number(claim: Claim, paper: pd.DataFrame, case: Mapping[str, str], expression: str) -> float | None:
    """The quantity as the paper's figures have it, over all its trials; None where they do not show it."""
    if (
        claim.table not in ("trials", "paper")
        or (not claim.paper_value and (claim.positive or claim.x or claim.measure != "value"))
        or "concept" in case
    ):
        return None
    expression = claim.paper_value or expression
    if any(claim.arms[name].diagonal is True for name in _names(expression)):
        return None  # the figures' means are over all trials
    means = {
        name: claim.arms[name].choose(paper, case).groupby("dataset")["value"].mean().mean()
        for name in _names(expression)
    }
    value = float(evaluate(expression, means)[0])
    return value if isfinite(value) else None


def _paper_text(claim: Claim, numbers: Sequence[float | None]) -> str:
    found = sorted(number for number in numbers if number is not None)
    if not found:
        return claim.said or "no number"
    low, high = _two_digits(found[0]), _two_digits(found[-1])
    figures = low if low == high else f"{low} to {high}"
    return f"text: {claim.said}; figures: {figures}" if claim.said else figures


def _plain(value: float | None) -> float | None:
    """A number for a file: six digits, so that no machine's last digits show; null where it is none."""
    return float(f"{value:.6g}") if value is not None and isfinite(value) else None


def write_claims(judged: pd.DataFrame, profile: str, root: Path = DATA) -> Path:
    """Write the verdicts as `results/<profile>/claims.json`, whole or not at all: a list with an object for each claim.

    Numbers have six digits and are null where there is none. Raises OSError where the folder cannot be written to.
    """
    rows = [{key: _json(value) for key, value in row.items()} for row in judged.to_dict("records")]
    path = root / "results" / profile / "claims.json"
    content = json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, content.encode())
    return path


def _json(value: Any) -> Any:
    if isinstance(value, list):
        return [_json(part) for part in value]
    if isinstance(value, dict):
        return {key: _json(part) for key, part in value.items()}
    return _plain(value) if isinstance(value, float) else value


def read_claims(profile: str, root: Path = DATA) -> pd.DataFrame:
    """The verdicts that `write_claims` wrote.

    Raises FileNotFoundError where there are none.
    """
    path = root / "results" / profile / "claims.json"
    if not path.exists():
        raise FileNotFoundError(f"There are no verdicts of the profile '{profile}' yet ({path.name} is missing).")
    table = pd.DataFrame(json.loads(path.read_text()))
    return table.astype({"p": float, "p_holm": float, "ours": float, "detectable": float})


def verdict_counts(judged: pd.DataFrame, column: str = "verdict") -> pd.Series:
    """How many claims have each verdict, in the order of `VERDICTS`, zeros included; by `column` "first_verdict" those
    of the first rules.
    """
    return judged[column].value_counts().reindex(VERDICTS, fill_value=0).rename_axis("verdict").rename("claims")


def first_digests(path: Path = FIRST_RULES) -> dict[int, str]:
    """The digest of every claim's rule (`Claim.digest`) as it was first published, by the claim's number."""
    return {int(number): digest for number, digest in tomllib.loads(path.read_text())["digests"].items()}


def ledger_table(judged: pd.DataFrame) -> pd.DataFrame:
    """The verdicts as text for a page, one row a claim: verdict, number, claim, paper, here, p, why, test, rule, scope,
    place, figure; by the first rule.
    """
    shown = zip(judged["ours"], judged["interval"], judged["case"], judged["ties"], strict=True)
    why = [" ".join(filter(None, pair)) for pair in zip(judged["why"], judged["note"], strict=True)]
    columns = {"verdict": judged["verdict"], "no.": judged["id"], "claim": judged["claim"], "paper": judged["paper"]}
    columns |= {
        "here": [here_text(*row) for row in shown],
        "p": judged["p_holm"].map(_p_text),
        "why": why,
        "test": judged["test"],
        "rule": judged["rule"],
        "scope": judged["scope"],
    }
    columns |= {"place": judged["place"], "figure": judged["figure"], "by the first rule": judged["first_verdict"]}
    return pd.DataFrame(columns, judged.index)


def here_text(value: float | None, interval: list[float | None] | None, case: str = "", ties: float = 0.0) -> str:
    """Our number as text: with its interval, its case, and where ties count half, the share without them. A dash where
    there is none.
    """
    if value is None or not isfinite(value):
        return "–"
    ends = (
        [_two_digits(end) if end is not None and isfinite(end) else "…" for end in interval]
        if isinstance(interval, list)
        else []
    )
    told = f"; {value - ties / 2:.0%} strictly, {ties:.0%} tie" if ties else ""
    return _two_digits(value) + (f" ({ends[0]} to {ends[1]}{told})" if ends else "") + (f", {case}" if case else "")


def _two_digits(number: float) -> str:
    return f"{round(number, 2) + 0:.2f}"  # adding zero takes the sign off a negative one


def _p_text(p: float) -> str:
    return "–" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
