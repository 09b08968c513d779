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
from vwlib.ledger.before import first_edition
from vwlib.ledger.claims import Claim, load_checks, load_claims, load_settings
from vwlib.ledger.judge import judge_claims, two_digits
from vwlib.ledger.judgements import LEVEL
from vwlib.ledger.tables import OTHERS
from vwlib.ledger.verdicts import DEFINITION, VERDICTS, verdict_counts, verdict_words
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
    `why`; and what the first edition published, `edition_verdict` and `edition_first_verdict` (by the first of its
    rules). Without `claims` they are those of `data/paper/claims.toml`.
    """
    words, schemas, checks, texts = _words(), {**OTHERS, **SCHEMAS}, load_checks(), []
    for claim, row in zip(claims or load_claims(), judged.to_dict("records"), strict=True):
        asked = [checks[name].sentence for name in claim.checks]
        test = words.test(claim, schemas[claim.table])
        texts.append({"rule": words.rule(claim, LEVEL, asked), "test": test, "why": words.why(row)})
    published = first_edition()[["verdict", "first_verdict"]].add_prefix("edition_").reindex(judged["id"])
    return judged.join(pd.DataFrame(texts, judged.index)).join(published.set_index(judged.index))


def _words() -> Any:
    """The macros of the ledger's words."""
    return template("07_ledger").module


def missing_tables(tables: Mapping[str, pd.DataFrame], profile: str) -> str:
    """A notice of the missing tables that claims ask for, with the commands that make them; else empty."""
    made = {"fresh", "carried_anchors", *(claim.table for claim in load_claims() if claim.table in (TRIALS, *SCHEMAS))}
    if not (missing := sorted(made - tables.keys())):
        return ""
    commands = f"`vwlib study --profile {profile}` and `vwlib experiments --profile {profile}` make them"
    return f"Missing tables: {', '.join(missing)}; {commands}. Claims that need what is missing are not decidable."


def disagreements(judged: pd.DataFrame, profile: str = "miniature") -> pd.DataFrame:
    """The claims for which the paper's text is not what its own figures or tables show, with both numbers."""
    chosen = judged[judged["note"].str.contains(DISAGREES)]
    note = chosen["note"].str.replace(rf"{DISAGREES}[^:]*: ", "", regex=True)
    columns = {"no.": chosen["id"], "claim": chosen["claim"], "place": chosen["place"], "paper": chosen["paper"]}
    columns |= {"what disagrees": note.str[:1].str.upper() + note.str[1:], "verdict": _said(chosen, profile)}
    return pd.DataFrame(columns).reset_index(drop=True)


def _said(judged: pd.DataFrame, profile: str) -> list[str]:
    """The verdicts in the one vocabulary of all pages."""
    rows = zip(judged["verdict"], judged["scope"], strict=True)
    return [verdict_words(verdict, profile, scope) for verdict, scope in rows]


def editions(judged: pd.DataFrame) -> pd.DataFrame:
    """How many claims have each verdict by the first edition's first rules, by its last, and now."""
    columns = {"first edition, first rules": "edition_first_verdict", "first edition, last rules": "edition_verdict"}
    counts = {name: verdict_counts(judged, column) for name, column in (columns | {"now": "verdict"}).items()}
    definitions = {"definition": [0, 0, int((judged["verdict"] == DEFINITION).sum())]}
    return pd.DataFrame(counts).T.assign(**definitions).rename_axis("the claims")


def here_text(row: Mapping[str, Any], case: str = "") -> str:
    """Our number as text, from a row of the verdicts or of their cases: with its interval and a case; else a dash."""
    value, interval = row["ours"], row["interval"]
    if value is None or not isfinite(value):
        return "–"
    text = two_digits(value)
    if interval:
        low, high = ("…" if end is None or not isfinite(end) else two_digits(end) for end in interval)
        text += f" ({low} to {high})"
    return f"{text}, {case}" if case else text


def p_text(p: float) -> str:
    """A p value as text; a dash where there is none."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if isfinite(p) else "–"


def finding(judged: pd.DataFrame, number: int, profile: str) -> str:
    """What came of one claim in a profile's models, in the template's words, with our number and the paper's."""
    row = judged.set_index("id").loc[number].to_dict()
    claim = next(claim for claim in load_claims() if claim.id == number)
    here = here_text(row)
    return _words().finding(
        row, claim, verdict_words(row["verdict"], profile, row["scope"]), "" if here == "–" else here
    )


def answer(judged: pd.DataFrame, profile: str) -> str:
    """The answer to the book's question that the verdicts give by the rule of `data/paper/claims.toml`, in words."""
    verdicts = dict(zip(judged["id"], judged["verdict"], strict=True))
    said = {number: verdict_words(verdicts[number], profile) for number in (5, 7)}
    where = "In the miniature" if profile == "miniature" else "In this run"
    return _words().answer(load_settings().answer(verdicts), said, where)


@dataclass(frozen=True)
class Ledger:
    """The verdicts as a table of a page, one row a claim, by the template `book/text/07_table.md.j2`."""

    judged: pd.DataFrame  # in words
    places: Mapping[str, FigurePlace]
    profile: str = "miniature"

    def __repr__(self) -> str:
        return self.judged[["id", "verdict", "claim", "paper", "ours", "p_adjusted"]].to_string(index=False)

    def _repr_html_(self) -> str:
        return fill("07_table", scopes=SCOPES, rows=self.rows())

    def rows(self) -> list[dict[str, Any]]:
        """The verdicts with what their rows show as text."""
        return [self._row(row) for row in self.judged.to_dict("records")]

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        said, published = verdict_words(row["verdict"], self.profile, row["scope"]), first_edition().loc[row["id"]]
        return row | {
            "order": [*VERDICTS, DEFINITION].index(row["verdict"]),
            "said": said,
            "here": here_text(row, row["case"]),
            "p_here": p_text(row["p_adjusted"]),
            "p_alone": p_text(row["p"]) if isfinite(row["p"]) else "",
            "edition": {key: verdict_words(published[key]) for key in ("first_verdict", "verdict")},
            "published": published.to_dict(),
            "cases": [case | _case_texts(case) for case in row["cases"]],
            "at": self.places.get(row["figure"]),
        }


def _case_texts(case: Mapping[str, Any]) -> dict[str, str]:
    paper = "–" if case["paper"] is None else two_digits(case["paper"])
    return {"paper_here": paper, "here": case["missing"] if case["ours"] is None else here_text(case)}
