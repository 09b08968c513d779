"""What the ledger asks of a table: its columns, which of them are shares, and what is resampled."""

from dataclasses import dataclass

#: The columns that tell a learned word's trial.
TRIAL = ("dataset", "concept", "anchor", "delta")
#: Between the two anchors that `anchor` names in a table of pairs.
PAIR_SEPARATOR = " and "
#: Columns that `vwlib.ledger.tables.prepare` adds to a table's own.
DERIVED = {"names_concept", "never", "crossing_share", "solved", "stage", "role", "diagonal"}


@dataclass(frozen=True)
class TableSchema:
    """What a row of a table is, the columns that it must have, and how the ledger treats them."""

    rows: str  #: what a row says, in words
    columns: tuple[str, ...]  #: it must have; it may have more
    shares: tuple[str, ...] = ()  #: the columns whose values lie in [0, 1]
    units: tuple[str, ...] = ("concept", "anchor")  #: what is resampled
    stratum: str | None = "dataset"  #: within which units are resampled
    pairs: bool = False  #: whether `anchor` names two
    made_by: str = "`vwlib experiments` makes it"
