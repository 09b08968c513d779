"""Tables as a page shows them, and what a page hands to its scripts."""

import json
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pandas as pd

from vwlib.ledger.estimate import Estimate

PROSE = 24  # letters: a column with a longer entry is read, not glanced at
#: Places on images and on maps are whole numbers up to it, which take less room than shares.
SCALE = 1000


@dataclass(frozen=True)
class Table:
    """A table as a page shows it: without row numbers, rounded, headings on the left."""

    frame: pd.DataFrame
    digits: int
    header: bool = True

    def _repr_html_(self) -> str:
        # On a phone a table scrolls; a column of sentences must not be squeezed to a word a line before it does.
        widths = {
            name: "9rem"
            for name, column in self.frame.items()
            if column.map(lambda entry: isinstance(entry, str) and len(entry) > PROSE).any()
        }
        return self.frame.to_html(**self._how, border=0, justify="left", col_space=widths)

    def __repr__(self) -> str:
        return self.frame.to_string(**self._how)

    @property
    def _how(self) -> dict[str, Any]:
        digits = f"{{:.{self.digits}f}}".format
        return {"index": False, "header": self.header, "na_rep": "–", "float_format": digits}


def as_table(frame: pd.DataFrame | pd.Series, digits: int = 2, upright: bool = False) -> Table:
    """A data frame as a page shows it, its index as first columns; `upright` turns columns into rows, without heads."""
    if upright:
        return Table(frame.T.reset_index(), digits, header=False)
    return Table(pd.DataFrame(frame) if isinstance(frame.index, pd.RangeIndex) else frame.reset_index(), digits)


def span(low: float, high: float) -> str:
    """An interval for reading."""
    return f"{low:.2f}\u00a0to\u00a0{high:.2f}"  # kept on one line


def with_interval(value: float, low: float, high: float, form: str = ".2f") -> str:
    """A value with its interval, kept on one line; an unknown limit is a dash."""
    first, last = (format(end, form) if isfinite(end) else "–" for end in (low, high))
    return f"{value:{form}}\u00a0({first}\u00a0to\u00a0{last})"


def estimated(estimate: Estimate, form: str = ".2f") -> str:
    """An estimate with its 95 % interval."""
    return with_interval(estimate.value, *estimate.interval(), form)


def embed(data: Any, name: str) -> str:
    """Plain data as an element of class `name` that a script reads; nothing in it can end the element."""
    content = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" class="{name}">{content}</script>'
