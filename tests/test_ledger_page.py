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
    SCOPES,
    Ledger,
    counts_by_rules,
    disagreements,
    figure_places,
    finding,
    missing_tables,
    moved_sentence,
    revisions,
    verdict_table,
)
from vwlib.experiments.running import read_tables
from vwlib.ledger.claims import VERDICTS, judge_claims, load_claims, read_claims, write_claims
from vwlib.paths import DATA
from vwlib.settings import load_profile
from vwlib.tools.cli import app

CLAIMS = load_claims()
#: Figures of experiments that no chapter shows yet.
TO_COME = {"fig-random"}


@pytest.fixture(scope="module")
def judged():
    """The verdicts without any table: what the paper itself decides is decided all the same."""
    return judge_claims({})


def test_every_claims_figure_is_in_a_chapter():
    places = figure_places()
    assert {claim.figure for claim in CLAIMS} - set(places) - {""} <= TO_COME
    assert all(place.caption for place in places.values())


def test_a_row_for_each_claim_verdict_first_and_linked(judged):
    html = Ledger(judged, figure_places())._repr_html_()
    assert html.count("<tr id=") == len(CLAIMS)
    row = html[html.index('<tr id="claim-1"') : html.index('<tr id="claim-2"')]
    assert row.index("undecided") < row.index("One learned word makes the generator draw")
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


def test_verdicts_are_counted_by_what_decides_them(judged):
    counts = verdict_table(judged)
    assert list(counts.index) == list(SCOPES.values()) and list(counts) == list(VERDICTS)
    assert counts.to_numpy().sum() == len(CLAIMS)
    assert counts.loc["the paper's own models", VERDICTS[3]] == sum(claim.scope == "real weights" for claim in CLAIMS)


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


def test_verdicts_are_counted_by_the_first_rules_and_by_the_last(judged):
    first = {"ours": 0.9, "interval": [0.8, 1.0], "case": "COCO", "ties": 0.2, "rule": "It lies above 0.5.", "why": ""}
    changed = judged.copy()
    row = changed.index[changed["id"] == 29][0]
    changed.loc[row, ["verdict", "first_verdict"]] = "contradicted", "replicated"
    changed.at[row, "first"] = first
    counts = counts_by_rules(changed)
    assert counts.loc["by the last rules", "contradicted"] == counts.loc["by the first rules", "contradicted"] + 1
    assert counts.to_numpy().sum() == 2 * len(CLAIMS)
    table = revisions(changed).set_index("no.")
    assert table.loc[29, "by the first rule"] == "replicated: 0.90 (0.80 to 1.00; 80% strictly, 20% tie), COCO"
    assert "It lies above 0.5. By this rule the verdict is replicated: 0.90" in Ledger(changed, {})._repr_html_()
    assert "claim 29 from replicated to contradicted" in moved_sentence(changed)
    assert "claims 11, 12, 13, 14 and 15 from undecided to not decidable" in moved_sentence(changed)
    assert (
        moved_sentence(changed.assign(first_verdict=changed["verdict"])) == "No verdict is another by the first rules."
    )


SAID = dict(
    zip(VERDICTS, ("is replicated in", "is contradicted in", "is undecided in", "cannot be decided in"), strict=True)
)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_finding_is_told_with_its_verdict(judged, verdict):
    changed = judged.assign(verdict=verdict, why="For a reason.")
    assert (
        finding(changed, 30)
        == f"“Near every anchor word there is a solution for any concept” {SAID[verdict]} the miniature. For a reason."
    )
    assert f"{SAID[verdict][:-3]} with the paper's models. For a reason." in finding(changed, 30, "paper")
    changed["ours"], changed["interval"], changed["case"] = 0.5, [[0.4, 0.6]] * len(changed), "COCO"
    assert "The number that decides (COCO), the own-task score" in finding(changed, 30)
    assert "is 0.50 (95 % interval 0.40 to 0.60). The paper, which gives no floor, has scores of " in finding(
        changed, 30
    )
    singly = changed.assign(
        why="The interval does not clear the bound. Taken singly, 3 of 4 cases are as claimed and 0 against. With these trials"
    )
    assert "0.60). Taken singly, 3 of 4 cases are as claimed and 0 against. The paper" in finding(singly, 30)
    tied = changed.assign(ties=0.4)
    assert "is 0.50 (95 % interval 0.40 to 0.60; 30% strictly, 40% tie). " in finding(
        tied, 43
    ) and "ties counting half, is" in finding(tied, 43)
    changed["ours"] = -0.001
    assert "is 0.00 (95 % interval 0.40 to 0.60). The paper has: " in finding(changed, 5)


def test_missing_tables_are_named_with_their_commands():
    assert missing_tables({}, "smoke").startswith(
        "The study of profile 'smoke' is not stored here; `vwlib study --profile smoke` makes it. All tables"
    )
    some = dict.fromkeys(("trials", *(claim.table for claim in CLAIMS if claim.table != "crossings")), pd.DataFrame())
    assert missing_tables(some, "smoke").startswith(
        "Of the experiments' tables, crossings are missing; `vwlib experiments --profile smoke`"
    )
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
    with pytest.raises(
        FileNotFoundError,
        match=r"The table 'maps' of the profile 'miniature' is missing; `vwlib experiments maps --profile miniature`",
    ):
        tables_of(load_profile("miniature"), ["maps"], tmp_path)


def test_small_tables_stand_in_for_those_of_the_same_models(monkeypatch):
    def small_only(profile, names):
        if profile.name != "smoke":
            raise FileNotFoundError("It is missing.")
        return dict.fromkeys(names, profile.name)

    monkeypatch.setattr(experiments, "tables_of", small_only)
    assert tables_or_stand_in(load_profile("smoke"), ["maps"]) == ({"maps": "smoke"}, "")
    tables, told = tables_or_stand_in(load_profile("miniature"), ["maps"])
    assert tables == {"maps": "smoke"} and told.startswith(
        "It is missing. Until then those of profile 'smoke' stand in"
    )
    with pytest.raises(FileNotFoundError, match="It is missing"):
        tables_or_stand_in(load_profile("paper"), ["maps"])
