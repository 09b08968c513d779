"""The ledger of the paper's claims as a page shows it: judged, and put into words by `book/text/07_ledger.md.j2`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd

from vwlib.book.pages.experiments import tables_of
from vwlib.book.text import fill, template
from vwlib.experiments.running import EXPERIMENTS, SCHEMAS, read_tables
from vwlib.ledger.claims import Claim, load_claims, load_settings
from vwlib.ledger.judge import LEVEL, judge_claims, two_digits
from vwlib.ledger.tables import OTHERS
from vwlib.ledger.verdicts import VERDICTS
from vwlib.paths import ROOT
from vwlib.settings import Profile
from vwlib.study.store import TRIALS, results_root

#: What decides a claim, by its scope.
SCOPES = {
    "miniature": "the study",
    "other experiment": "another experiment",
    "real weights": "the paper's own models",
    "text": "the paper itself",
}
#: How a claim's note begins where the paper's text is not what its own figures or tables show.
DISAGREES = r"^Text and (?:table|figures?) disagree"
#: What `claims.json` has of each claim, and of its first rule.
FILED = (
    *("id", "claim", "place", "paper", "ours", "interval", "test", "p", "verdict", "scope", "figure", "p_holm", "case"),
    *("cases", "n", "detectable", "rule", "why", "note", "data", "revised", "ties", "first_verdict", "first"),
)
FILED_FIRST = ("rule", "ours", "interval", "case", "p_holm", "ties", "why")


@dataclass(frozen=True)
class FigurePlace:
    """Where the book shows a figure, and the first sentence of its caption."""

    chapter: str  # the page's name, such as "04_are_words_transferable"
    caption: str


def figure_places(book: Path = ROOT / "book") -> dict[str, FigurePlace]:
    """Every figure of the book's chapters by its label."""
    places = {}
    for path in sorted(book.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if figure := cell.metadata.get("mystnb", {}).get("figure"):
                places[figure["name"]] = FigurePlace(path.stem, re.split(r"(?<=[.:]) ", figure["caption"])[0])
    return places


def judge_stored(profile: Profile, root: Path | None = None) -> tuple[pd.DataFrame, str]:
    """The verdicts on all claims from a profile's tables, `in_words`, and a notice that lists missing tables.

    Small tables (`compute_on_demand`) are computed where missing. Raises ValueError where a table was damaged.
    """
    root = root or results_root(profile)
    if profile.study.compute_on_demand:
        tables_of(profile, list(EXPERIMENTS), root)
    tables = read_tables(profile.name, root)
    return in_words(judge_claims(tables, SCHEMAS, profile.name)), missing_tables(tables, profile.name)


def in_words(judged: pd.DataFrame, claims: Sequence[Claim] = ()) -> pd.DataFrame:
    """The verdicts with the columns `rule` (how the claim is decided), `test` (how interval and p value come about) and
    `why`; those of the first rule in `first`. Without `claims` they are those of `data/paper/claims.toml`.
    """
    words, schemas, texts = _words(), {**OTHERS, **SCHEMAS}, []
    for claim, row in zip(claims or load_claims(), judged.to_dict("records"), strict=True):
        first = row["first"]
        if claim.first:
            first = first | {"rule": words.rule(claim.first, LEVEL), "why": words.why(first)}
        test = words.test(claim, schemas[claim.table])
        texts.append({"rule": words.rule(claim, LEVEL), "test": test, "why": words.why(row), "first": first})
    return judged.drop(columns="first").join(pd.DataFrame(texts, judged.index))


def _words() -> Any:
    """The macros of the ledger's words."""
    return template("07_ledger").module


def for_file(judged: pd.DataFrame) -> pd.DataFrame:
    """The verdicts in words as `vwlib.ledger.judge.write_claims` writes them."""
    first = [row and {key: row[key] for key in FILED_FIRST} for row in judged["first"]]
    return judged.assign(first=first)[[*FILED]]


def missing_tables(tables: Mapping[str, pd.DataFrame], profile: str) -> str:
    """A notice of the missing tables that claims ask for, with the commands that make them; else empty."""
    asked = {claim.table for claim in load_claims()}
    notice = []
    if TRIALS not in tables:
        notice.append(f"The study of profile '{profile}' is not here; `vwlib study --profile {profile}` makes it.")
    if missing := [name for name in EXPERIMENTS if name in asked and name not in tables]:
        names = ", ".join(missing) if any(name in tables for name in EXPERIMENTS) else "all"
        notice.append(f"Missing tables of experiments: {names}; `vwlib experiments --profile {profile}` makes them.")
    return " ".join([*notice, "Claims that need what is missing count as undecided."]) if notice else ""


def disagreements(judged: pd.DataFrame) -> pd.DataFrame:
    """The claims for which the paper's text is not what its own figures or tables show, with both numbers."""
    chosen = judged[judged["note"].str.contains(DISAGREES)]
    note = chosen["note"].str.replace(rf"{DISAGREES}[^:]*: ", "", regex=True)
    columns = {"no.": chosen["id"], "claim": chosen["claim"], "place": chosen["place"], "paper": chosen["paper"]}
    columns |= {"what disagrees": note.str[:1].str.upper() + note.str[1:], "verdict": chosen["verdict"]}
    return pd.DataFrame(columns).reset_index(drop=True)


def revisions(judged: pd.DataFrame) -> pd.DataFrame:
    """The claims whose rule was changed after the study was computed, with the verdicts by the first and last rule."""
    rows = [
        (
            row["id"],
            row["claim"],
            _day_once(row["revised"]),
            _verdict_and(row["first_verdict"], row["first"]),
            _verdict_and(row["verdict"], row),
        )
        for row in judged[judged["revised"] != ""].to_dict("records")
    ]
    return pd.DataFrame(rows, columns=["no.", "claim", "the changes", "by the first rule", "by the last rule"])


def _day_once(revised: str) -> str:
    """A rule's changes, the day named once."""
    day = revised[:10]
    return f"{day}, {revised[11:].replace(f' {day} ', ' ')}"


def _verdict_and(verdict: str, row: Mapping[str, Any]) -> str:
    here = here_text(row, row["case"])
    return verdict if here == "–" else f"{verdict}: {here}"


def here_text(row: Mapping[str, Any], case: str = "") -> str:
    """Our number as text, from a row of the verdicts, of their first rules or of their cases: with its interval, a
    case, and where ties count half, the share without them. A dash where there is none.
    """
    value, interval, ties = row["ours"], row["interval"], row["ties"] or 0.0
    if value is None or not isfinite(value):
        return "–"
    text = two_digits(value)
    if interval:
        low, high = ("…" if end is None or not isfinite(end) else two_digits(end) for end in interval)
        tied = f"; {value - ties / 2:.0%} strictly, {ties:.0%} tie" if ties else ""
        text += f" ({low} to {high}{tied})"
    return f"{text}, {case}" if case else text


def p_text(p: float) -> str:
    """A p value as text; a dash where there is none."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if isfinite(p) else "–"


def finding(judged: pd.DataFrame, number: int, world: str) -> str:
    """What came of one claim in the models of a world, in the template's words, with our number and the paper's."""
    row = judged.set_index("id").loc[number].to_dict()
    claim = next(claim for claim in load_claims() if claim.id == number)
    here = here_text(row)
    return _words().finding(row, claim, "" if here == "–" else here, world)


def answer(judged: pd.DataFrame, world: str) -> str:
    """The answer to the book's question that the verdicts give by the rule of `data/paper/claims.toml`, in words."""
    verdicts = dict(zip(judged["id"], judged["verdict"], strict=True))
    found = load_settings().answer(verdicts)
    return _words().answer(found, verdicts[5], verdicts[7], world)


@dataclass(frozen=True)
class Ledger:
    """The verdicts as a table of a page, one row a claim, by the template `book/text/07_table.md.j2`."""

    judged: pd.DataFrame  # in words
    places: Mapping[str, FigurePlace]

    def __repr__(self) -> str:
        return self.judged[["id", "verdict", "claim", "paper", "ours", "p_holm"]].to_string(index=False)

    def _repr_html_(self) -> str:
        return fill("07_table", scopes=SCOPES, rows=[self._row(row) for row in self.judged.to_dict("records")])

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        """A claim's verdict with what its row shows as text."""
        return row | {
            "order": VERDICTS.index(row["verdict"]),
            "here": here_text(row, row["case"]),
            "p_here": p_text(row["p_holm"]),
            "p_alone": p_text(row["p"]) if isfinite(row["p"]) else "",
            "first_here": _verdict_and(row["first_verdict"], row["first"]) if row["first"] else "",
            "cases": [case | _case_texts(case) for case in row["cases"]],
            "at": self.places.get(row["figure"]),
        }


def _case_texts(case: Mapping[str, Any]) -> dict[str, str]:
    paper = "–" if case["paper"] is None else two_digits(case["paper"])
    return {"paper_here": paper, "here": case["missing"] if case["ours"] is None else here_text(case)}
