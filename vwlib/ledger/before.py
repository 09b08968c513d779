"""What was fixed before the results: the lock of the second rules, predictions, and the first edition's verdicts."""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date
from math import isfinite, nan
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from vwlib.files import write_whole
from vwlib.ledger.claims import CLAIMS, digest_of, load_checks, load_claims, load_settings
from vwlib.paths import DATA

PAPER = DATA / "paper"
LOCK, PREDICTIONS, FIRST_EDITION = PAPER / "rules.lock", PAPER / "predictions.toml", PAPER / "first_edition"
HEAD = """# The second rules as they were on the day below, before a score of the second edition's study: digests of
# what each decides by (words do not count), of checks and settings, and of whole files. Written by
# `vwlib claims --lock`. A rule that differs needs an entry `revised` in claims.toml.
"""


def digests(claims: Path = CLAIMS, predictions: Path = PREDICTIONS) -> dict[str, dict[str, str]]:
    """The digests of all that is locked, by kind and name."""
    files = [predictions, *sorted(FIRST_EDITION.glob("*.*"))]
    return {
        "rules": {str(claim.id): claim.digest for claim in load_claims(claims)},
        "checks": {
            name: digest_of(check.model_dump(exclude={"sentence": True, "at_least": {"__all__": {"quantity"}}}))
            for name, check in load_checks(claims).items()
        },
        "settings": {"settings": digest_of(load_settings(claims).model_dump(mode="json"))},
        "files": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
    }


def changed(claims: Path = CLAIMS, lock: Path = LOCK, predictions: Path = PREDICTIONS) -> list[str]:
    """What is not as it was locked, such as "rules 30", but for rules that were revised on a later day and say why."""
    locked, now = tomllib.loads(lock.read_text()), digests(claims, predictions)
    revised = {str(claim.id) for claim in load_claims(claims) if claim.revised and claim.revised.on > locked["locked"]}
    return [
        f"{kind} {name}"
        for kind, found in now.items()
        for name in sorted(found.keys() | locked[kind].keys())
        if found.get(name) != locked[kind].get(name) and not (kind == "rules" and name in revised)
    ]


def write_lock(day: date, claims: Path = CLAIMS, lock: Path = LOCK, overwrite: bool = False) -> Path:
    """Lock the rules as they are. Raises FileExistsError for a lock that exists, unless it may be overwritten: once
    results are known, a rule is revised and not locked anew.
    """
    tables = [
        "\n".join([f"\n[{kind}]", *(f'"{name}" = "{digest}"' for name, digest in found.items())])
        for kind, found in digests(claims).items()
    ]
    write_whole(lock, f"{HEAD}locked = {day.isoformat()}\n{chr(10).join(tables)}\n".encode(), overwrite)
    return lock


class Prediction(BaseModel):
    """What was expected of a number, and of a verdict where a claim decides it, before the result."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    claim: int | None = None
    what: str = ""  #: it is about, where it is no claim
    verdict: Literal["holds", "fails", "unclear", "undecidable"] | None = None
    number: float
    low: float  #: it counts as met between these
    high: float
    of: str = ""  #: what the number is of, where it is not the case that decides
    reason: str = Field(min_length=1)


def load_predictions(path: Path = PREDICTIONS) -> list[Prediction]:
    """The predictions, in the file's order."""
    return [Prediction.model_validate(row) for row in tomllib.loads(path.read_text())["prediction"]]


def outcomes(judged: pd.DataFrame, predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Each prediction with what came out beside it: `came`, the verdict (None without a claim), `ours`, the number (NaN
    where there is none yet), and whether both were met, `verdict_met` and `number_met` (None before the outcome).
    """
    rows, known = [], {row["id"]: row for row in judged.to_dict("records")}
    for one in predictions:
        row = known.get(one.claim)
        ours, came = (_number(row, one.of), row["verdict"]) if row else (nan, None)
        decided = one.verdict and row and (came != "undecidable" or row["reason"] == "check")
        found = {
            "what": one.what or (row["claim"] if row else ""),
            "came": came,
            "ours": ours,
            "verdict_met": one.verdict == came if decided else None,
            "number_met": one.low <= ours <= one.high if isfinite(ours) else None,
        }
        rows.append(one.model_dump() | found)
    return rows


def _number(row: Mapping[str, Any], case: str) -> float:
    """The number of a claim's case, by default of that which decides; of its check where that is asked."""
    if case == "check":
        return float(row["checked"])
    found = {one["case"]: one["ours"] for one in row["cases"]}.get(case) if case else row["ours"]
    return nan if found is None else float(found)


def first_edition(path: Path = FIRST_EDITION / "verdicts.json") -> pd.DataFrame:
    """What the first edition published of each claim (`id`, the index): `verdict` and `first_verdict`, by the last and
    by the first of its rules, with rules and numbers in its words, and `revised`, how a rule was changed.
    """
    return pd.DataFrame(json.loads(path.read_text())).set_index("id")
