"""What comes of a claim: its cases, the p value with which it counts among others, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any, Literal

from scipy import stats

from vwlib.ledger.claims import Claim, Question, load_settings
from vwlib.ledger.estimate import Estimate
from vwlib.ledger.statistics import cases_needed, combined_p
from vwlib.ledger.verdicts import DEFINITION, VERDICTS

LEVEL = load_settings().level

#: Why a verdict is what it is: the claim is of other models; a table or rows are missing; the models fail a check that
#: the claim presupposes; numbers are compared without a test; the test is passed. Or it is not: the p value counts
#: alone, but not among those of its family; the interval does not clear the bound.
Reason = Literal["other models", "missing", "check", "exact", "passed", "alone", "interval"]


@dataclass(frozen=True)
class ClaimCase:
    """What came out in one case: our estimate and the paper's number, or what is missing; p values for and against."""

    name: str
    estimate: Estimate | None = None
    paper: float | None = None
    missing: str = ""
    p_for: float = 1.0
    p_against: float = 1.0

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
            "missing": self.missing,
        }


@dataclass
class Judgement:
    """What came of one claim."""

    claim: Claim
    paper: str  # its number, as text
    cases: list[ClaimCase] = field(default_factory=list)
    deciding: ClaimCase | None = None
    p: float = nan  # two-sided: for the claim or against it
    p_adjusted: float = nan  # for the other claims of its family
    favours: str = "unclear"  # the verdict if the test is passed
    verdict: str = "undecidable"
    reason: Reason = "missing"
    missing: str = ""  # the table or rows that are not there, with the command that makes them, or the check that fails
    checked: float = nan  # the weakest number of its checks

    @property
    def singly(self) -> dict[str, int]:
        """Of several cases, each tested alone: how many are as claimed, and how many against it."""
        if len(self.cases) < 2:
            return {}
        sides = {"for": [case.p_for for case in self.cases], "against": [case.p_against for case in self.cases]}
        return {side: sum(p < LEVEL / 2 for p in found) for side, found in sides.items()}

    def decide(self) -> None:
        """Find the case that decides, the side that it is on, and the p value; an exact claim's verdict."""
        needs = (self.claim.need, {"all": "any", "most": "half", "any": "all"}[self.claim.need])
        sides = [[case.p_for for case in self.cases], [case.p_against for case in self.cases]]
        p = [combined_p(side, need) for side, need in zip(sides, needs, strict=True)]
        side = int(p[1] < p[0])  # 0: for the claim, 1: against it
        ordered = sorted(
            (case for case in self.cases if case.estimate), key=lambda case: (case.p_for, case.p_against)[side]
        )
        # The weakest case decides where all are needed, the strongest where one is enough.
        self.deciding = ordered[cases_needed(len(ordered), needs[side]) - 1]
        self.favours = VERDICTS[side]
        if self.claim.is_exact:
            decided = self.favours if min(p) <= LEVEL else "undecidable"
            self.reason, self.verdict = "exact", DEFINITION if self.verdict == DEFINITION else decided
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
            "p_adjusted": self.p_adjusted,
            "case": self.deciding.name if self.deciding else "",
            "cases": [case.record() for case in self.cases],
            "n": found.n if found else 0,
            "detectable": tested.detectable() if tested and self.reason != "passed" else nan,
            "reason": self.reason,
            "missing": self.missing,
            "checked": self.checked,
            "singly": self.singly,
        }


def correct(judgements: Sequence[Judgement], primary: Sequence[Question]) -> None:
    """Decide on the verdicts, with each p value corrected in its family.

    The primary questions by Holm's method: one that is not asked counts as well, with p = 1. Of a question's claims the
    largest p value ranks it, and each is multiplied as it is. The others by Benjamini and Hochberg's, by sections.
    """
    tested = {found.claim.id: found for found in judgements if isfinite(found.p)}
    questions = [[tested.get(number) for number in question.claims] for question in primary]
    reached, rest = 0.0, dict(tested)
    for rank, claims in enumerate(sorted(questions, key=lambda claims: max(one.p if one else 1.0 for one in claims))):
        for one in filter(None, claims):
            one.p_adjusted = max(reached, min(1.0, one.p * (len(questions) - rank)))
            rest.pop(one.claim.id)
        reached = max([reached, *(one.p_adjusted if one else 1.0 for one in claims)])
    for section in {one.claim.section for one in rest.values()}:
        family = [one for one in rest.values() if one.claim.section == section]
        for one, adjusted in zip(family, stats.false_discovery_control([one.p for one in family]), strict=True):
            one.p_adjusted = float(adjusted)
    for found in tested.values():
        if found.p_adjusted < LEVEL:
            found.verdict, found.reason = found.favours, "passed"
        elif not found.missing:
            found.verdict, found.reason = "unclear", "alone" if found.p < LEVEL else "interval"
