"""Figures: tables and pictures in, matplotlib figures out. One theme; every task keeps its colour, marker and place on all pages.

Each function returns a `Figure` of its own, saves nothing and shows nothing. Figures are as wide as a page of the book, so that
text has the same size in all of them.
"""

from vwlib.figures.examples import labelled_grid
from vwlib.figures.layers import agreement_curves, crossing_steps, disagreement_points, layer_map, probe_curves, truncation_curves, way_curves
from vwlib.figures.ledger import VERDICT_COLOURS, verdict_bars
from vwlib.figures.maps import map_gain_points, map_kind_points
from vwlib.figures.pictures import draw_detections, image_grid
from vwlib.figures.solutions import offset_ranges, random_curves, segment_curves, spread_points
from vwlib.figures.style import ANCHOR_MARKERS, CONCEPT_COLOURS, METRICS, PAPER_HATCH, TASK_COLOURS, TASK_MARKERS, WIDTH, theme
from vwlib.figures.transfer import concept_points, delta_curves, distance_histogram, frequency_points, map_quality_bars, transfer_bars
from vwlib.figures.words import compound_points, displacement_strip, distance_by_delta, loss_curves, score_bars, score_panels, sweep_curves

__all__ = [
    "ANCHOR_MARKERS",
    "CONCEPT_COLOURS",
    "METRICS",
    "PAPER_HATCH",
    "TASK_COLOURS",
    "TASK_MARKERS",
    "VERDICT_COLOURS",
    "WIDTH",
    "agreement_curves",
    "compound_points",
    "concept_points",
    "crossing_steps",
    "delta_curves",
    "disagreement_points",
    "displacement_strip",
    "distance_by_delta",
    "distance_histogram",
    "draw_detections",
    "frequency_points",
    "image_grid",
    "labelled_grid",
    "layer_map",
    "loss_curves",
    "map_gain_points",
    "map_kind_points",
    "map_quality_bars",
    "offset_ranges",
    "probe_curves",
    "random_curves",
    "score_bars",
    "score_panels",
    "segment_curves",
    "spread_points",
    "sweep_curves",
    "theme",
    "transfer_bars",
    "truncation_curves",
    "verdict_bars",
    "way_curves",
]
