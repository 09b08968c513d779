"""The ledger as a page shows it: every claim in a row with its verdict and its figure, counts, and sentences that are
true whatever came out.
"""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from vwlib.book.pages import experiments
from vwlib.book.pages.experiments import tables_of, tables_or_stand_in
from vwlib.book.pages.ledger import (
    Ledger,
    answer,
    disagreements,
    editions,
    figure_places,
    finding,
    in_words,
    missing_tables,
)
from vwlib.book.text import fill
from vwlib.experiments.running import SCHEMAS, read_tables
from vwlib.ledger.before import load_predictions, outcomes
from vwlib.ledger.claims import load_claims
from vwlib.ledger.judge import judge_claims
from vwlib.ledger.verdicts import VERDICTS, verdict_words, write_claims
from vwlib.paths import DATA
from vwlib.settings import load_profile
from vwlib.tools.cli import app

CLAIMS = load_claims()


@pytest.fixture(scope="module")
def judged():
    """The verdicts without any table: what the paper itself decides is decided all the same."""
    return in_words(judge_claims({}, SCHEMAS))


def test_every_claims_figure_is_in_a_chapter():
    places = figure_places()
    assert {claim.figure for claim in CLAIMS} <= {*places, ""}
    assert all(place.caption for place in places.values())


def test_a_row_for_each_claim_verdict_first_and_linked(judged):
    html = Ledger(judged, figure_places())._repr_html_()
    assert html.count("<tr id=") == len(CLAIMS)
    row = html[html.index('<tr id="claim-1"') : html.index('<tr id="claim-2"')]
    assert row.index("not decidable at this scale") < row.index(CLAIMS[0].claim)
    assert f'.html#{CLAIMS[0].figure}"' in row
    assert "<code>vwlib study</code>" in row and "First edition: holds in the miniature" in row


def test_numbers_and_cases_stand_in_their_row(judged):
    found = judged[judged["id"] == 1].to_dict("records")[0]
    case = {"case": "a < b", "paper": 0.5, "ours": -0.001, "interval": [None, 1.0], "missing": ""}
    told = found | {
        "ours": 0.25,
        "interval": [0.1, None],
        "case": "COCO",
        "p": 0.5,
        "p_adjusted": 0.9,
        "detectable": 0.3,
        "n": 9,
        "cases": [case, case],
    }
    html = Ledger(pd.DataFrame([told]), {})._repr_html_()
    assert all(
        text in html
        for text in (
            "0.25 (0.10 to …), COCO",
            "a &lt; b",
            "0.00 (… to 1.00)",
            "0.900",
            "a true value 0.3 beyond",
            "<dd>9</dd>",
        )
    )


def test_the_paper_is_shown_where_it_disagrees_with_itself(judged):
    table = disagreements(judged).set_index("no.")
    assert {1, 7, 15, 18, 23, 33, 34} <= set(table.index)
    assert table.loc[15, "paper"] == "text: 28 %; figures: 0.27"
    assert not table["what disagrees"].str.contains("disagree").any()


def test_three_verdicts_of_each_claim_are_counted(judged):
    table = editions(judged)
    assert table.loc["first edition, first rules"].tolist() == [12, 13, 29, 3, 0]
    assert table.loc["first edition, last rules"].tolist() == [8, 20, 21, 8, 0]
    assert table.loc["now"].sum() == 57 and table.loc["now", "definition"] == 2
    html = Ledger(judged, {})._repr_html_()
    assert html.count("First edition, last rule</dt>") == 57 and html.count("First edition, first rule</dt>") == 22


def test_primary_questions_and_predictions_stand_in_tables(judged):
    rows = [line for line in fill("07_primary", rows=Ledger(judged, {}).rows()).splitlines() if "|" in line][2:]
    assert [line.split("|")[2].strip() for line in rows] == ["1", "2", "3", "5", "30", "43"]
    met = judged.copy()
    met.loc[met["id"] == 7, ["verdict", "reason", "ours"]] = "fails", "passed", 0.9
    found = outcomes(met, load_predictions())
    lines = fill("07_predictions", rows=found, said=verdict_words).splitlines()[2:]
    (line,) = [line for line in lines if line.startswith("| 7 |")]
    assert [cell.strip() for cell in line.split("|")[4:7]] == [
        "does not hold in the miniature, 0.90",
        "as expected",
        "otherwise",
    ]
    assert sum(line.startswith("|  |") for line in lines) == 4 and all(line.count("|") == 8 for line in lines if line)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_finding_has_its_verdict_and_numbers(judged, verdict):
    changed = judged.assign(verdict=verdict, why="For a reason.")
    assert verdict_words(verdict) in finding(changed, 30, "miniature")
    assert "miniature" not in finding(changed, 30, "paper")
    changed["ours"], changed["interval"], changed["case"] = 0.5, [[0.4, 0.6]] * len(changed), "COCO"
    for number in (30, 5):
        told = finding(changed, number, "miniature")
        assert [part in told for part in ("(COCO)", "0.50 (0.40 to 0.60)")] == [True, True]
    singly = {"for": 3, "against": 1}
    assert "3 of 0 cases" in finding(changed.assign(singly=[singly] * len(changed)), 30, "miniature")


@pytest.mark.parametrize(
    ("own", "anchor", "words"),
    [
        ("fails", "fails", "yes, "),
        ("holds", "fails", "only in part"),
        ("unclear", "fails", "at least in part"),
        ("holds", "holds", "no: "),
        ("unclear", "holds", "cannot tell"),
        ("holds", "unclear", "cannot tell"),
        (VERDICTS[3], VERDICTS[3], "cannot tell"),
    ],
)
def test_the_question_is_answered_by_the_verdicts_on_claims_5_and_7(judged, own, anchor, words):
    verdicts = judged.set_index("id")["verdict"].to_dict() | {5: own, 7: anchor}
    assert words in answer(judged.assign(verdict=judged["id"].map(verdicts)), "miniature")


def test_missing_tables_are_named_with_their_commands():
    told = missing_tables({}, "smoke")
    assert "`vwlib study --profile smoke`" in told and "`vwlib experiments --profile smoke`" in told
    known = {claim.table for claim in CLAIMS} - {"crossings"}
    some = dict.fromkeys({"trials", "fresh", "carried_anchors", *known}, pd.DataFrame())
    assert "Missing tables: crossings;" in missing_tables(some, "smoke")
    assert missing_tables(some | {"crossings": pd.DataFrame()}, "smoke") == ""


def test_the_command_writes_what_the_tables_give(judged, tmp_path):
    result = CliRunner().invoke(app, ["claims", "--profile", "miniature", "--store", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0].endswith("54 not decidable at this scale.")
    rows = json.loads((tmp_path / "results" / "miniature" / "claims.json").read_text())
    assert [row["verdict"] for row in rows] == judged["verdict"].tolist()


@pytest.mark.parametrize("profile", sorted(path.parent.name for path in DATA.glob("results/*/trials.parquet")))
def test_the_stored_verdicts_are_what_the_stored_tables_give(profile, tmp_path):
    judged = in_words(judge_claims(read_tables(profile), SCHEMAS, profile))
    written = write_claims(judged, profile, tmp_path)
    assert (DATA / "results" / profile / "claims.json").read_bytes() == written.read_bytes()


def test_a_missing_table_is_named_with_its_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="`vwlib experiments maps --profile miniature`"):
        tables_of(load_profile("miniature"), ["maps"], tmp_path)


def test_small_tables_stand_in_for_those_of_the_same_models(monkeypatch):
    def small_only(profile, names):
        if profile.name != "smoke":
            raise FileNotFoundError("It is missing.")
        return dict.fromkeys(names, profile.name)

    monkeypatch.setattr(experiments, "tables_of", small_only)
    assert tables_or_stand_in(load_profile("smoke"), ["maps"]) == ({"maps": "smoke"}, "")
    tables, told = tables_or_stand_in(load_profile("miniature"), ["maps"])
    assert tables == {"maps": "smoke"} and "'smoke'" in told
    with pytest.raises(FileNotFoundError, match="It is missing"):
        tables_or_stand_in(load_profile("paper"), ["maps"])
