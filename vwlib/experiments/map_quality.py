"""Words held out from the transfer maps (section 3.1)."""

from __future__ import annotations

import pandas as pd

from vwlib.experiments.base import Experiment, ExperimentCase, Sources, single_case
from vwlib.lab import Lab
from vwlib.ledger.schemas import TableSchema
from vwlib.transfer import quality_of_all


def compute(lab: Lab, _: ExperimentCase, __: Sources) -> pd.DataFrame:
    """`vwlib.transfer.quality_of_all`: one row a held-out word and ordered pair of models."""
    return quality_of_all(lab.models)


EXPERIMENTS = (
    Experiment(
        name="maps",
        question="Words held out from the transfer maps (section 3.1).",
        compute=compute,
        cases=single_case,
        schema=TableSchema(
            "held-out words through the transfer maps",
            ("word", "source", "target", "top1"),
            shares=("top1",),
            units=("word",),
            stratum=None,
        ),
    ),
)
