"""The ledger as a page shows it: every claim in a row with its verdict and its figure, counts, and sentences that are true whatever came out."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from vwlib import pages
from vwlib.claims import VERDICTS, judge_claims, load_claims, read_claims, write_claims
from vwlib.cli import app
from vwlib.experiments import read_tables
from vwlib.pages import experiments
from vwlib.pages.ledger import SCOPES, missing_tables
from vwlib.paths import DATA
from vwlib.profiles import load_profile

CLAIMS = load_claims()
#: Figures of experiments that no chapter shows yet.
TO_COME = {"fig-random"}


@pytest.fixture(scope="module")
def judged():
    """The verdicts without any table: what the paper itself decides is decided all the same."""
    return judge_claims({})


def test_every_claims_figure_is_in_a_chapter():
    places = pages.figure_places()
    assert {claim.figure for claim in CLAIMS} - set(places) - {""} <= TO_COME
    assert all(place.caption for place in places.values())


def test_a_row_for_each_claim_verdict_first_and_linked(judged):
    html = pages.Ledger(judged, pages.figure_places())._repr_html_()
    assert html.count("<tr id=") == len(CLAIMS)
    row = html[html.index('<tr id="claim-1"') : html.index('<tr id="claim-2"')]
    assert row.index("undecided") < row.index("One learned word makes the generator draw")
    assert f'.html#{CLAIMS[0].figure}"' in row
    assert "<code>vwlib study</code>" in row and "Rule" in row


def test_numbers_and_cases_stand_in_their_row(judged):
    found = judged[judged["id"] == 1].to_dict("records")[0]
    case = {"case": "a < b", "paper": 0.5, "ours": -0.001, "interval": [None, 1.0], "missing": ""}
    told = found | {"ours": 0.25, "interval": [0.1, None], "case": "COCO", "p": 0.5, "p_holm": 0.9, "detectable": 0.3, "n": 9, "cases": [case, case]}
    html = pages.Ledger(pd.DataFrame([told]), {})._repr_html_()
    assert all(text in html for text in ("0.25 (0.10 to …), COCO", "a &lt; b", "0.00 (… to 1.00)", "0.900", "a true value 0.3 beyond", "<dd>9</dd>"))


def test_verdicts_are_counted_by_what_decides_them(judged):
    counts = pages.verdict_table(judged)
    assert list(counts.index) == list(SCOPES.values()) and list(counts) == list(VERDICTS)
    assert counts.to_numpy().sum() == len(CLAIMS)
    assert counts.loc["the paper's own models", VERDICTS[3]] == sum(claim.scope == "real weights" for claim in CLAIMS)


def test_the_paper_is_shown_where_it_disagrees_with_itself(judged):
    table = pages.disagreements(judged).set_index("no.")
    assert {1, 7, 15, 18, 23, 33, 34} <= set(table.index)
    assert table.loc[15, "paper"] == "text: 28 %; figures: 0.27"
    assert not table["what disagrees"].str.contains("disagree").any()


def test_rules_that_were_changed_are_listed_with_their_day(judged):
    table = pages.revisions(judged).set_index("no.")
    assert set(table.index) == {claim.id for claim in CLAIMS if claim.revised}
    assert table.loc[26, "changed on"] == "2026-11-22" and table.loc[26, "the change"].startswith("Asked of each task singly")
    assert "The rule was changed after a result of it had been read, 2026-11-22: asked" in pages.Ledger(judged, {})._repr_html_()


SAID = dict(zip(VERDICTS, ("is replicated here", "is contradicted here", "is undecided here", "cannot be decided at this scale"), strict=True))


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_finding_is_told_with_its_verdict(judged, verdict):
    changed = judged.assign(verdict=verdict, why="For a reason.")
    assert pages.finding(changed, 30) == f"“Near every anchor word there is a solution for any concept” {SAID[verdict]}. For a reason."
    changed["ours"], changed["interval"], changed["case"] = 0.5, [[0.4, 0.6]] * len(changed), "COCO"
    assert "The number that decides (COCO), the own-task score" in pages.finding(changed, 30)
    assert "is 0.50 (95 % interval 0.40 to 0.60). The paper, which gives no floor, has scores of " in pages.finding(changed, 30)
    singly = changed.assign(why="The interval does not clear the bound. Taken singly, 3 of 4 cases are as claimed and 0 against. With these trials")
    assert "0.60). Taken singly, 3 of 4 cases are as claimed and 0 against. The paper" in pages.finding(singly, 30)
    changed["ours"] = -0.001
    assert "is 0.00 (95 % interval 0.40 to 0.60). The paper has: " in pages.finding(changed, 5)


def test_missing_tables_are_named_with_their_commands():
    assert missing_tables({}, "smoke").startswith("The study of profile 'smoke' is not stored here; `vwlib study --profile smoke` makes it. All tables")
    some = dict.fromkeys(("trials", *(claim.table for claim in CLAIMS if claim.table != "crossings")), pd.DataFrame())
    assert missing_tables(some, "smoke").startswith("Of the experiments' tables, crossings are missing; `vwlib experiments --profile smoke`")
    assert missing_tables(some | {"crossings": pd.DataFrame()}, "smoke") == ""


def test_the_command_writes_what_the_tables_give(judged, tmp_path):
    result = CliRunner().invoke(app, ["claims", "--profile", "miniature", "--store", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0].endswith("8 not decidable at this scale.")
    assert json.loads((tmp_path / "results" / "miniature" / "claims.json").read_text())[0]["id"] == 1
    assert read_claims("miniature", tmp_path)["verdict"].tolist() == judged["verdict"].tolist()


@pytest.mark.parametrize("profile", sorted(path.parent.name for path in DATA.glob("results/*/trials.parquet")))
def test_the_stored_verdicts_are_what_the_stored_tables_give(profile, tmp_path):
    written = write_claims(judge_claims(read_tables(profile), profile), profile, tmp_path)
    assert (DATA / "results" / profile / "claims.json").read_bytes() == written.read_bytes()


def test_a_missing_table_is_named_with_its_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"The table 'maps' of the profile 'miniature' is missing; `vwlib experiments maps --profile miniature`"):
        pages.tables_of(load_profile("miniature"), ["maps"], tmp_path)


def test_small_tables_stand_in_for_those_of_the_same_models(monkeypatch):
    def small_only(profile, names):
        if profile.name != "smoke":
            raise FileNotFoundError("It is missing.")
        return dict.fromkeys(names, profile.name)

    monkeypatch.setattr(experiments, "tables_of", small_only)
    assert pages.tables_or_stand_in(load_profile("smoke"), ["maps"]) == ({"maps": "smoke"}, "")
    tables, told = pages.tables_or_stand_in(load_profile("miniature"), ["maps"])
    assert tables == {"maps": "smoke"} and told.startswith("It is missing. Until then those of profile 'smoke' stand in")
    with pytest.raises(FileNotFoundError, match="It is missing"):
        pages.tables_or_stand_in(load_profile("paper"), ["maps"])
