"""What was fixed before the results stays as it was: second rules, predictions, and the first edition's verdicts."""

import re
import sys
from datetime import date, timedelta

import pandas as pd
import pytest

from vwlib.ledger.before import FIRST_EDITION, first_edition, load_predictions, outcomes
from vwlib.ledger.claims import CLAIMS, load_claims
from vwlib.ledger.verdicts import VERDICTS
from vwlib.paths import DATA

sys.path.append(str(DATA / "paper"))
from lock import LOCK, changed, write_lock


def test_every_rule_is_as_it_was_locked_or_says_when_and_why_it_changed():
    assert changed() == []


def revised(tmp_path, old, new, entry=""):
    """The ledger with a change in one of its claims, and an entry that tells of it."""
    path = tmp_path / "claims.toml"
    text = CLAIMS.read_text()
    assert old in text
    path.write_text(text.replace(old, f"{new}\n{entry}" if entry else new, 1))
    return path


def test_a_changed_rule_is_found_and_changed_words_are_not(tmp_path):
    first = 'bound = 0.5\nnote = "Text and table disagree'
    assert changed(revised(tmp_path, first, first.replace("0.5", "0.6"))) == ["rules 1"]
    assert changed(revised(tmp_path, first, first + ", as we think")) == []
    assert changed(revised(tmp_path, 'value = "half / free", bound = 0.5', 'value = "half / free", bound = 0.4')) == [
        "checks half"
    ]
    assert changed(revised(tmp_path, "level = 0.05", "level = 0.1")) == ["settings settings"]
    other = tmp_path / "predictions.toml"
    other.write_text("# Nothing was expected.")
    assert changed(predictions=other) == ["files predictions.toml"]


def test_a_change_must_be_younger_than_the_lock_and_say_why(tmp_path):
    locked = date.fromisoformat(re.search(r"locked = (\S+)", LOCK.read_text()).group(1))
    first = 'test = "above"\nbound = 0.5\nnote = "Text and table disagree'
    for day, found in ((locked, ["rules 1"]), (locked + timedelta(days=1), [])):
        entry = f'revised = {{ on = {day.isoformat()}, why = "The old bound was a slip." }}\n'
        assert changed(revised(tmp_path, first, entry + first.replace("0.5", "0.6"))) == found
    with pytest.raises(ValueError, match=r"claim 1, field 'revised\.why'"):
        load_claims(revised(tmp_path, first, f"revised = {{ on = {locked.isoformat()} }}\n{first}"))


def test_a_lock_is_not_replaced_unasked(tmp_path):
    lock = write_lock(date(2026, 12, 1), lock=tmp_path / "rules.lock")
    assert changed(lock=lock) == [] and "locked = 2026-12-01" in lock.read_text()
    with pytest.raises(FileExistsError):
        write_lock(date(2026, 12, 2), lock=lock)
    write_lock(date(2026, 12, 2), lock=lock, overwrite=True)
    assert "locked = 2026-12-02" in lock.read_text()


def test_the_first_editions_verdicts_are_those_that_it_published():
    """Constants, beside the rules that gave them; the counts are those of its front page and its chapter 7."""
    published = first_edition()
    keys = ["holds", "fails", "unclear", "undecidable"]
    counts = [published[column].value_counts()[keys].tolist() for column in ("verdict", "first_verdict")]
    assert counts == [[8, 20, 21, 8], [12, 13, 29, 3]]
    assert published.index.tolist() == list(range(1, 58))
    assert (published["revised"] != "").sum() == 22
    assert published.loc[43, "here"].startswith("0.02 (0.00 to 0.08)")
    assert (FIRST_EDITION / "claims.toml").read_text().count("[claim.first]") == 22


def test_predictions_are_numbers_with_reasons():
    predictions = load_predictions()
    asked = {one["claim"] for one in predictions}
    assert {*range(30, 37), *range(43, 48), *range(5, 10), 37, 38, 51, 57} <= asked
    assert sum(one["claim"] is None for one in predictions) == 4  # two by two
    assert all(one["low"] <= one["number"] <= one["high"] and one["reason"] for one in predictions)
    assert {one["verdict"] for one in predictions} <= {*VERDICTS, None}


def judged(verdict, ours, reason="passed"):
    cases = [{"case": "a", "ours": ours}, {"case": "b", "ours": 0.1}]
    row = {
        "id": 5,
        "claim": "Words work.",
        "verdict": verdict,
        "ours": ours,
        "cases": cases,
        "reason": reason,
        "checked": 0.3,
    }
    return pd.DataFrame([row])


@pytest.mark.parametrize(
    ("row", "of", "met"),
    [
        (judged("holds", 0.5), "", (True, True)),
        (judged("fails", 0.5), "b", (False, False)),
        (judged("undecidable", float("nan"), "missing"), "", (None, None)),
        (judged("undecidable", float("nan"), "check"), "check", (False, False)),
    ],
)
def test_an_outcome_stands_beside_its_prediction(row, of, met):
    prediction = {"claim": 5, "what": "", "verdict": "holds", "number": 0.5, "low": 0.4, "high": 0.6, "of": of}
    found = outcomes(row, [prediction])[0]
    assert (found["verdict_met"], found["number_met"]) == met
    later = outcomes(row, [prediction | {"claim": None, "what": "transfer"}])[0]
    assert (later["verdict_met"], later["number_met"]) == (None, None)
