"""The verdicts on the paper's claims."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vwlib.book.figures.style import INK, row_panel
from vwlib.ledger.verdicts import VERDICTS, verdict_words

#: Dark and light enough to be told apart in grey, and none of them a task's colour.
VERDICT_COLOURS = dict(zip(VERDICTS, ("#1b7837", "#b2182b", "#d9d9d9", "#f7f7f7"), strict=True))


def verdict_bars(counts: pd.DataFrame, profile: str = "miniature") -> Figure:
    """How many claims have each verdict: a bar for each row of `counts`, a piece with its number for each column."""
    figure, ax = row_panel(list(counts.index), "claims", 0.42, 1.1)
    left, heights = pd.Series(0, counts.index), [-place for place in range(len(counts))]
    for verdict, numbers in counts.items():
        said, face = verdict_words(str(verdict), profile), VERDICT_COLOURS[str(verdict)]
        bars = ax.barh(heights, numbers, left=left, height=0.62, color=face, ec=INK, lw=0.6, label=said)
        colour = "white" if verdict in VERDICTS[:2] else INK
        ax.bar_label(bars, [str(number or "") for number in numbers], label_type="center", fontsize=9, color=colour)
        left = left + numbers
    ax.grid(visible=False)
    ax.set_xlim(0, 1.02 * max(1, counts.sum(axis=1).max()))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper center", ncols=len(counts.columns), columnspacing=1.2, handlelength=1.2)
    return figure
