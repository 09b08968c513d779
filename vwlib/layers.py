"""Where in a text encoder a word acts (section 5.2): activations by layer, truncation, and numbers beside the t-SNE of
figures 7 and 12 to 18.

Layers are counted as in the paper: layer 0 is the embedding before the first block, layer N what the N-th block hands
on, so that layer N is also what a text encoder that is cut to its first N blocks ends with.

Functions that take `words` want a table with one row for each word, in the words' order, and columns `concept` and
`anchor` (`label_words` makes it of trials); what they return keeps its columns. The baseline that the paper lacks, a
plain swap of two real words, goes through the same functions: `real_words` gives the vectors of each concept's own
word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from vwlib.concepts import concepts_of
from vwlib.models.base import Frozen, TaskModel
from vwlib.trials import Trial

if TYPE_CHECKING:
    from vwlib.models.generation import Generator


def text_blocks(model: TaskModel) -> nn.ModuleList:
    """The blocks of a model's text encoder, first to last."""
    return model.text_blocks


@contextmanager
def recorded(model: TaskModel) -> Iterator[list[Tensor]]:
    """Section 5.2: record the activation of the pooling token at every layer, at each run of the text encoder within
    the block.

    Each run appends one tensor (layer, prompt, d), layer 0 first. The pooling token is the end of text, found as the
    largest id as
    transformers and open_clip find it; the generator pools nothing, and its end of text is recorded all the same.
    Gradients are kept.

    >>> with torch.no_grad(), recorded(model) as runs:
    ...     model.encode_words(vectors)
    >>> embedding, *after_each_block = runs[0]
    """
    blocks = text_blocks(model)
    with _recording(model, list(blocks), given=blocks[0]) as runs:
        yield runs


@contextmanager
def _recording(
    model: TaskModel, modules: Sequence[nn.Module], given: nn.Module | None = None
) -> Iterator[list[Tensor]]:
    """Record what modules hand on at the pooling token, (module, prompt, d) at each run of the text encoder; what
    `given` is given comes first.
    """
    runs: list[Tensor] = []
    place = torch.empty(0)
    found: list[Tensor] = []

    def start(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal place
        place = inputs[0].argmax(-1)
        found.clear()

    def keep(output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output  # attention also gives its weights
        found.append(states[torch.arange(len(place), device=place.device), place])

    def finish(*_: Any) -> None:
        runs.append(torch.stack(found))

    hooks = [model.table.register_forward_pre_hook(start)]
    if given is not None:
        hooks.append(given.register_forward_pre_hook(lambda _, inputs: keep(inputs)))
    hooks += [module.register_forward_hook(lambda _, __, output: keep(output)) for module in modules]
    hooks.append(modules[-1].register_forward_hook(finish))
    try:
        yield runs
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def part_activations(model: TaskModel, vectors: Tensor, at_once: int = 256) -> Tensor:
    """B2: what attention and MLP of each block add to the pooling token (block, part, word, d), for word vectors (word,
    vector, d) in the model's prompt.

    Attention comes first. With layer 0 of `activations`, they sum to its last layer. Raises ValueError for vectors of
    another shape.
    """
    check_vectors(model, vectors)
    modules = [getattr(block, name) for block in text_blocks(model) for name in model.block_parts]
    found = []
    for part in vectors.split(at_once):
        with _recording(model, modules) as runs:
            model.encode_words(part)
        found.append(runs[0].float().cpu())
    return torch.cat(found, dim=1).unflatten(0, (-1, len(model.block_parts)))


@torch.no_grad()
def activations(model: TaskModel, vectors: Tensor, at_once: int = 256) -> Tensor:
    """Section 5.2: the pooling token's activations (layer, word, d) for word vectors (word, vector, d) in the model's
    prompt.

    Layer 0 is the embedding before the first block, so there is one layer more than there are blocks. At most `at_once`
    words are in memory with all their tokens. Raises ValueError for vectors of another shape.
    """
    check_vectors(model, vectors)
    parts = []
    for part in vectors.split(at_once):
        with recorded(model) as runs:
            model.encode_words(part)
        parts.append(runs[0].float().cpu())
    return torch.cat(parts, dim=1)


def check_vectors(model: TaskModel, vectors: Tensor) -> None:
    """Raise ValueError unless `vectors` are at least one word's (word, vector, d), with the model's own d."""
    width = model.table.embedding_dim
    if vectors.ndim != 3 or vectors.shape[-1] != width or not len(vectors):
        raise ValueError(
            f"The {model.task} model reads words of shape (word, vector, {width}), at least one; these are {tuple(vectors.shape)}."
        )


@contextmanager
def truncated(model: TaskModel, blocks: int) -> Iterator[None]:
    """Section 5.2 (figure 7): within the block, the text encoder uses only its first `blocks` blocks; final norm and
    projection stay.

    All texts that the model reads meanwhile go through the shortened encoder, also names and the empty prompt of
    guidance; the
    judge is another model and stays whole. With all blocks nothing is touched.

    Raises ValueError for a number of blocks that the encoder does not have.

    >>> with truncated(model, 4):
    ...     scores = model.evaluate(vectors, concepts, names, frozen)
    """
    every = text_blocks(model)
    if not 0 <= blocks <= len(every):
        raise ValueError(
            f"The text encoder of the {model.task} model has {len(every)} blocks; it cannot be cut to its first {blocks}."
        )
    # Blocks stay where they are and hand their input on: open_clip asks its first block for the precision, and
    # recording still sees every layer.
    skipped = [vars(block) for block in every[blocks:]]
    before = [attributes.get("forward") for attributes in skipped]
    for attributes in skipped:
        attributes["forward"] = _hand_on
    try:
        yield
    finally:
        for attributes, forward in zip(skipped, before, strict=True):
            if forward is None:
                del attributes["forward"]
            else:
                attributes["forward"] = forward


def _hand_on(states: Tensor, *_: Any, **__: Any) -> Tensor:
    return states


def evenly_spaced(blocks: int, count: int = 4) -> list[int]:
    """Section 5.2: `count` evenly spaced layers from the first to the last, as the paper chose 1, 8, 16, 24 of 24 and
    1, 4, 8, 12 of 12.
    """
    return sorted({max(1, round(blocks * step / (count - 1))) for step in range(count)})


def label_words(trials: Sequence[Trial], world: str) -> pd.DataFrame:
    """What `words` means in this module: one row a trial with its own columns and `anchor_concept`, the concept that
    its anchor names.
    """
    owner = {
        (dataset, c.anchor): c.name for dataset in {t.dataset for t in trials} for c in concepts_of(dataset, world)
    }
    return pd.DataFrame([{**asdict(t), "anchor_concept": owner[t.dataset, t.anchor]} for t in trials])


def real_words(model: TaskModel, words: Sequence[str], copies: int = 1) -> Tensor:
    """The baseline of a plain swap: the model's own embeddings of single-token words as word vectors (word, copies, d).

    As many `copies` as a learned word has vectors keep the end of text in the same place. Raises ValueError for a word
    of several tokens.
    """
    rows = model.word_table()[[model.vocabulary.token_of(word) for word in words]]
    return rows[:, None].repeat(1, copies, 1)


def tsne_of_layers(
    layers: Tensor,
    words: pd.DataFrame,
    chosen: Sequence[int] = (),
    perplexity: float | None = None,
    random_state: int = 0,
) -> pd.DataFrame:
    """Figures 7 and 12 to 18: t-SNE of the activations (layer, word, d) at the `chosen` layers, by default four evenly
    spaced ones.

    The perplexity is 30, or a third of the words where they are few. Returns one row for each layer and word: the
    columns of `words`, `layer`, `x`, `y`. Raises ValueError for fewer than four words, and for a layer at which all
    words are the same.
    """
    _check_labels(layers, words)
    if len(words) < 4:
        raise ValueError(f"t-SNE needs at least four words; there are {len(words)}.")
    tables = []
    from sklearn.manifold import TSNE  # scikit-learn takes seconds to import, and most of this file does without

    for layer in chosen or evenly_spaced(len(layers) - 1):
        points = layers[layer].numpy()
        if not np.ptp(points, axis=0).any():
            raise ValueError(f"All words have the same activation at layer {layer}, so there is nothing to lay out.")
        spread = perplexity or min(30.0, (len(words) - 1) / 3)
        place = TSNE(2, perplexity=spread, random_state=random_state).fit_transform(points)
        tables.append(words.assign(layer=layer, x=place[:, 0], y=place[:, 1]))
    return pd.concat(tables, ignore_index=True)


def cluster_agreement(
    layers: Tensor, words: pd.DataFrame, draws: int = 1000, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Section 5.2 as numbers: how far k-means clusters of the activations (layer, word, d) are the anchors, and how far
    the concepts.

    At each layer the adjusted Rand index, 1 for the same grouping and 0 for what chance gives, with as many clusters as
    there are anchors or concepts. (Where all words of an n x n grid cluster by the one, the other's is -1 / n, not 0.)
    The interval is of a bootstrap that resamples concepts and anchors and keeps the clusters as they are, moved by its
    bias: resamples hold fewer different groups, of which chance groups more.
    Returns one row for each layer and `by` ("anchor", "concept", and their difference "concept - anchor"): `ari`,
    `low`, `high`, `n`.
    Raises ValueError for fewer than two concepts or anchors.
    """
    from sklearn.metrics import adjusted_rand_score

    _check_labels(layers, words)
    groups = {by: pd.factorize(words[by])[0] for by in ("anchor", "concept")}
    for by, labels in groups.items():
        if labels.max() < 1:
            raise ValueError(f"Clusters can only be compared with two {by}s or more.")
    weights = crossed_weights(groups["concept"], groups["anchor"], draws, np.random.default_rng(seed))
    rows = []
    for layer, points in enumerate(layers.numpy()):
        found: dict[str, tuple[float, np.ndarray]] = {}
        for by, labels in groups.items():
            clusters = k_means(points, labels.max() + 1, seed)
            found[by] = adjusted_rand_score(labels, clusters), weighted_rand(labels, clusters, weights)
        found["concept - anchor"] = found["concept"][0] - found["anchor"][0], found["concept"][1] - found["anchor"][1]
        for by, (ari, resampled) in found.items():
            resampled = resampled[~np.isnan(resampled)]  # a resample without two words of one kind says nothing
            low, high = _centred_interval(resampled, ari, confidence)
            rows.append((layer, by, float(ari), float(low), float(min(high, 1) if by in groups else high), len(words)))
    return pd.DataFrame(rows, columns=["layer", "by", "ari", "low", "high", "n"])


def _centred_interval(resampled: np.ndarray, estimate: float, confidence: float) -> tuple[float, float]:
    if not len(resampled):
        return np.nan, np.nan
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2]) + (estimate - resampled.mean())
    return low, high


def k_means(points: np.ndarray, clusters: int, seed: int = 0) -> np.ndarray:
    """The cluster (word,) of each of the points (word, d); fewer clusters where there are fewer distinct points."""
    from sklearn.cluster import KMeans

    clusters = min(clusters, len(np.unique(points, axis=0)))
    return KMeans(clusters, n_init=10, random_state=seed).fit_predict(points)


def crossed_weights(concept: np.ndarray, anchor: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """How often each word stands in each resample of concepts and of anchors: (draw, word); both are (word,) numbers
    from 0.

    Resamples that hold a single concept or a single anchor are left out, so there may be fewer than `draws`.
    """
    drawn = [
        rng.multinomial(count, np.full(count, 1 / count), size=draws) for count in (concept.max() + 1, anchor.max() + 1)
    ]
    several = np.logical_and(*((part > 0).sum(1) > 1 for part in drawn))
    return (drawn[0][:, concept] * drawn[1][:, anchor])[several].astype(float)


def weighted_rand(labels: np.ndarray, clusters: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The adjusted Rand index (draw,) of labels and clusters (word,) when each word counts as often as `weights` (draw,
    word) say.

    Pairs of a word with its own copy are left out: they always agree, and would make resamples look better than the
    data. NaN where no two of the words that count share a label or a cluster, and where all share both.
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
    frozen: Frozen,
    blocks: Sequence[int] | None = None,
    seed: int = 0,
    at_once: int = 100,
) -> pd.DataFrame:
    """Figure 7 as numbers: how well a word does its concept's work, and how well its anchor's, when the text encoder
    has N blocks.

    Both are the metric of table 1 for the same output: in generation the share of pictures that the judge takes for the
    concept, or for the anchor; in detection the average precision with which the word finds the one or the other; in
    classification the share of the images of the one or the other that the classifier gives to the word, beside the
    names of all others. Names are read by the same shortened encoder as the word, since features of different depth
    cannot be compared.

    `vectors` (word, vector, d) and `words` with `concept`, `anchor` and `anchor_concept` are of one dataset, whose
    prompt names and test images are `names` and `frozen`; `blocks` are the N, by default none to all. Returns one row
    for each N, word and `of` ("concept" or "anchor"): the columns of `words`, `task`, `word` (its row), `blocks`, `of`,
    `metric`, `value`, `n`.
    """
    check_vectors(model, vectors)
    _check_labels(vectors[None], words)
    rows = []
    for count in range(len(text_blocks(model)) + 1) if blocks is None else blocks:
        with truncated(model, count):
            for part in torch.arange(len(vectors)).split(at_once):
                chosen = words.iloc[part.tolist()]
                asked = [*chosen["concept"], *chosen["anchor_concept"]]
                # Asked at once, so that the generator draws the pictures of a word once.
                scores = model.evaluate(vectors[part].repeat(2, 1, 1), asked, names, frozen, seed)
                for of, found in (("concept", scores[: len(part)]), ("anchor", scores[len(part) :])):
                    table = chosen.assign(task=model.task, word=part.numpy(), blocks=count, of=of)
                    rows.append(
                        table.assign(
                            metric=[s.metric for s in found], value=[s.value for s in found], n=[s.n for s in found]
                        )
                    )
    return pd.concat(rows, ignore_index=True)


def crossing_layers(scores: pd.DataFrame) -> pd.DataFrame:
    """The layer at which each word turns from its anchor to its concept, from the table of `truncation_scores` (one
    word set or several).

    `crossing` is the first N from which the concept's score exceeds the anchor's with every larger N too; NaN where
    there is none, so that the whole encoder still takes the word for its anchor. N = 0 is left out: before the first
    block the end of the text, which detector and classifier read, has not seen the word, and whether it scores higher
    as its concept there is a matter of the two names alone. `depth` is the largest N asked. One row a word, with the
    columns that tell words apart. Words whose anchor is their concept's own have nothing to cross and are left out.
    """
    keys = [column for column in scores if column not in ("blocks", "of", "metric", "value", "n")]
    rows = []
    for key, word in scores[(scores["concept"] != scores["anchor_concept"]) & (scores["blocks"] > 0)].groupby(
        keys, sort=False, dropna=False
    ):
        table = word.pivot(index="blocks", columns="of", values="value").sort_index()
        rows.append(
            (
                *key,
                turning_point(table.index.to_numpy(), (table["concept"] > table["anchor"]).to_numpy()),
                table.index.max(),
            )
        )
    return pd.DataFrame(rows, columns=[*keys, "crossing", "depth"])


def turning_point(blocks: np.ndarray, ahead: np.ndarray) -> float:
    """The first of the ascending `blocks` from which `ahead` (block,) holds to the end; NaN where it does not hold
    there.
    """
    from_here_on = np.logical_and.accumulate(ahead[::-1])[::-1]
    return float(blocks[from_here_on.argmax()]) if from_here_on.any() else np.nan


#: Prompts for a probe to learn words in: fifty, of words that every model here knows.
PROBE_PROMPTS = tuple(
    prompt.format(noun)
    for prompt in (
        *("{}", "a photo of {}", "a picture of {}", "an image of {}", "a drawing of {}"),
        *("a view of {}", "there is {}", "this is {}", "we see {}", "look at {}"),
    )
    for noun in ("a {}", "the {}", "a small {}", "a large {}", "a red {}")
)


@torch.no_grad()
def probe_scores(
    model: TaskModel, vectors: Tensor, words: pd.DataFrame, own: dict[str, str], prompts: Sequence[str] = PROBE_PROMPTS
) -> pd.DataFrame:
    """B8: what a linear probe of each layer takes a word for, its concept or its anchor.

    At every layer from the first block on, a logistic regression learns to tell the dataset's concepts apart by the
    activation of real words, each concept's `own` word in all of `prompts`. It then reads the activations of `vectors`
    (word, vector, d) in the model's prompt.

    Returns one row a word and layer: the columns of `words`, which need `anchor_concept`, `task`, `word` (its row),
    `layer`, `value`, the probability of the concept against that of the anchor's concept alone, and `accuracy`, the
    probe's own on real words in prompts that it was not fitted on. Raises ValueError where a word's concept or anchor
    is none of `own`, and for fewer than five prompts.
    """
    check_vectors(model, vectors)
    strange = sorted({*words["concept"], *words["anchor_concept"]} - set(own))
    if strange:
        raise ValueError(f"The probe knows no own word of '{strange[0]}'; it knows those of {', '.join(own)}.")
    if len(prompts) < 5:
        raise ValueError(f"A probe is fitted and tested on five prompts or more; there are {len(prompts)}.")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with recorded(model) as runs:
        for name in own.values():
            model.encode_prompts([prompt.format(name) for prompt in prompts])
    real = torch.cat([run.float().cpu() for run in runs], dim=1).numpy()
    labels, group = np.repeat(np.arange(len(own)), len(prompts)), np.tile(np.arange(len(prompts)), len(own))
    place = {concept: number for number, concept in enumerate(own)}
    sides = [words[column].map(place).to_numpy() for column in ("concept", "anchor_concept")]
    tables = []
    for layer, points in enumerate(activations(model, vectors).numpy()):
        if layer == 0:
            continue  # before the first block the end of the text has not seen the word
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        accuracy = cross_val_score(probe, real[layer], labels, groups=group, cv=GroupKFold(5)).mean()
        logs = probe.fit(real[layer], labels).predict_log_proba(points)
        concept, anchor = (logs[np.arange(len(words)), side] for side in sides)
        value = 1 / (1 + np.exp(anchor - concept))
        tables.append(
            words.assign(task=model.task, word=range(len(words)), layer=layer, value=value, accuracy=accuracy)
        )
    return pd.concat(tables, ignore_index=True)


def probe_crossings(scores: pd.DataFrame) -> pd.DataFrame:
    """B8: the first layer from which on the probe takes each word for its concept rather than its anchor, from the
    table of `probe_scores`.

    One row a word that has something to cross, with the columns that tell words apart, `probe` (NaN where it never
    does) and `depth`, the last layer.
    """
    keys = [column for column in scores if column not in ("layer", "value", "accuracy")]
    rows = []
    for key, word in scores[scores["concept"] != scores["anchor_concept"]].groupby(keys, sort=False, dropna=False):
        curve = word.set_index("layer")["value"].sort_index()
        rows.append((*key, turning_point(curve.index.to_numpy(), (curve > 0.5).to_numpy()), curve.index.max()))
    return pd.DataFrame(rows, columns=[*keys, "probe", "depth"])


def draw_truncated(model: Generator, vectors: Tensor, blocks: Sequence[int], seed: int = 0) -> list[list[Image.Image]]:
    """Figure 7's strip: for each word of (word, vector, d) one picture for each number of blocks, all from the same
    noise.
    """
    check_vectors(model, vectors)
    columns = []
    for count in blocks:
        with truncated(model, count), torch.no_grad():
            columns.append([pictures[0] for pictures in model.generate(model.encode_words(vectors), 1, seed)])
    return [list(row) for row in zip(*columns, strict=True)]


def way_to_concept(layers: Tensor, anchors: Tensor, concepts: Tensor, words: pd.DataFrame) -> pd.DataFrame:
    """How much of the way from anchor to concept a word has gone at each layer: 0 as the anchor word does, 1 as the
    concept's own word at the end.

    All activations are (layer, word, d): of the words, and of their anchor's and their concept's own word in the same
    prompt. The way is the difference of these two after the last block; a word's change against its anchor is projected
    on it, layer by layer. The plain swap is `way_to_concept(concepts, anchors, concepts, words)`: what comes late there
    comes late for every word.
    Returns the columns of `words`, `word` (its row), `layer`, `value`. Raises ValueError for a word whose anchor is its
    concept's own.
    """
    _check_labels(layers, words)
    way = concepts[-1] - anchors[-1]
    still = torch.isclose(concepts[-1], anchors[-1], atol=1e-4).all(-1)  # equal but for the rounding of another batch
    if still.any():
        row = words.iloc[int(still.nonzero()[0])]
        raise ValueError(f"'{row['anchor']}' is the own word of '{row['concept']}', so there is no way between them.")
    values = ((layers - anchors) * way).sum(-1) / way.pow(2).sum(-1)  # (layer, word)
    return pd.concat(
        [words.assign(word=range(len(words)), layer=layer, value=value.numpy()) for layer, value in enumerate(values)],
        ignore_index=True,
    )


def way_by_part(parts: Tensor, anchors: Tensor, start: Tensor, end: Tensor, words: pd.DataFrame) -> pd.DataFrame:
    """B2: how much of the way from anchor to concept the attention and the MLPs of all blocks have taken a word; their
    sum is `way_to_concept` at the end.

    `parts` and `anchors` are `part_activations` (block, part, word, d) of the words and of their anchors; `start` and
    `end` (word, d) are the last layer's activations of the anchors' and of the concepts' own words. One row a word and
    part: the columns of `words`, `word` (its row), `part` ("attention" or "MLP") and `value`.
    """
    way = end - start
    shares = ((parts - anchors).sum(0) * way).sum(-1) / way.pow(2).sum(-1)  # (part, word)
    tables = [
        words.assign(word=range(len(words)), part=part, value=values.numpy())
        for part, values in zip(("attention", "MLP"), shares, strict=True)
    ]
    return pd.concat(tables, ignore_index=True)


def half_way(ways: pd.DataFrame) -> pd.DataFrame:
    """The layer at which each word has gone half of its own way, from the table of `way_to_concept` (one word set or
    several).

    One row a word: the columns that tell words apart, `half`, the first layer with half of the value at the last one
    (NaN for a word that ends no nearer to its concept than its anchor is), and `depth`, the last layer.
    """
    keys = [column for column in ways if column not in ("layer", "value")]
    rows = []
    for key, word in ways.groupby(keys, sort=False, dropna=False):
        curve = word.set_index("layer")["value"].sort_index()
        end = curve.iloc[-1]
        half = float((curve >= end / 2).idxmax()) if end > 0 else np.nan
        rows.append((*key, half, curve.index.max()))
    return pd.DataFrame(rows, columns=[*keys, "half", "depth"])


def _check_labels(layers: Tensor, words: pd.DataFrame) -> None:
    if layers.shape[1] != len(words):
        raise ValueError(
            f"The table names {len(words)} words and there are activations or vectors of {layers.shape[1]}."
        )
