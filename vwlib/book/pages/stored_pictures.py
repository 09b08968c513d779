"""What the words of the study draw, cut out of the sheets that are stored with it: no page draws anew what the study
has drawn.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
from PIL import Image

from vwlib.book.pages.experiments import tables_of
from vwlib.book.pages.pictures import draw_grid, draw_trials, first_of
from vwlib.experiments.sheets import SIDE
from vwlib.models import TASKS
from vwlib.study.compat import load_material
from vwlib.study.read import StoredStudy, TrialWords

Pictures = list[list[Image.Image | None]]


@dataclass(frozen=True, eq=False)
class Sheets:
    """The pictures in the table `sheets` (`vwlib.experiments.sheets`), by dataset, source, radius, concept and anchor.

    A source is a task, or "anchor" and "name", whose pictures do not depend on the concept and on the anchor.
    """

    study: StoredStudy
    table: pd.DataFrame

    @cached_property
    def _rows(self) -> dict[tuple[str, str, float | None], tuple[Image.Image, dict[str, list[str]]]]:
        """Each sheet, decoded once, and its lists."""
        rows = {}
        for row in self.table.to_dict("records"):
            key = (row["dataset"], row["trained_on"], None if pd.isna(row["delta"]) else row["delta"])
            lists = {name: list(row[name]) for name in ("concepts", "anchors", "named")}
            rows[key] = (Image.open(io.BytesIO(row["sheet"])).convert("RGB"), lists)
        return rows

    def picture(
        self, source: str, dataset: str, concept: str, anchor: str, delta: float | None = None
    ) -> tuple[Image.Image | None, str]:
        """The picture of one word and what the judge calls it, by its name in prompts; none, and nothing, where the
        word diverged.

        Raises KeyError where the sheets lack the dataset, source or radius, ValueError where they lack concept or
        anchor.
        """
        sheet, lists = self._rows[dataset, source, delta]
        row = 0 if source == "anchor" else lists["concepts"].index(concept)
        column = 0 if source == "name" else lists["anchors"].index(anchor)
        name = lists["named"][row * (sheet.width // SIDE) + column]
        if not name:
            return None, ""
        picture = sheet.crop((column * SIDE, row * SIDE, (column + 1) * SIDE, (row + 1) * SIDE))
        return picture, load_material(self.study.profile, dataset).names[name]


def sheets_of(study: StoredStudy) -> Sheets:
    """The sheets of a study; without pictures where `vwlib experiments sheets` has not made them yet."""
    try:
        return Sheets(study, tables_of(study.profile, ["sheets"])["sheets"])
    except FileNotFoundError:
        return Sheets(study, pd.DataFrame())


def stored_grid(
    sheets: Sheets, grid: Sequence[Sequence[TrialWords]], seed: int = 0
) -> tuple[Pictures, list[list[str]]]:
    """Figures 5 and 8 to 11: a picture for each generation word of a grid, all from the same noise, and the names that
    the judge gives them.

    The sheets' pictures start from the noise of seed 0; those of another are drawn anew, as all are where there are no
    sheets. A word that diverged has neither.
    """
    if seed or sheets.table.empty:
        return draw_grid(sheets.study.profile, grid, seed)
    found = [
        [sheets.picture("generation", t.dataset, t.concept, t.anchor, t.delta) for t in (words.trial for words in row)]
        for row in grid
    ]
    return [[picture for picture, _ in row] for row in found], [[name for _, name in row] for row in found]


def stored_trials(sheets: Sheets, chosen: Sequence[TrialWords]) -> tuple[Pictures, list[list[str]]]:
    """Figure 4: for each trial a training image, then what the generator draws with the anchor word, each task's word
    and the concept's name.

    Beside them the name that the judge gives to each picture, and nothing for the training image. Where there are no
    sheets, the pictures are drawn.
    """
    if sheets.table.empty:
        return draw_trials(sheets.study.profile, chosen, targets=True)
    pictures: Pictures = []
    verdicts = []
    for trial in (words.trial for words in chosen):
        of = (trial.dataset, trial.concept, trial.anchor)
        texts = [("anchor", None), *((task, trial.delta) for task in TASKS), ("name", None)]
        found = [sheets.picture(source, *of, delta) for source, delta in texts]
        (example,) = first_of(load_material(sheets.study.profile, trial.dataset).train, [trial.concept])
        pictures.append([example.image(), *(picture for picture, _ in found)])
        verdicts.append(["", *(name for _, name in found)])
    return pictures, verdicts
