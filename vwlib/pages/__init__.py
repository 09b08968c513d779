"""What the pages show of models, words and studies: tables, and pictures for `vwlib.figures`.

Each name is imported when it is first asked for: most pages need few of these modules, and some bring along libraries that take seconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_NAMES = {
    "appendix": (
        "concept_table",
        "experiments_table",
        "instance_table",
        "pretraining_table",
        "scene_table",
        "settings_table",
        "study_table",
        "style_table",
    ),
    "examples": (
        "box_table",
        "choice_table",
        "commands",
        "describe_holdings",
        "file_kinds",
        "full_size_table",
        "holdings",
        "holdings_table",
        "manifest_table",
        "odd_copies",
        "paper_costs",
        "several",
        "weights_table",
    ),
    "experiments": (
        "tables_of",
        "tables_or_stand_in",
    ),
    "explorer": (
        "Explorer",
        "explorer_files",
        "explorer_sources",
        "make_explorer",
    ),
    "layers": (
        "LayerMap",
        "REAL",
        "draw_strip",
        "layer_points",
        "of_dataset",
        "of_kinds",
        "strip_words",
        "ways",
        "ways_by_part",
        "words_in",
    ),
    "ledger": (
        "Ledger",
        "counts_by_rules",
        "disagreements",
        "figure_places",
        "finding",
        "judge_stored",
        "moved_sentence",
        "revisions",
        "verdict_table",
    ),
    "maps": (
        "compare_kinds",
        "gain_sentence",
        "gain_table",
        "kind_sentence",
        "kind_table",
    ),
    "models": (
        "describe_models",
        "describe_run",
        "model_table",
        "provenance",
        "quality_table",
    ),
    "origins": (
        "chapters_table",
        "digests_table",
        "machine_table",
        "study_log_table",
        "versions_table",
    ),
    "own": (
        "likeness",
        "own_commands",
    ),
    "pictures": (
        "detect_grid",
        "detect_trials",
        "draw_grid",
        "draw_trials",
        "encode_trial",
        "first_of",
        "found_boxes",
        "hits",
        "name_scores",
        "named",
        "named_rightly",
        "one_per_concept",
        "word_scores",
    ),
    "solutions": (
        "agreement_of_boxes",
        "compound_sentence",
        "frequency_sentence",
        "instance_sentence",
        "likeness_sentence",
        "offset_sentence",
        "random_sentence",
        "reach_table",
        "segment_sentence",
        "spread_sentence",
        "sweep_sentence",
    ),
    "stored_pictures": (
        "Sheets",
        "sheets_of",
        "stored_grid",
        "stored_trials",
    ),
    "study": (
        "delta_findings",
        "delta_table",
        "describe_study",
        "moves_of",
        "paper_points",
        "paper_summary",
        "study_or_stand_in",
        "whereabouts",
        "whereabouts_findings",
    ),
    "tables": (
        "Table",
        "as_table",
    ),
    "transfer": (
        "answer_sentence",
        "compare_datasets",
        "comparison_table",
        "grid_table",
        "off_diagonal_table",
        "over_datasets",
        "paper_kept",
        "paper_over_datasets",
        "premise_sentence",
        "transfer_findings",
    ),
    "turning": (
        "agreement_sentence",
        "compare_layers",
        "disagreement_sentence",
        "never_sentence",
        "part_table",
        "truncation_table",
        "turn_sentence",
        "turn_table",
    ),
    "words": (
        "encode_stages",
        "landing_table",
        "loss_table",
        "nearest_table",
        "paper_mean",
        "setting_of",
        "stage_scores",
    ),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"vwlib.pages.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_MODULES)
