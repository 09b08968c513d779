"""Words that two models share (section 3)."""

from __future__ import annotations

import itertools

import pandas as pd

from vwlib.experiments.base import Experiment, ExperimentCase, Sources, single_case
from vwlib.lab import Lab
from vwlib.ledger.schemas import TableSchema
from vwlib.transfer import shared_words


def compute(lab: Lab, _: ExperimentCase, __: Sources) -> pd.DataFrame:
    """How many `entries` two models' vocabularies share, how many of these are whole `words`, and the source's
    dimensions `d`.
    """
    models, rows = lab.models, []
    for source, target in itertools.permutations(models, 2):
        one, other = models[source], models[target]
        entries = one.vocabulary.entries.keys() & other.vocabulary.entries.keys()
        rows.append((source, target, len(entries), len(shared_words(one, other)), one.table.embedding_dim))
    return pd.DataFrame(rows, columns=["source", "target", "entries", "words", "d"])


VOCABULARY = Experiment(
    "vocabulary",
    "Words that two models share (section 3).",
    compute,
    single_case,
    # Only the paper's models decide the paper's claim.
    schema=TableSchema(
        "words that two models share", ("source", "target", "entries", "words", "d"), units=(), stratum=None
    ),
)
