"""Learning words: many at once, one Adam, each within its ball. Nothing but the word vectors is learned."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from tqdm.auto import tqdm

from vwlib.models.base import Frozen, TaskModel
from vwlib.trials import Trial

#: Failed words are looked for on the device at every step, but read from it only so often: a GPU would have to finish
#: all its work first.
CHECK_EVERY = 10


@dataclass(frozen=True)
class Learned:
    """What learning gave, on the CPU: `vectors` (word, vector, d), the `losses` (step, word) on the way, and the words
    `after` some of the steps.

    `failed` gives, for each word that stopped being a number, its row and the step at which it did; its vectors are
    none.
    """

    vectors: Tensor
    losses: Tensor
    after: dict[int, Tensor] = field(default_factory=dict)
    failed: dict[int, int] = field(default_factory=dict)

    @property
    def finite(self) -> Tensor:
        """Which words are numbers, bool (word,); the others have diverged."""
        return torch.isfinite(self.vectors).all(-1).all(-1)


def refuse_failed(learned: Learned, task: str, trials: Sequence[Trial]) -> None:
    """Raise FloatingPointError where a word has stopped being a number, naming each with its step."""
    broken = [
        f"{trials[row].concept} from {trials[row].anchor} (at step {step})" for row, step in learned.failed.items()
    ]
    if broken:
        raise FloatingPointError(f"{task}: the words {', '.join(broken)} diverged; lower the learning rate.")


def ball_radius(table: Tensor, token: int, delta: float) -> float:
    """Equation 4: `delta` times the distance from a word's embedding to the nearest other word's; `table` is (vocab,
    d).
    """
    distances = (table - table[token]).norm(dim=-1)
    distances[token] = torch.inf
    return delta * float(distances.min())


def project_to_ball(vectors: Tensor, centre: Tensor, radius: Tensor) -> Tensor:
    """Equation 4's constraint: move each vector to the nearest point of the l2 ball around its anchor.

    `vectors` (word, vector, d), `centre` (word, d), `radius` (word,), infinite where a word is unconstrained.
    """
    offset = vectors - centre[:, None]
    length = offset.norm(dim=-1, keepdim=True)
    limit = radius[:, None, None]
    return torch.where(length > limit, centre[:, None] + offset * (limit / length.clamp(min=1e-12)), vectors)


def radii(model: TaskModel, trials: Sequence[Trial]) -> Tensor:
    """The radius of each trial's ball (word,), infinite for the unconstrained; the nearest word is sought among the
    words that the model knows.
    """
    tokens = [model.vocabulary.token_of(trial.anchor) for trial in trials]
    known = sorted({*model.vocabulary.words().values(), *tokens})
    table = model.word_table()[known]
    return torch.tensor(
        [
            torch.inf if t.delta is None else ball_radius(table, known.index(token), t.delta)
            for t, token in zip(trials, tokens, strict=True)
        ]
    )


def learn_words(
    model: TaskModel,
    frozen: Frozen,
    trials: Sequence[Trial],
    *,
    steps: int,
    rate: float,
    vectors: int = 4,
    batch: int = 8,
    keep: Collection[int] = (),
    progress: bool = True,
) -> Learned:
    """Section 3: learn one word per trial by Adam on the task's own loss (table 1), all trials at once, or as many as
    fit into memory.

    Adam acts on each number alone and every trial draws from its own stream, so a word does not depend on its
    companions, not even when one of them diverges. With a `delta` the word is projected onto its ball after each step.
    After each number of steps in `keep` the words are what so many steps would have learned: they are kept in
    `Learned.after`. A word or loss that stops being a number has failed: the word is none from then on, and is soon
    left out of the steps.
    Raises ValueError for an anchor that is not a single token, and MemoryError where not even one word fits into
    memory.
    """
    table, device = model.word_table(), model.device
    tokens = [model.vocabulary.token_of(trial.anchor) for trial in trials]
    centre = table[tokens].to(device)  # (word, d)
    radius = radii(model, trials).to(device)
    words = centre[:, None].repeat(1, vectors, 1).requires_grad_()
    optimiser = torch.optim.Adam([words], lr=rate, betas=(0.9, 0.999), eps=1e-8)
    streams = [trial.stream() for trial in trials]
    history = torch.full((steps, len(trials)), torch.nan, device=device)
    failed_at = torch.zeros(len(trials), dtype=torch.long, device=device)  # 0: not failed
    alive = list(range(len(trials)))
    after: dict[int, Tensor] = {}
    for step in tqdm(range(1, steps + 1), desc=f"{model.task} words", unit="step", disable=not progress, leave=False):
        losses, words.grad = loss_and_gradient(model, frozen, trials, streams, words.detach(), alive, batch)
        optimiser.step()
        with torch.no_grad():
            words.copy_(project_to_ball(words, centre, radius))
            broken = ~(torch.isfinite(losses) & torch.isfinite(words).all(-1).all(-1))
            failed_at = torch.where(broken & (failed_at == 0), step, failed_at)
            words.masked_fill_((failed_at > 0)[:, None, None], torch.nan)
        history[step - 1] = losses
        if step in keep:
            after[step] = words.detach().clone().cpu()
        if step % CHECK_EVERY == 0:
            alive = [row for row, at in enumerate(failed_at.tolist()) if not at]
            if not alive:
                break
    failed = {row: at for row, at in enumerate(failed_at.tolist()) if at}
    return Learned(words.detach().cpu(), history.cpu(), after, failed)


def loss_and_gradient(
    model: TaskModel,
    frozen: Frozen,
    trials: Sequence[Trial],
    streams: Sequence[torch.Generator],
    words: Tensor,
    rows: Sequence[int],
    batch: int,
) -> tuple[Tensor, Tensor]:
    """The losses (word,) of some `rows` of the words (word, vector, d), and their gradients; those of the others are
    not a number, and zero.

    The rows are taken in as many parts as memory asks for: words are independent, so that the parts' gradients are the
    whole's.
    """

    def work(part: slice) -> tuple[Tensor, Tensor]:
        chosen = rows[part]
        drawing = [streams[row] for row in chosen]
        before = [stream.get_state() for stream in drawing]
        try:
            leaf = words[list(chosen)].requires_grad_()
            losses = model.losses(leaf, model.draw_batch([trials[row].concept for row in chosen], frozen, drawing, batch))
            return losses.detach(), torch.autograd.grad(losses.sum(), leaf)[0]
        except torch.OutOfMemoryError:
            for stream, state in zip(drawing, before, strict=True):
                stream.set_state(state)  # the part will be computed again, on the same images and noise
            raise

    parts = model.memory.map_in_batches(f"learning words from {batch} images a step", len(rows), work)
    losses, gradient = (torch.cat(results) for results in zip(*parts, strict=True))
    if len(rows) == len(words):
        return losses, gradient
    places = torch.tensor(rows, device=words.device)
    every = losses.new_full((len(words),), torch.nan), torch.zeros_like(words)
    return every[0].index_copy(0, places, losses), every[1].index_copy(0, places, gradient)
