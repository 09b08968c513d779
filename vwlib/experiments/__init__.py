"""Experiments beside the study's own scores: the tables on which the ledger judges the paper's other claims.

The expensive stage of a page: `vwlib experiments [NAMES...] --profile P` computes each table once and stores it; a page only reads it.

>>> from vwlib.experiments import read_table, read_tables
>>> moves = read_table("displacements", "miniature")  # FileNotFoundError says which command makes it
>>> judged = judge_claims(read_tables("miniature"), "miniature")  # all that are there, "trials" included

`EXPERIMENTS` lists them by the name of their table; `vwlib experiments --status` says what is stored. A table holds the columns that
`vwlib.claims.KINDS` asks for, and further ones that its function's docstring names. A new one is a function of profile, case and sources
that returns rows, and a line in `EXPERIMENTS`.
"""

from __future__ import annotations

from vwlib.claims import read_tables
from vwlib.experiments import geometry, records
from vwlib.experiments.base import TRIALS, Experiment, Sources, each, whole
from vwlib.experiments.running import choose, run, status
from vwlib.experiments.tables import Tables, read_table

__all__ = ["EXPERIMENTS", "Experiment", "Sources", "Tables", "choose", "read_table", "read_tables", "run", "status"]

_BANK = (TRIALS,)
_ALL = (
    Experiment(
        "displacements",
        "How far learned words lie from their anchor, and which word is nearest (figure 5, section 6).",
        geometry.displacements,
        each("task", "dataset"),
        _BANK,
    ),
    Experiment(
        "mapped_displacements",
        "The same of mapped words in the target model (section 1).",
        geometry.mapped_displacements,
        each("source", "task", "dataset"),
        _BANK,
    ),
    Experiment("maps", "Words held out from the transfer maps (section 3.1).", geometry.maps, whole),
    Experiment("vocabulary", "Words that two models share (section 3).", geometry.vocabulary, whole),
    Experiment(
        "offsets",
        "Cosine of what two models, or two trainings of one, learned for a concept (section 1, control K2).",
        geometry.offsets,
        geometry.offset_cases,
        _BANK,
        geometry.twin_weights,
    ),
    Experiment("frequency", "Transfer beside how common a concept is in training (B10).", records.frequency, each("dataset"), _BANK),
    Experiment("timing", "Days that the study took (appendix D).", records.timing, whole, _BANK),
)
EXPERIMENTS = {experiment.name: experiment for experiment in _ALL}
