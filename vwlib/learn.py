"""Learning words (section 3): many at once, one Adam, each within its ball. Only the word vectors are learned."""

import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from vwlib.models.base import CachedFeatures, TaskModel
from vwlib.trials import Trial

Batch = dict[str, Tensor]  # what is drawn for one step, each tensor with the axis `word` first
Loss = Callable[[Tensor, Batch], Tensor]  # vectors (word, vector, d) and their batch -> losses (word,)


@dataclass(frozen=True)
class Learned:
    """The result of learning, on the CPU."""

    vectors: Tensor  #: (word, vector, d)
    losses: Tensor  #: (step, word); of a word that has stopped, its last one
    snapshots: dict[int, Tensor] = field(default_factory=dict)  #: the vectors after some of the steps
    steps: Tensor | None = None  #: that each word took, int (word,); None: all

    @property
    def finite(self) -> Tensor:
        """Which words did not diverge, bool (word,)."""
        return self.finite_after(len(self.losses))

    def finite_after(self, step: int) -> Tensor:
        """Which words had not diverged after a step that has a snapshot, or after the last: bool (word,)."""
        vectors = self.snapshots.get(step, self.vectors)
        return torch.isfinite(vectors).all(-1).all(-1) & torch.isfinite(self.losses[:step]).all(0)

    @property
    def diverged_at(self) -> dict[int, int]:
        """The rows of the words that diverged, each with the first step whose loss is no number, or else the last."""
        steps = len(self.losses)
        broken = {row: ~torch.isfinite(self.losses[:, row]) for row in (~self.finite).nonzero()[:, 0].tolist()}
        return {row: int(at.nonzero()[0]) + 1 if at.any() else steps for row, at in broken.items()}


def raise_if_diverged(learned: Learned, task: str, trials: Sequence[Trial]) -> None:
    """Raise FloatingPointError if a word diverged; the message names each with its step."""
    at_step = learned.diverged_at.items()
    if broken := [f"{trials[row].concept} from {trials[row].anchor} (at step {step})" for row, step in at_step]:
        raise FloatingPointError(f"{task}: the words {', '.join(broken)} diverged; lower the learning rate.")


def ball_radius(table: Tensor, row: int, delta: float) -> float:
    """Equation 4: `delta` times the distance from one row of `table` (word, d) to the nearest other row."""
    distances = (table - table[row]).norm(dim=-1)
    distances[row] = torch.inf
    return delta * float(distances.min())


def project_to_ball(vectors: Tensor, centre: Tensor, radius: Tensor) -> Tensor:
    """Equation 4: move each vector to the nearest point of the l2 ball around its centre.

    `vectors` and `centre` are (word, vector, d), `radius` (word,) is infinite where a word is unconstrained.
    """
    offset = vectors - centre
    length = offset.norm(dim=-1, keepdim=True)
    limit = radius[:, None, None]
    return torch.where(length > limit, centre + offset * (limit / length.clamp(min=1e-12)), vectors)


def radii(model: TaskModel, trials: Sequence[Trial]) -> Tensor:
    """Equation 4: the radius of each trial's ball (word,), infinite without a delta.

    The nearest word is sought among the words that the model knows.
    """
    tokens = [model.vocabulary.token_of(trial.anchor) for trial in trials]
    known = sorted({*model.vocabulary.words().values(), *tokens})
    table = model.word_table()[known]
    found = [
        torch.inf if trial.delta is None else ball_radius(table, known.index(token), trial.delta)
        for trial, token in zip(trials, tokens, strict=True)
    ]
    return torch.tensor(found)


def still_learning(losses: Tensor, patience: int) -> Tensor:
    """Whether each word's loss (step, word) still falls, bool (word,); its own losses alone decide.

    The mean loss of `patience` steps in a row must have been least less than `patience` steps ago.
    """
    if len(losses) < patience:
        return torch.ones(losses.shape[1], dtype=torch.bool)
    means = losses.unfold(0, patience, 1).mean(-1)  # (window, word)
    return (len(means) - 1 - means.argmin(0) < patience).cpu()


def learn_words(
    loss: Loss,
    start: Tensor,
    radius: Tensor,
    batches: Iterable[Batch],
    *,
    steps: int,
    lr: float,
    patience: int | None = None,
    snapshots: Collection[int] = (),
    parts: Callable[[int, Callable[[slice], Any]], list[Any]] = lambda count, work: [work(slice(0, count))],
    progress: str = "",
) -> Learned:
    """Section 3: Adam on the words' losses; after every step each word is projected onto its ball (equation 4).

    `start` is (word, vector, d), `radius` (word,). Adam treats every number alone and a word's loss depends on that
    word alone, so no word depends on its companions. With a `patience` a word stops once it is not `still_learning`.
    `parts` may split the words so that each part fits into memory; `progress` is the label of a progress bar, if any.
    """
    words, history, kept = start.clone().requires_grad_(), start.new_empty(steps, len(start)), dict[int, Tensor]()
    rows, taken = torch.arange(len(start)), torch.zeros(len(start), dtype=torch.long)
    adam = torch.optim.Adam([words], lr=lr, betas=(0.9, 0.999), eps=1e-8)
    bar = tqdm(range(1, steps + 1), desc=progress, unit="step", disable=not progress, leave=False)
    for step, batch in zip(bar, batches, strict=False):
        results = parts(len(rows), partial(losses_and_gradient, loss, words, batch, rows)) if len(rows) else []
        history[step - 1], taken[rows], words.grad = history[step - 2], step, torch.zeros_like(words)
        if results:
            history[step - 1, rows], words.grad[rows] = (torch.cat(tensors) for tensors in zip(*results, strict=True))
        moved = words.detach().clone()
        adam.step()
        with torch.no_grad():
            moved[rows] = project_to_ball(words, start, radius)[rows]
            words.copy_(moved)
        if step in snapshots:
            kept[step] = words.detach().clone().cpu()
        if patience:
            rows = rows[still_learning(history[:step], patience)[rows]]
    return Learned(words.detach().cpu(), history.cpu(), kept, taken)


def losses_and_gradient(loss: Loss, words: Tensor, batch: Batch, rows: Tensor, part: slice) -> tuple[Tensor, Tensor]:
    """The losses (row,) and their gradients (row, vector, d) of a part of some rows of the words (word, vector, d)."""
    leaf = words[rows[part]].detach().requires_grad_()
    losses = loss(leaf, {name: drawn[rows[part]] for name, drawn in batch.items()})
    return losses.detach(), torch.autograd.grad(losses.sum(), leaf)[0]


def learn_trials(
    model: TaskModel,
    features: CachedFeatures,
    trials: Sequence[Trial],
    *,
    batch: int = 8,
    vectors: int = 4,
    progress: bool = True,
    **how: Any,
) -> Learned:
    """Section 3: learn one word per trial on the task's own loss (table 1), from `batch` images a step.

    A word starts as `vectors` copies of its anchor's embedding and draws its images from the trial's own stream.
    Raises ValueError for an anchor that is not a single token, and MemoryError if not even one word fits into memory.
    """
    start = model.embeddings_of([trial.anchor for trial in trials], vectors)
    concepts, streams = [trial.concept for trial in trials], [trial.stream() for trial in trials]
    with model.beginning_encoded_once():
        return learn_words(
            model.losses,
            start.to(model.device),
            radii(model, trials).to(model.device),
            (model.draw_batch(concepts, features, streams, batch) for _ in itertools.count()),
            parts=partial(model.memory.map_in_batches, f"learning words from {batch} images a step"),
            progress=f"{model.task} words" if progress else "",
            **how,
        )
