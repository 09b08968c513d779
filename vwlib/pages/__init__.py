"""What the pages show of models, words and studies: tables, and pictures for `vwlib.figures`."""

from vwlib.pages.examples import (
    box_table,
    choice_table,
    commands,
    describe_holdings,
    file_kinds,
    full_size_table,
    holdings,
    holdings_table,
    manifest_table,
    odd_copies,
    paper_costs,
    several,
    weights_table,
)
from vwlib.pages.models import describe_models, describe_run, model_table, provenance, quality_table
from vwlib.pages.pictures import draw_trials, first_of, found_boxes, name_scores, named, one_per_concept, word_scores
from vwlib.pages.tables import Table, as_table
from vwlib.pages.transfer import comparison_table, grid_table, transfer_findings
from vwlib.pages.words import encode_stages, landing_table, loss_table, nearest_table, paper_mean, setting_of, stage_scores

__all__ = [
    "Table",
    "as_table",
    "box_table",
    "choice_table",
    "commands",
    "comparison_table",
    "describe_holdings",
    "describe_models",
    "describe_run",
    "draw_trials",
    "encode_stages",
    "file_kinds",
    "first_of",
    "found_boxes",
    "full_size_table",
    "grid_table",
    "holdings",
    "holdings_table",
    "landing_table",
    "loss_table",
    "manifest_table",
    "model_table",
    "name_scores",
    "named",
    "nearest_table",
    "odd_copies",
    "one_per_concept",
    "paper_costs",
    "paper_mean",
    "provenance",
    "quality_table",
    "setting_of",
    "several",
    "stage_scores",
    "transfer_findings",
    "weights_table",
    "word_scores",
]
