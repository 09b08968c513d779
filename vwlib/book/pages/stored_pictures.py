"""What the words of the study draw, cut out of the sheets that are stored with it: no page draws it again."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
from PIL import Image

from vwlib.book.pages.experiments import tables_of
from vwlib.book.pages.pictures import Pictures, draw_grid, draw_trials, first_of
from vwlib.concepts import TASKS
from vwlib.experiments.sheets import SIDE
from vwlib.lab import Lab
from vwlib.study.read import TrialWords

Named = tuple[Pictures, list[list[str]]]


@dataclass(frozen=True, eq=False)
class Sheets:
    """The pictures in the table `sheets` (`vwlib.experiments.sheets`), by dataset, source and radius.

    A source is a task, "anchor" or "name". Pictures of anchors do not depend on the concept, those of names not on the
    anchor.
    """

    lab: Lab
    table: pd.DataFrame

    @cached_property
    def _rows(self) -> dict[tuple[str, str, float | None], tuple[Image.Image, pd.Series]]:
        return {
            (row["dataset"], row["trained_on"], None if pd.isna(row["delta"]) else row["delta"]): (
                Image.open(io.BytesIO(row["sheet"])).convert("RGB"),
                row,
            )
            for _, row in self.table.iterrows()
        }

    def picture(
        self, source: str, dataset: str, concept: str, anchor: str, delta: float | None = None
    ) -> tuple[Image.Image | None, str]:
        """The picture of one word and the name that the judge gives it; (None, "") for a word that diverged.

        Raises KeyError for an unknown dataset, source or radius, ValueError for an unknown concept or anchor.
        """
        sheet, lists = self._rows[dataset, source, delta]
        row = 0 if source == "anchor" else list(lists["concepts"]).index(concept)
        column = 0 if source == "name" else list(lists["anchors"]).index(anchor)
        name = lists["named"][row * (sheet.width // SIDE) + column]
        if not name:
            return None, ""
        picture = sheet.crop((column * SIDE, row * SIDE, (column + 1) * SIDE, (row + 1) * SIDE))
        return picture, self.lab.split(dataset).names[name]


def sheets_of(lab: Lab) -> Sheets:
    """The stored sheets of a profile; empty where `vwlib experiments sheets` has not made them yet."""
    try:
        return Sheets(lab, tables_of(lab.profile, ["sheets"])["sheets"])
    except FileNotFoundError:
        return Sheets(lab, pd.DataFrame())


def stored_grid(sheets: Sheets, grid: Sequence[Sequence[TrialWords]], seed: int = 0) -> Named:
    """Figures 5 and 8 to 11: what `draw_grid` gives, from the sheets.

    The pictures of the sheets start from the noise of seed 0. Those of another seed are drawn, and so are all where
    there are no sheets.
    """
    if seed or sheets.table.empty:
        return draw_grid(sheets.lab, grid, seed)
    trials = [[words.trial for words in row] for row in grid]
    return _parted(
        [[sheets.picture("generation", t.dataset, t.concept, t.anchor, t.delta) for t in row] for row in trials]
    )


def stored_trials(sheets: Sheets, chosen: Sequence[TrialWords]) -> Named:
    """Figure 4: what `draw_trials` gives with targets, from the sheets; drawn where there are none."""
    if sheets.table.empty:
        return draw_trials(sheets.lab, chosen, targets=True)
    rows = []
    for trial in (words.trial for words in chosen):
        texts = {"anchor": None, **dict.fromkeys(TASKS, trial.delta), "name": None}
        place = (trial.dataset, trial.concept, trial.anchor)
        (example,) = first_of(sheets.lab.split(trial.dataset).train, [trial.concept])
        rows.append([(example.image(), ""), *(sheets.picture(text, *place, delta) for text, delta in texts.items())])
    return _parted(rows)


def _parted(rows: Sequence[Sequence[tuple[Image.Image | None, str]]]) -> Named:
    return [[picture for picture, _ in row] for row in rows], [[name for _, name in row] for row in rows]
