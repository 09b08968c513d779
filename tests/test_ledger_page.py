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
    figure_places,
    finding,
    for_file,
    in_words,
    missing_tables,
    revisions,
)
from vwlib.experiments.running import SCHEMAS, read_tables
from vwlib.ledger.claims import load_claims
from vwlib.ledger.judge import judge_claims
from vwlib.ledger.verdicts import VERDICTS, write_claims
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
    assert row.index("undecided") < row.index(CLAIMS[0].claim)
    assert f'.html#{CLAIMS[0].figure}"' in row
    assert "<code>vwlib study</code>" in row and "Rule" in row


def test_numbers_and_cases_stand_in_their_row(judged):
    found = judged[judged["id"] == 1].to_dict("records")[0]
    case = {"case": "a < b", "paper": 0.5, "ours": -0.001, "interval": [None, 1.0], "missing": "", "ties": 0.9}
    told = found | {
        "ours": 0.25,
        "interval": [0.1, None],
        "case": "COCO",
        "p": 0.5,
        "p_holm": 0.9,
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
            "0.00 (… to 1.00; -45% strictly, 90% tie)",
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


def test_rules_that_were_changed_are_listed_with_their_times_and_both_verdicts(judged):
    table = revisions(judged).set_index("no.")
    assert set(table.index) == {claim.id for claim in CLAIMS if claim.revised}
    assert table.loc[26, "the changes"].startswith("2026-11-22, 20:32: asked of each task singly")
    assert [time in table.loc[43, "the changes"] for time in ("20:32: ", "21:41: ", "23:30: ")] == [True] * 3
    assert (table.loc[12, "by the first rule"], table.loc[12, "by the last rule"]) == (
        "undecided",
        "not decidable at this scale",
    )
    html = Ledger(judged, {})._repr_html_()
    assert "The rule was changed after the study was computed: 2026-11-22 20:32: asked" in html
    assert html.count("<dt>First rule</dt>") == len(table)


def test_a_verdict_by_the_first_rule_stands_beside_that_by_the_last(judged):
    first = {"ours": 0.9, "interval": [0.8, 1.0], "case": "COCO", "ties": 0.2, "rule": "It lies above 0.5.", "why": ""}
    changed = judged.copy()
    row = changed.index[changed["id"] == 29][0]
    changed.loc[row, ["verdict", "first_verdict"]] = "contradicted", "replicated"
    changed.at[row, "first"] = first
    table = revisions(changed).set_index("no.")
    assert table.loc[29, "by the first rule"] == "replicated: 0.90 (0.80 to 1.00; 80% strictly, 20% tie), COCO"
    assert "It lies above 0.5. By this rule the verdict is replicated: 0.90" in Ledger(changed, {})._repr_html_()


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_finding_has_its_verdict_and_numbers(judged, verdict):
    word = verdict.split()[0] if verdict != VERDICTS[3] else "cannot be decided"
    changed = judged.assign(verdict=verdict, why="For a reason.")
    assert word in finding(changed, 30, "miniature") and "the paper's models" in finding(changed, 30, "paper")
    changed["ours"], changed["interval"], changed["case"] = 0.5, [[0.4, 0.6]] * len(changed), "COCO"
    for number in (30, 5):
        told = finding(changed, number, "miniature")
        assert [part in told for part in ("(COCO)", "0.50 (0.40 to 0.60)")] == [True, True]
    singly = {"for": 3, "small": 0, "against": 1}
    assert "3 of 0 cases" in finding(changed.assign(singly=[singly] * len(changed)), 30, "miniature")
    assert "30% strictly, 40% tie" in finding(changed.assign(ties=0.4), 43, "miniature")


@pytest.mark.parametrize(
    ("own", "anchor", "words"),
    [
        ("contradicted", "contradicted", "yes, "),
        ("replicated", "contradicted", "only in part"),
        ("undecided", "contradicted", "at least in part"),
        ("replicated", "replicated", "no: "),
        ("undecided", "replicated", "cannot tell"),
        ("replicated", "undecided", "cannot tell"),
        (VERDICTS[3], VERDICTS[3], "cannot tell"),
    ],
)
def test_the_question_is_answered_by_the_verdicts_on_claims_5_and_7(judged, own, anchor, words):
    verdicts = judged.set_index("id")["verdict"].to_dict() | {5: own, 7: anchor}
    assert words in answer(judged.assign(verdict=judged["id"].map(verdicts)), "miniature")


def test_missing_tables_are_named_with_their_commands():
    told = missing_tables({}, "smoke")
    assert "`vwlib study --profile smoke`" in told and "`vwlib experiments --profile smoke`" in told
    some = dict.fromkeys(("trials", *(claim.table for claim in CLAIMS if claim.table != "crossings")), pd.DataFrame())
    told = missing_tables(some, "smoke")
    assert "crossings;" in told and "vwlib study" not in told
    assert missing_tables(some | {"crossings": pd.DataFrame()}, "smoke") == ""


def test_the_command_writes_what_the_tables_give(judged, tmp_path):
    result = CliRunner().invoke(app, ["claims", "--profile", "miniature", "--store", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0].endswith("8 not decidable at this scale.")
    rows = json.loads((tmp_path / "results" / "miniature" / "claims.json").read_text())
    assert [row["verdict"] for row in rows] == judged["verdict"].tolist()


@pytest.mark.parametrize("profile", sorted(path.parent.name for path in DATA.glob("results/*/trials.parquet")))
def test_the_stored_verdicts_are_what_the_stored_tables_give(profile, tmp_path):
    judged = in_words(judge_claims(read_tables(profile), SCHEMAS, profile))
    written = write_claims(for_file(judged), profile, tmp_path)
    if profile == "miniature":
        counts = [[int((judged[column] == word).sum()) for word in VERDICTS] for column in ("verdict", "first_verdict")]
        assert counts == [[8, 20, 21, 8], [12, 13, 29, 3]]
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
