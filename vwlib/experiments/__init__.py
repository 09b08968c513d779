"""Experiments beside the study's own scores: the tables on which the ledger judges the paper's other claims.

The expensive stage of a page: `vwlib experiments [NAMES...] --profile P` computes each table once and stores it; a page
only reads it.

>>> from vwlib.experiments import read_table, read_tables
>>> moves = read_table("displacements", "miniature")  # FileNotFoundError says which command makes it
>>> judged = judge_claims(read_tables("miniature"), SCHEMAS, "miniature")  # all that are there, "trials" included

`EXPERIMENTS` lists them by the name of their table; `vwlib experiments --status` says what is stored. A table holds the
columns that
`vwlib.experiments.schemas.SCHEMAS` asks for, and further ones that its function's docstring names. A new one is a function of
profile, case and sources
that returns rows, under `uses` with the fields of `ExperimentSettings` that it reads, and a line in `EXPERIMENTS`.
"""

from __future__ import annotations

from vwlib.experiments import drawn, encoder, frequency, geometry, kinds, learning, records, sheets, solutions
from vwlib.experiments.base import TRIALS, Experiment, Sources, each, uses, whole
from vwlib.experiments.running import choose, run, status
from vwlib.experiments.tables import Tables, read_table, read_tables

__all__ = [
    "EXPERIMENTS",
    "Experiment",
    "Sources",
    "Tables",
    "choose",
    "read_table",
    "read_tables",
    "run",
    "status",
    "uses",
]

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
    Experiment(
        "map_kinds",
        "Words carried by other kinds of map than the paper's (E1).",
        kinds.map_kinds,
        each("source", "task"),
        _BANK,
        kinds.kinds_known,
    ),
    Experiment("vocabulary", "Words that two models share (section 3).", records.vocabulary, whole),
    Experiment(
        "offsets",
        "Cosine of what two models, or two trainings of one, learned for a concept (section 1, control K2).",
        geometry.offsets,
        geometry.offset_cases,
        _BANK,
        geometry.twin_weights,
    ),
    Experiment(
        "clusters",
        "Whether activations group by anchor or by concept, layer by layer (figures 7 and 12 to 18).",
        encoder.clusters,
        each("task", "dataset"),
        _BANK,
    ),
    Experiment(
        "truncation",
        "Scores of anchor and concept with truncated text encoders, and of a swap of real words (figure 7, B2).",
        encoder.truncation,
        each("task", "dataset"),
        _BANK,
    ),
    Experiment(
        "crossings",
        "The layer at which a word turns from its anchor to its concept (section 5.2).",
        encoder.crossings,
        each("task", "dataset"),
        ("truncation",),
    ),
    Experiment(
        "probes",
        "What a linear probe of each layer takes a word for, its concept or its anchor, and a swap of real words (section 5.2, B8).",
        encoder.probes,
        each("task", "dataset"),
        _BANK,
    ),
    Experiment(
        "disagreement",
        "Disagreement of first and last layer about a word, beside its transfer (section 5.2, appendix A).",
        encoder.disagreement,
        each("task", "dataset"),
        _BANK,
    ),
    Experiment(
        "perturbations",
        "Learned words beside random offsets of the same length (B4, control K5).",
        solutions.perturbations,
        each("task", "dataset"),
        _BANK,
    ),
    Experiment(
        "reach",
        "How near a word within its ball comes to a random direction of the encoder's output (B4).",
        solutions.reach,
        lambda profile: [case for case in each("task", "dataset")(profile) if case["task"] != "generation"],
    ),
    Experiment(
        "segments",
        "Scores between two solutions of a concept, on the straight way and on a curve (section 5.1).",
        solutions.segments,
        each("task", "dataset"),
        _BANK,
    ),
    Experiment(
        "likeness",
        "Likeness of pictures that two anchors' words draw from the same noise (figures 5, 10 and 11).",
        solutions.likeness,
        each("dataset"),
        _BANK,
    ),
    Experiment(
        "agreement",
        "Whether two anchors' words find the same boxes (figures 5, 8 and 9).",
        solutions.agreement,
        each("dataset"),
        _BANK,
    ),
    Experiment(
        "rates",
        "Scores after fewer steps and at other learning rates (section 4, appendix E).",
        learning.rates,
        learning.rate_cases,
    ),
    Experiment(
        "sweep", "Scores after fewer steps, at the tasks' own rates (section 4).", learning.sweep, whole, ("rates",)
    ),
    Experiment(
        "spreads",
        "Spread of scores over resampled images and over starts (section 5.1, E3).",
        learning.spreads,
        each("dataset"),
    ),
    Experiment(
        "compounds",
        "What the words of an orange cat's parts leave unexplained of its own (section 1, B3).",
        drawn.compounds,
        drawn.in_the_miniature,
    ),
    Experiment(
        "instances",
        "Instances of a category told apart in pictures of their words (section 4.4, E8).",
        drawn.instances,
        lambda profile: [{}] if profile.world == "miniature" else [],
    ),
    Experiment(
        "frequency",
        "Transfer beside how common a concept is in training (B10).",
        frequency.frequency,
        frequency.cases,
        _BANK,
    ),
    Experiment(
        "sheets",
        "What every word of the study draws and finds, for the explorer (figures 5 and 8 to 11).",
        sheets.sheets,
        sheets.cases,
        _BANK,
    ),
    Experiment("timing", "Days that the study took (appendix D).", records.timing, whole, _BANK),
)
EXPERIMENTS = {experiment.name: experiment for experiment in _ALL}
