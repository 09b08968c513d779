"""What was fixed before the results, beside what came out: predictions, and the first edition's verdicts."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from math import isfinite, nan
from pathlib import Path
from typing import Any

import pandas as pd

from vwlib.paths import DATA

PREDICTIONS, FIRST_EDITION = DATA / "paper" / "predictions.toml", DATA / "paper" / "first_edition"


def load_predictions(path: Path = PREDICTIONS) -> list[dict[str, Any]]:
    """The predictions, in the file's order: of a `claim`, or of `what` else; `number` within `low` and `high`, by
    default of the case that decides (`of`: another, or "check"); a `verdict` where one was expected; `reason`.
    """
    usual = {"claim": None, "what": "", "verdict": None, "of": ""}
    return [usual | row for row in tomllib.loads(path.read_text())["prediction"]]


def outcomes(judged: pd.DataFrame, predictions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each prediction with what came out beside it: `came`, the verdict (None without a claim), `ours`, the number (NaN
    where there is none yet), and whether both were met, `verdict_met` and `number_met` (None before the outcome).
    """
    rows, known = [], {row["id"]: row for row in judged.to_dict("records")}
    for one in predictions:
        row = known.get(one["claim"])
        ours, came = (_number(row, one["of"]), row["verdict"]) if row else (nan, None)
        decided = one["verdict"] and row and (came != "undecidable" or row["reason"] == "check")
        found = {
            "what": one["what"] or (row["claim"] if row else ""),
            "came": came,
            "ours": ours,
            "verdict_met": one["verdict"] == came if decided else None,
            "number_met": one["low"] <= ours <= one["high"] if isfinite(ours) else None,
        }
        rows.append({**one, **found})
    return rows


def _number(row: Mapping[str, Any], case: str) -> float:
    """The number of a claim's case, by default of that which decides; of its check where that is asked."""
    cases = {"check": row["checked"], "": row["ours"]} | {
        one["case"]: one["ours"] for one in row["cases"] if one["case"]
    }
    return nan if cases.get(case) is None else float(cases[case])


def first_edition(path: Path = FIRST_EDITION / "verdicts.json") -> pd.DataFrame:
    """What the first edition published of each claim (`id`, the index): `verdict` and `first_verdict`, by the last and
    by the first of its rules, with rules and numbers in its words, and `revised`, how a rule was changed.
    """
    return pd.DataFrame(json.loads(path.read_text())).set_index("id")
