"""What the pages show of models, words and studies: tables, and pictures for `vwlib.figures`."""

from vwlib.pages.models import describe_models, describe_run, model_table, provenance, quality_table
from vwlib.pages.pictures import draw_trials, first_of, found_boxes, name_scores, named, one_per_concept, word_scores
from vwlib.pages.tables import Table, as_table
from vwlib.pages.transfer import comparison_table, grid_table, transfer_findings
from vwlib.pages.words import encode_stages, landing_table, loss_table, nearest_table, paper_mean, setting_of, stage_scores

__all__ = [
    "Table",
    "as_table",
    "comparison_table",
    "describe_models",
    "describe_run",
    "draw_trials",
    "encode_stages",
    "first_of",
    "found_boxes",
    "grid_table",
    "landing_table",
    "loss_table",
    "model_table",
    "name_scores",
    "named",
    "nearest_table",
    "one_per_concept",
    "paper_mean",
    "provenance",
    "quality_table",
    "setting_of",
    "stage_scores",
    "transfer_findings",
    "word_scores",
]
