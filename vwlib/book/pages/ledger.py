"""The ledger of the paper's claims as a page shows it: judged on the stored tables, as one table to search and sort,
and in a few sentences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from math import isfinite
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd

from vwlib.book.pages.experiments import tables_of
from vwlib.book.pages.transfer import JUDGED
from vwlib.experiments import EXPERIMENTS, read_tables
from vwlib.experiments.base import TRIALS
from vwlib.ledger.claims import VERDICTS, here_text, judge_claims, ledger_table, load_claims, verdict_counts
from vwlib.paths import ROOT
from vwlib.settings import Profile
from vwlib.study.tables import results_root

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
    """The verdicts on all claims (`vwlib.ledger.claims.judge_claims`) from a profile's tables, and in words which of
    those that they need are missing.

    Small tables (`compute_on_demand`) are computed where they are missing. Raises ValueError where a table was damaged.
    """
    root = root or results_root(profile)
    if profile.study.compute_on_demand:
        tables_of(profile, list(EXPERIMENTS), root)
    tables = read_tables(profile.name, root)
    return judge_claims(tables, profile.name), missing_tables(tables, profile.name)


def missing_tables(tables: Mapping[str, pd.DataFrame], profile: str) -> str:
    """Which of the tables that the claims ask for are not there, and the commands that make them; nothing where all
    are.
    """
    asked = {claim.table for claim in load_claims()}
    there = [name for name in EXPERIMENTS if name in tables]
    missing = [name for name in EXPERIMENTS if name in asked and name not in tables]
    study = (
        []
        if TRIALS in tables
        else [f"The study of profile '{profile}' is not stored here; `vwlib study --profile {profile}` makes it."]
    )
    if missing:
        names = (
            "All tables of the experiments are"
            if not there
            else f"Of the experiments' tables, {', '.join(missing)} are"
        )
        study.append(f"{names} missing; `vwlib experiments --profile {profile}` makes them.")
    return " ".join([*study, "Claims that need what is missing count as undecided."]) if study else ""


def verdict_table(judged: pd.DataFrame) -> pd.DataFrame:
    """How many claims have each verdict (columns), by what decides them (rows)."""
    counts = {name: verdict_counts(judged[judged["scope"] == scope]) for scope, name in SCOPES.items()}
    return pd.DataFrame(counts).T.rename_axis("decided by", axis=0).rename_axis(None, axis=1)


def disagreements(judged: pd.DataFrame) -> pd.DataFrame:
    """The claims for which the paper's text is not what its own figures or tables show, with both numbers where there
    are two.
    """
    chosen = judged[judged["note"].str.contains(DISAGREES)]
    columns = {"no.": chosen["id"], "claim": chosen["claim"], "place": chosen["place"], "paper": chosen["paper"]}
    note = chosen["note"].str.replace(rf"{DISAGREES}[^:]*: ", "", regex=True)
    return pd.DataFrame(
        columns | {"what disagrees": note.str[:1].str.upper() + note.str[1:], "verdict": chosen["verdict"]}
    ).reset_index(drop=True)


def revisions(judged: pd.DataFrame) -> pd.DataFrame:
    """The claims whose rule was changed after the study was computed: when, what, and the verdict by the first rule
    beside that by the last one.
    """
    chosen = judged[judged["revised"] != ""]
    columns = {"no.": chosen["id"], "claim": chosen["claim"], "the changes": chosen["revised"].map(_told_by_time)}
    columns |= {"by the first rule": [_first_text(row) for row in chosen.to_dict("records")]}
    here = zip(chosen["ours"], chosen["interval"], chosen["case"], chosen["ties"], strict=True)
    columns |= {
        "by the last rule": [
            _verdict_and(verdict, here_text(*row)) for verdict, row in zip(chosen["verdict"], here, strict=True)
        ]
    }
    return pd.DataFrame(columns).reset_index(drop=True)


def counts_by_rules(judged: pd.DataFrame) -> pd.DataFrame:
    """How many claims have each verdict (columns): by the rules as they are, and by all claims' first rules on the same
    tables.
    """
    counts = {
        "by the last rules": verdict_counts(judged),
        "by the first rules": verdict_counts(judged, "first_verdict"),
    }
    return pd.DataFrame(counts).T.rename_axis("the claims", axis=0).rename_axis(None, axis=1)


def moved_sentence(judged: pd.DataFrame) -> str:
    """Which verdicts the changes of rules moved, and which way."""
    moved = judged[judged["verdict"] != judged["first_verdict"]]
    if moved.empty:
        return "No verdict is another by the first rules."
    groups = moved.groupby(["first_verdict", "verdict"], sort=False)["id"]
    told = "; ".join(f"{_listed(numbers)} from {first} to {last}" for (first, last), numbers in groups)
    return f"By the change of their rules went: {told}."


def _listed(numbers: pd.Series) -> str:
    *most, last = map(str, numbers)
    return f"claims {', '.join(most)} and {last}" if most else f"claim {last}"


def _told_by_time(revised: str) -> str:
    """A rule's changes, the day named once."""
    day = revised[:10]
    return f"{day}, {revised[11:].replace(f' {day} ', ' ')}"


def _first_text(row: Mapping[str, Any]) -> str:
    first = row["first"]
    return _verdict_and(row["first_verdict"], here_text(first["ours"], first["interval"], first["case"], first["ties"]))


def _verdict_and(verdict: str, here: str) -> str:
    return verdict if here == "–" else f"{verdict}: {here}"


_VERDICT_WORDS = dict(
    zip(VERDICTS, ("is replicated", "is contradicted", "is undecided", "cannot be decided"), strict=True)
)


def finding(judged: pd.DataFrame, number: int, world: str = "miniature") -> str:
    """What came of one claim, in a sentence that is true whatever the verdict is: the verdict, our number with its
    interval, the paper's.

    `world` is that of the profile, of whose models alone the verdict is.
    """
    row = judged.set_index("id").loc[number]
    told = f"“{row['claim'].rstrip('.')}” {_VERDICT_WORDS[row['verdict']]} {JUDGED[world]}"
    if not isfinite(row["ours"]):
        return f"{told}. {row['why']}"
    asked = next(claim for claim in load_claims() if claim.id == number)
    ends = [end for end in row["interval"] or [] if end is not None]
    ties = f"; {row['ours'] - row['ties'] / 2:.0%} strictly, {row['ties']:.0%} tie" if row["ties"] else ""
    interval = f" (95 % interval {_number(ends[0])} to {_number(ends[1])}{ties})" if len(ends) == 2 else ""
    where = f" ({row['case']})" if row["case"] else ""
    paper = "" if row["paper"] == "no number" else f" The paper has: {row['paper']}."
    if asked.paper_value and paper:  # another quantity than ours, so that the two numbers are not to be compared
        paper = f" The paper, which gives no floor, has scores of {row['paper']}."
    singly = re.search(r"Taken singly, .*? against\.", row["why"])
    return f"{told}. The number that decides{where}, {asked.asks}, is {_number(row['ours'])}{interval}.{f' {singly[0]}' if singly else ''}{paper}"


@dataclass(frozen=True)
class Ledger:
    """The verdicts as a table of a page, one row a claim, which `_static/ledger.js` makes searchable and sortable."""

    judged: pd.DataFrame
    places: Mapping[str, FigurePlace]

    def __repr__(self) -> str:
        return ledger_table(self.judged)[["no.", "verdict", "claim", "paper", "here", "p"]].to_string(index=False)

    def _repr_html_(self) -> str:
        heads = "".join(
            f'<th scope="col">{head}</th>'
            for head in ("verdict", "no.", "claim", "paper", "here", "p (Holm)", "shown in")
        )
        texts = ledger_table(self.judged).to_dict("records")
        rows = "\n".join(
            self._row(text, found) for text, found in zip(texts, self.judged.to_dict("records"), strict=True)
        )
        return f'<table class="ledger dataframe">\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>'

    def _row(self, text: Mapping[str, Any], found: Mapping[str, Any]) -> str:
        order = VERDICTS.index(found["verdict"])
        p = found["p_holm"] if isfinite(found["p_holm"]) else 2
        cells = [
            f'<td data-order="{order}"><span class="verdict verdict-{order}">{escape(text["verdict"])}</span></td>',
            f"<td>{text['no.']}</td>",
            f"<td>{self._claim(text, found)}</td>",
            f"<td>{escape(text['paper'])}</td>",
            f'<td data-order="{found["ours"] if isfinite(found["ours"]) else ""}">{escape(text["here"])}</td>',
            f'<td data-order="{p:g}">{escape(text["p"])}</td>',
            f"<td>{self._link(found['figure'])}</td>",
        ]
        scope = escape(SCOPES[found["scope"]])
        return f'<tr id="claim-{found["id"]}" data-verdict="{escape(found["verdict"])}" data-scope="{scope}">{"".join(cells)}</tr>'

    def _claim(self, text: Mapping[str, Any], found: Mapping[str, Any]) -> str:
        parts = [escape(text["claim"]), f'<div class="place">{escape(text["place"])}</div>']
        revised = f"The rule was changed after the study was computed: {found['revised']}" if found["revised"] else ""
        parts += [
            f"<div>{_prose(line)}</div>" for line in (found["why"], found["note"], found["data"], revised) if line
        ]
        judged = [
            ("Rule", text["rule"]),
            ("Test", text["test"]),
            ("Decided by", SCOPES[found["scope"]]),
            ("Trials", f"{found['n']:,}" if found["n"] else "none"),
        ]
        if found["first"]:
            first = (
                f"{found['first']['rule']} By this rule the verdict is {_first_text(found)}. {found['first']['why']}"
            )
            judged.insert(1, ("First rule", first.strip()))
        if isfinite(found["p"]):
            judged.append(("p before Holm's correction", "< 0.001" if found["p"] < 0.001 else f"{found['p']:.3f}"))
        if isfinite(found["detectable"]):
            judged.append(
                ("Power", f"a true value {found['detectable']:.2g} beyond the bound would be found nine times in ten")
            )
        terms = "".join(f"<dt>{name}</dt><dd>{_prose(value)}</dd>" for name, value in judged)
        return f"{''.join(parts)}<details><summary>how it was judged</summary><dl>{terms}</dl>{_cases(found['cases'])}</details>"

    def _link(self, label: str) -> str:
        place = self.places.get(label)
        if not place:
            return "–"
        return f'<a href="{place.chapter}.html#{label}" title="{escape(place.caption)}">chapter {int(place.chapter.split("_")[0])}</a>'


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _cases(cases: list[dict[str, Any]]) -> str:
    if len(cases) < 2:
        return ""
    rows = "".join(
        f"<tr><td>{escape(case['case'])}</td><td>{_number(case['paper'])}</td><td>{_ours(case)}</td></tr>"
        for case in cases
    )
    return f"<table><thead><tr><th>case</th><th>paper</th><th>here</th></tr></thead><tbody>{rows}</tbody></table>"


def _ours(case: Mapping[str, Any]) -> str:
    if case["ours"] is None:
        return escape(case["missing"])
    return here_text(case["ours"], case["interval"], ties=case["ties"] or 0.0)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{round(value, 2) + 0:.2f}"
