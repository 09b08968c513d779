"""The verdicts: their words, as a file, and in numbers."""

import json
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from vwlib.files import write_whole
from vwlib.paths import DATA

VERDICTS = ("holds", "fails", "unclear", "undecidable")
DEFINITION = "definition"  #: in the place of a verdict where there is nothing to decide


def verdict_words(verdict: str, profile: str = "miniature", scope: str = "") -> str:
    """How every page says a verdict on a claim of some scope: what it is about, and no more."""
    where = "in the paper's own figures" if scope == "text" else "in this run"
    where = "in the miniature" if profile == "miniature" and scope != "text" else where
    return {
        "holds": f"holds {where}",
        "fails": f"does not hold {where}",
        "unclear": "unclear",
        "undecidable": "not decidable at this scale",
        DEFINITION: "no verdict: true by definition",
    }[verdict]


def write_claims(judged: pd.DataFrame, profile: str, root: Path = DATA) -> Path:
    """Write the verdicts as `results/<profile>/claims.json`, whole or not at all: a list with an object for each claim.
    Numbers have six digits and are null where there is none. Raises OSError where the folder cannot be written to.
    """
    judged = judged.drop(columns=["missing", "singly"], errors="ignore")
    rows = [{key: _json(value) for key, value in row.items()} for row in judged.to_dict("records")]
    path = root / "results" / profile / "claims.json"
    write_whole(path, (json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())
    return path


def _json(value: Any) -> Any:
    if isinstance(value, list):
        return [_json(part) for part in value]
    if isinstance(value, dict):
        return {key: _json(part) for key, part in value.items()}
    if isinstance(value, float):  # six digits, so that no machine's last digits show
        return float(f"{value:.6g}") if isfinite(value) else None
    return value


def verdict_counts(judged: pd.DataFrame, column: str = "verdict") -> pd.Series:
    """How many claims have each verdict, in the order of `VERDICTS`; definitions are left out."""
    return judged[column].value_counts().reindex(VERDICTS, fill_value=0).rename_axis("verdict").rename("claims")
