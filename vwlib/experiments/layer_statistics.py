"""Section 5.2 as numbers: what hidden states group by, are read as, and at which layer a word flips to its concept.

Tables `words` have one row for each word, in the words' order, and columns `concept` and `anchor` (`label_words`); what
the functions return keeps their columns.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from vwlib.concepts import concepts_of
from vwlib.layers import hidden_states, record_hidden_states, truncated
from vwlib.models.base import CachedFeatures, TaskModel
from vwlib.trials import Trial

#: Fifty prompts for a probe to learn words in, of words that every model here knows.
PROBE_PROMPTS = tuple(
    prompt.format(noun)
    for prompt in (
        *("{}", "a photo of {}", "a picture of {}", "an image of {}", "a drawing of {}"),
        *("a view of {}", "there is {}", "this is {}", "we see {}", "look at {}"),
    )
    for noun in ("a {}", "the {}", "a small {}", "a large {}", "a red {}")
)


def label_words(trials: Sequence[Trial], world: str) -> pd.DataFrame:
    """The table `words` of trials: their own columns, and `anchor_concept`, the concept that the anchor names."""
    owner = {
        (dataset, c.anchor): c.name for dataset in {t.dataset for t in trials} for c in concepts_of(dataset, world)
    }
    return pd.DataFrame([{**asdict(t), "anchor_concept": owner[t.dataset, t.anchor]} for t in trials])


def evenly_spaced(blocks: int, count: int = 4) -> list[int]:
    """Section 5.2: `count` evenly spaced layers, as the paper chose 1, 8, 16, 24 of 24 and 1, 4, 8, 12 of 12."""
    return sorted({max(1, round(blocks * step / (count - 1))) for step in range(count)})


def projection_on_concept_direction(
    states: Tensor, anchors: Tensor, concepts: Tensor, words: pd.DataFrame
) -> pd.DataFrame:
    """The projection of a word's change on the direction from anchor to concept, layer by layer.

    All states are (layer, word, d): of the words, and of their anchor's and their concept's own word, whose difference
    after the last block is the direction. One row a word and layer: `word` (its row), `layer`, `value`, 0 at the
    anchor's state and 1 for the concept's word at the last layer. Raises ValueError for a word whose anchor is its
    concept's own.
    """
    check_labels(states.shape[1], words)
    direction = concepts[-1] - anchors[-1]
    equal = torch.isclose(concepts[-1], anchors[-1], atol=1e-4).all(-1)  # but for the rounding of another batch
    if equal.any():
        row = words.iloc[int(equal.nonzero()[0])]
        raise ValueError(f"'{row['anchor']}' is the own word of '{row['concept']}', so no direction is between them.")
    values = ((states - anchors) * direction).sum(-1) / direction.pow(2).sum(-1)  # (layer, word)
    tables = [words.assign(word=range(len(words)), layer=layer, value=v.numpy()) for layer, v in enumerate(values)]
    return pd.concat(tables, ignore_index=True)


def contributions_to_direction(
    parts: Tensor, anchors: Tensor, start: Tensor, end: Tensor, words: pd.DataFrame
) -> pd.DataFrame:
    """How much the attention and the MLPs of all blocks add to `projection_on_concept_direction` at the last layer.

    `parts` and `anchors` are `block_contributions` (block, part, word, d), `start` and `end` (word, d) the last hidden
    states of the anchors' and the concepts' own words. One row a word and `part`: `word` (its row), `value`.
    """
    direction = end - start
    shares = ((parts - anchors).sum(0) * direction).sum(-1) / direction.pow(2).sum(-1)  # (part, word)
    named, rows = zip(("attention", "MLP"), shares, strict=True), range(len(words))
    return pd.concat([words.assign(word=rows, part=part, value=s.numpy()) for part, s in named], ignore_index=True)


def check_labels(count: int, words: pd.DataFrame) -> None:
    """Raise ValueError unless the table has a row for each of `count` words."""
    if count != len(words):
        raise ValueError(f"The table names {len(words)} words and there are hidden states or vectors of {count}.")


def tsne_of_layers(
    states: Tensor, words: pd.DataFrame, layers: Sequence[int] = (), random_state: int = 0
) -> pd.DataFrame:
    """Figures 7 and 12 to 18: t-SNE of hidden states (layer, word, d), by default at four evenly spaced layers.

    The perplexity is 30, or a third of few words. One row for each layer and word: `layer`, `x`, `y`. Raises ValueError
    for fewer than four words, and for a layer at which all words are the same.
    """
    from sklearn.manifold import TSNE  # takes seconds to import

    check_labels(states.shape[1], words)
    if len(words) < 4:
        raise ValueError(f"t-SNE needs at least four words; there are {len(words)}.")
    tables = []
    for layer in layers or evenly_spaced(len(states) - 1):
        points = states[layer].numpy()
        if not np.ptp(points, axis=0).any():
            raise ValueError(f"All words have the same hidden state at layer {layer}, so there is nothing to lay out.")
        spread = min(30.0, (len(words) - 1) / 3)
        place = TSNE(2, perplexity=spread, random_state=random_state).fit_transform(points)
        tables.append(words.assign(layer=layer, x=place[:, 0], y=place[:, 1]))
    return pd.concat(tables, ignore_index=True)


def cluster_agreement(
    states: Tensor, words: pd.DataFrame, draws: int = 1000, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Section 5.2: how far k-means clusters of hidden states (layer, word, d) are the anchors, or the concepts.

    One row for each layer and `by` ("anchor", "concept", "concept - anchor"): `ari`, the adjusted Rand index with as
    many clusters as groups, `low`, `high`, `n`. The interval is of a bootstrap that resamples concepts and anchors and
    keeps the clusters, corrected for its bias: resamples hold fewer different groups. Raises ValueError for fewer than
    two concepts or anchors.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    check_labels(states.shape[1], words)
    groups = {by: pd.factorize(words[by])[0] for by in ("anchor", "concept")}
    for by, labels in groups.items():
        if labels.max() < 1:
            raise ValueError(f"Clusters can only be compared with two {by}s or more.")
    weights = bootstrap_weights(groups["concept"], groups["anchor"], draws, np.random.default_rng(seed))
    rows = []
    for layer, points in enumerate(states.numpy()):
        found: dict[str, tuple[float, np.ndarray]] = {}
        distinct = len(np.unique(points, axis=0))
        for by, labels in groups.items():
            k_means = KMeans(min(labels.max() + 1, distinct), n_init=10, random_state=seed)
            clusters = k_means.fit_predict(points)
            found[by] = adjusted_rand_score(labels, clusters), weighted_rand(labels, clusters, weights)
        found["concept - anchor"] = found["concept"][0] - found["anchor"][0], found["concept"][1] - found["anchor"][1]
        for by, (ari, resampled) in found.items():
            drawn, low, high = resampled[~np.isnan(resampled)], np.nan, np.nan
            if len(drawn):
                low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2]) + (ari - drawn.mean())
            rows.append((layer, by, float(ari), float(low), float(min(high, 1) if by in groups else high), len(words)))
    return pd.DataFrame(rows, columns=["layer", "by", "ari", "low", "high", "n"])


def bootstrap_weights(concept: np.ndarray, anchor: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """How often each word occurs in each resample of concepts and of anchors: (draw, word), from numbers (word,).

    Resamples that hold a single concept or a single anchor are left out, so there may be fewer than `draws`.
    """
    counts = concept.max() + 1, anchor.max() + 1
    drawn = [rng.multinomial(count, np.full(count, 1 / count), size=draws) for count in counts]
    several = np.logical_and(*((part > 0).sum(1) > 1 for part in drawn))
    return (drawn[0][:, concept] * drawn[1][:, anchor])[several].astype(float)


def weighted_rand(labels: np.ndarray, clusters: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The adjusted Rand index (draw,) of labels and clusters (word,), each word counted by `weights` (draw, word).

    Pairs of a word with its own copy are left out: they always agree. NaN where no two words that count share a label
    or a cluster, and where all share both.
    """
    own = (weights**2).sum(1)

    def pairs(groups: np.ndarray) -> np.ndarray:
        return ((weights @ np.eye(groups.max() + 1)[groups]) ** 2).sum(1) - own

    cells = np.unique(np.stack([labels, clusters]), axis=1, return_inverse=True)[1]
    both, by_label, by_cluster, total = pairs(cells), pairs(labels), pairs(clusters), weights.sum(1) ** 2 - own
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = by_label * by_cluster / total
        return (both - chance) / ((by_label + by_cluster) / 2 - chance)


def truncation_scores(
    model: TaskModel,
    vectors: Tensor,
    words: pd.DataFrame,
    names: dict[str, str],
    features: CachedFeatures,
    blocks: Sequence[int] | None = None,
    seed: int = 0,
    at_once: int = 100,
) -> pd.DataFrame:
    """Figure 7: a word's score (table 1) as its concept and as its anchor, when the text encoder has N blocks.

    The same shortened encoder reads `names`. `vectors` (word, vector, d) and test `features` are of one dataset;
    `blocks` are the N, by default all. One row for each N, word and `of` ("concept" or "anchor"): `task`, `word` (its
    row), `blocks`, `metric`, `value`, `n`.
    """
    check_labels(len(vectors), words)
    tables = []
    for count in range(len(model.blocks) + 1) if blocks is None else blocks:
        with truncated(model, count):
            for part in torch.arange(len(vectors)).split(at_once):
                chosen = words.iloc[part.tolist()]
                asked = [*chosen["concept"], *chosen["anchor_concept"]]
                # Asked at once, so that the generator draws the pictures of a word once.
                scores = model.evaluate(vectors[part].repeat(2, 1, 1), asked, names, features, seed)
                for of, found in (("concept", scores[: len(part)]), ("anchor", scores[len(part) :])):
                    said = {name: [getattr(score, name) for score in found] for name in ("metric", "value", "n")}
                    tables.append(chosen.assign(task=model.task, word=part.numpy(), blocks=count, of=of, **said))
    return pd.concat(tables, ignore_index=True)


def flip_layers(scores: pd.DataFrame) -> pd.DataFrame:
    """The layer at which each word flips from its anchor to its concept, from the table of `truncation_scores`.

    `crossing` is the first N > 0 from which on the concept's score exceeds the anchor's; NaN where there is none. Words
    that start at their concept's own anchor are left out.
    """

    def crossing(word: pd.DataFrame) -> float:
        table = word.pivot(index="blocks", columns="of", values="value").sort_index()
        return first_sustained_layer(table["concept"] > table["anchor"])

    able = scores[(scores["concept"] != scores["anchor_concept"]) & (scores["blocks"] > 0)]
    return _layer_of_words(able, ["blocks", "of", "metric", "value", "n"], "crossing", crossing)


def _layer_of_words(
    table: pd.DataFrame, varying: list[str], name: str, layer_of: Callable[[pd.DataFrame], float]
) -> pd.DataFrame:
    """One row a word: what tells words apart, a layer `name`, and `depth`, the last layer (first of `varying`)."""
    keys = [column for column in table if column not in varying]
    words = table.groupby(keys, sort=False, dropna=False)
    rows = [(*key, layer_of(word), word[varying[0]].max()) for key, word in words]
    return pd.DataFrame(rows, columns=[*keys, name, "depth"])


def first_sustained_layer(ahead: pd.Series) -> float:
    """The first of the ascending layers, which are the index, from which `ahead` holds to the end; else NaN."""
    from_here_on = np.logical_and.accumulate(ahead.to_numpy()[::-1])[::-1]
    return float(ahead.index[from_here_on.argmax()]) if from_here_on.any() else np.nan


def half_projection_layer(projections: pd.DataFrame) -> pd.DataFrame:
    """The first layer with half of the last layer's projection, from `projection_on_concept_direction`'s table.

    `half` is NaN for a word that ends no nearer to its concept than its anchor is.
    """

    def half(word: pd.DataFrame) -> float:
        curve = word.set_index("layer")["value"].sort_index()
        return float((curve >= curve.iloc[-1] / 2).idxmax()) if curve.iloc[-1] > 0 else np.nan

    return _layer_of_words(projections, ["layer", "value"], "half", half)


@torch.no_grad()
def probe_scores(
    model: TaskModel,
    sets: Sequence[tuple[Tensor, pd.DataFrame]],
    own: dict[str, str],
    prompts: Sequence[str] = PROBE_PROMPTS,
) -> pd.DataFrame:
    """What a linear probe of each layer takes words for, their concept or their anchor.

    At every layer from the first block on, a logistic regression learns to tell concepts apart by the hidden states of
    each concept's `own` word in all `prompts`, then reads those of each set's vectors (word, vector, d). One row for
    each word and layer: `task`, `word` (its row), `layer`, `value`, the probability of the concept against that of the
    anchor's concept alone, and `accuracy` in prompts that were left out. Raises ValueError for a word whose concept or
    anchor is none of `own`, and for fewer than five prompts.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    named = {name for _, words in sets for column in ("concept", "anchor_concept") for name in words[column]}
    if strange := sorted(named - set(own)):
        raise ValueError(f"The probe knows no own word of '{strange[0]}'; it knows those of {', '.join(own)}.")
    if len(prompts) < 5:
        raise ValueError(f"A probe is fitted and tested on five prompts or more; there are {len(prompts)}.")
    with record_hidden_states(model) as runs:
        for name in own.values():
            model.encode_prompts([prompt.format(name) for prompt in prompts])
    real = torch.cat([run.float().cpu() for run in runs], dim=1).numpy()
    labels, group = np.repeat(np.arange(len(own)), len(prompts)), np.tile(np.arange(len(prompts)), len(own))
    probes = []
    for states in real[1:]:
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        accuracy = cross_val_score(probe, states, labels, groups=group, cv=GroupKFold(5)).mean()
        probes.append((probe.fit(states, labels), accuracy))
    place = {concept: number for number, concept in enumerate(own)}
    tables = []
    for vectors, words in sets:
        concept, anchor = (words[column].map(place).to_numpy() for column in ("concept", "anchor_concept"))
        rows = np.arange(len(words))
        for layer, ((probe, accuracy), points) in enumerate(
            zip(probes, hidden_states(model, vectors).numpy()[1:], strict=True), 1
        ):
            logs = probe.predict_log_proba(points)
            value = 1 / (1 + np.exp(logs[rows, anchor] - logs[rows, concept]))
            of = {"task": model.task, "word": rows, "layer": layer}
            tables.append(words.assign(**of, value=value, accuracy=accuracy))
    return pd.concat(tables, ignore_index=True)


def probe_flip_layers(scores: pd.DataFrame) -> pd.DataFrame:
    """The first layer `probe` from which on the probe takes each word that can flip for its concept; else NaN."""

    def flip(word: pd.DataFrame) -> float:
        return first_sustained_layer(word.set_index("layer")["value"].sort_index() > 0.5)

    able = scores[scores["concept"] != scores["anchor_concept"]]
    return _layer_of_words(able, ["layer", "value", "accuracy"], "probe", flip)
