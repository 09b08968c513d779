"""The schemas of the tables that experiments make, for the ledger."""

from __future__ import annotations

from vwlib.ledger.schemas import TableSchema

_WORD = ("dataset", "concept", "anchor", "delta")

#: Tables by name. The study makes "trials", `vwlib.experiments` those that follow, with further columns; the last three
#: are made here, from the others or from the paper's figures. `kind` tells learned words ("learned"), mapped ones
#: ("transferred") and plain swaps of two real words ("swap") apart, or what a table's comment says.
SCHEMAS = {
    # As `vwlib.lab.displacements`, with the dataset: one row a vector of a learned word.
    "displacements": TableSchema(
        "learned words' distance from their anchor",
        (*_WORD, "task", "distance", "nearest", "is_anchor"),
        ("is_anchor", "names_concept"),
    ),
    # The same for mapped words, in the target model.
    "mapped_displacements": TableSchema(
        "mapped words' nearest words in the target model",
        (*_WORD, "trained_on", "evaluated_on", "is_anchor"),
        ("is_anchor",),
    ),
    # `vwlib.transfer.quality_of_all`: one row a word.
    "maps": TableSchema(
        "held-out words through the transfer maps", ("word", "source", "target", "top1"), ("top1",), ("word",), None
    ),
    # `vwlib.layers.cluster_agreement` of each dataset, task and delta, with these columns added: one row a layer and
    # grouping.
    "clusters": TableSchema(
        "agreement of activations with anchors and concepts",
        ("dataset", "task", "kind", "delta", "layer", "by", "ari", "low", "high"),
        (),
        (),
    ),
    # `vwlib.layers.truncation_scores`: one row a word, number of blocks and `of` ("concept" or "anchor").
    "truncation": TableSchema(
        "scores of truncated text encoders", (*_WORD, "task", "kind", "blocks", "of", "value"), ("value",)
    ),
    # `vwlib.layers.crossing_layers`: one row a word; `crossing` is null where a word never turns to its concept.
    "crossings": TableSchema(
        "layers at which words turn from anchor to concept", (*_WORD, "task", "kind", "crossing", "depth"), ("never",)
    ),
    # One row a word: how far early and late layers disagree about it, and its score after the transfer.
    "disagreement": TableSchema(
        "early and late layers' disagreement beside transfer", (*_WORD, "task", "disagreement", "value")
    ),
    # B4 and E2: `kind` is "random" or "optimised"; `kept` says whether the output is still the anchor's.
    "perturbations": TableSchema(
        "random and optimised offsets of equal length", (*_WORD, "task", "kind", "kept"), ("kept",)
    ),
    # `kind` is "models" (two models) or "seeds" (two trainings of one, control K2); `cosine` of one's mapped offset and
    # the other's.
    "offsets": TableSchema(
        "cosines of one concept's offsets in two models",
        ("dataset", "concept", "anchor", "kind", "cosine"),
        made_by="`vwlib experiments` makes it; the classifier's second training is `vwlib pretrain classifier_twin`",
    ),
    # E3: `kind` is "data" or "start"; `spread` is the standard deviation of the score over resampled images, or over
    # starts.
    "spreads": TableSchema(
        "spread of scores over data and over starts", ("dataset", "concept", "anchor", "kind", "spread")
    ),
    # B3: `kind` is "learned" or "held-out" (the parts' own words, from the best two others); `residual` is the share of
    # a compound's word that its parts' words leave unexplained.
    "compounds": TableSchema(
        "what compounds leave unexplained", ("task", "concept", "kind", "residual"), ("residual",), ("concept",), "task"
    ),
    # `found` says whether a generated picture is nearest to its own instance among five of a category.
    "instances": TableSchema("instances told apart in generations", (*_WORD, "found"), ("found",)),
    # B10: `frequency` is the logarithm to base 10 of the share of training captions that name the concept, `gain` the
    # transferred score over the floor.
    "frequency": TableSchema(
        "transfer beside training frequency", ("dataset", "concept", "anchor", "frequency", "gain")
    ),
    # `kind` is "ends" or "middle" (of the line, or of the curve where that is higher) between two solutions of a
    # concept; `anchor` names the pair.
    "segments": TableSchema(
        "scores between two solutions of a concept",
        ("dataset", "concept", "anchor", "task", "kind", "value"),
        ("value",),
        pairs=True,
    ),
    # `kind` is "same noise" or "other noise" of pictures from two anchors' words; `anchor` names the pair.
    "likeness": TableSchema(
        "similarity of generations from two anchors", ("dataset", "concept", "anchor", "kind", "cosine"), pairs=True
    ),
    # `agrees`: how often the best boxes of two anchors' words ("learned"), or of the two anchors ("anchors"), overlap
    # by half or more; `anchor` names the pair.
    "agreement": TableSchema(
        "overlap of detections from two anchors",
        ("dataset", "concept", "anchor", "kind", "agrees"),
        ("agrees",),
        pairs=True,
    ),
    # One row a word and number of optimisation steps, at the tasks' own rates.
    "sweep": TableSchema(
        "scores after fewer steps", ("dataset", "concept", "anchor", "task", "steps", "value"), ("value",)
    ),
    # Of the profile's models, so that only the profile 'paper' decides the claim: `entries` and whole `words` of two,
    # `d` dimensions of the source.
    "vocabulary": TableSchema(
        "words that two models share", ("source", "target", "entries", "words", "d"), (), (), None
    ),
    "timing": TableSchema("days that the study took", ("days",), (), (), None),
}
