"""Wrote `verdicts.json`: what the first edition published, from its own `claims.json` (commit 2581544), for the ledger
to show beside the second edition's. Its words are the second edition's: replicated, contradicted, undecided.
"""

import json
import subprocess
from pathlib import Path

COMMIT, FILE = "2581544", "data/results/miniature/claims.json"
KEYS = {
    "replicated": "holds",
    "contradicted": "fails",
    "undecided": "unclear",
    "not decidable at this scale": "undecidable",
}


def told(row: dict) -> str:
    """The number that decided, as the first edition's page had it."""
    if row["ours"] is None:
        return ""
    low, high = (["…" if end is None else f"{end:.2f}" for end in row["interval"] or []] + ["", ""])[:2]
    return ", ".join(filter(None, [f"{row['ours']:.2f}" + (f" ({low} to {high})" if low else ""), row["case"]]))


published = json.loads(subprocess.run(["git", "show", f"{COMMIT}:{FILE}"], capture_output=True, check=True).stdout)
rows = []
for row in published:
    first = row["first"] or row
    rules = {"rule": row["rule"], "here": told(row), "first_rule": first["rule"], "first_here": told(first)}
    keys = {"id": row["id"], "verdict": KEYS[row["verdict"]], "first_verdict": KEYS[row["first_verdict"]]}
    rows.append(keys | rules | {"revised": row["revised"]})
Path(__file__).with_name("verdicts.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
