"""The verdicts on the paper's claims."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vwlib.book.figures.style import INK, WIDTH
from vwlib.ledger.verdicts import VERDICTS

#: Dark and light enough to be told apart in grey, and none of them a task's colour.
VERDICT_COLOURS = dict(zip(VERDICTS, ("#1b7837", "#b2182b", "#d9d9d9", "#f7f7f7"), strict=True))


def verdict_bars(counts: pd.DataFrame) -> Figure:
    """How many claims have each verdict: a bar for each row of `counts` (what decides them), a piece for each column
    (verdict), with its number.
    """
    figure = Figure(figsize=(WIDTH, 0.42 * len(counts) + 1.1), layout="constrained")
    ax = figure.subplots()
    left = pd.Series(0, counts.index)
    for verdict in counts:
        ax.barh(
            range(len(counts)),
            counts[verdict],
            left=left,
            height=0.62,
            color=VERDICT_COLOURS[str(verdict)],
            ec=INK,
            lw=0.6,
            label=verdict,
        )
        for place, (number, start) in enumerate(zip(counts[verdict], left, strict=True)):
            if number:
                colour = "white" if verdict in VERDICTS[:2] else INK
                ax.text(start + number / 2, place, str(number), ha="center", va="center", fontsize=9, color=colour)
        left = left + counts[verdict]
    ax.set_yticks(range(len(counts)), list(counts.index))
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.set_xlim(0, 1.02 * max(1, counts.sum(axis=1).max()))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("claims")
    figure.legend(loc="outside upper center", ncols=len(counts.columns), columnspacing=1.2, handlelength=1.2)
    return figure
