"""Kinds of maps between word tables: the paper's least squares (equations 1 and 2), and what could take its place (E1).

Each is a function of the embeddings y (word, d_source) and x (word, d_target) of the words that two models share, row
by row the same words, and of a seed for what it draws by chance. It returns the map: a function of vectors (...,
d_source) that gives vectors (..., d_target).

`MAPS` lists them by name. A new one is a function and a line there; `book/add_a_map.md` adds one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Carry = Callable[[Tensor], Tensor]
Fit = Callable[[Tensor, Tensor, int], Carry]

PAPER_MAP = "linear"  # the paper's kind of map
STRENGTHS = np.logspace(
    -6, 3, 28
)  # of ridge's penalty, to choose from, in units of the mean of the eigenvalues of YᵀY about the mean
POWER = 4  # of cosines, so that the nearest words count most
AT_ONCE = (
    1024  # vectors compared with all words at a time: all of CLIP's 33,000 whole words with one another would take 4 GB
)


@dataclass(frozen=True)
class Affine:
    """Rows times a matrix (d_source, d_target), plus an offset (d_target,) where there is one."""

    matrix: Tensor
    offset: Tensor | None = None

    def __call__(self, vectors: Tensor) -> Tensor:
        moved = vectors @ self.matrix.to(vectors.dtype)
        return moved if self.offset is None else moved + self.offset.to(vectors.dtype)


def find_map(name: str) -> str:
    """The name of a kind of map.

    Raises ValueError for a name that is none.
    """
    if name not in MAPS:
        raise ValueError(f"'{name}' is no kind of map; choose from {', '.join(MAPS)}.")
    return name


def fit_map(kind: str, source: Tensor, target: Tensor, seed: int = 0) -> Carry:
    """The map of a kind from rows of `source` (word, d_source) to those of `target` (word, d_target).

    Raises ValueError for a kind that there is not, for tables of different lengths, and where there are too few words
    for the kind.
    """
    return MAPS[find_map(kind)](source, target, seed)


def check_words(source: Tensor, target: Tensor, needed: int) -> None:
    """Raise ValueError where two tables cannot list the same words, or list fewer than `needed`."""
    if source.shape[0] != target.shape[0]:
        raise ValueError(
            f"The two tables must list the same words; they have {source.shape[0]} and {target.shape[0]} rows."
        )
    if source.shape[0] < needed:
        dimensions = f"{source.shape[1]} dimensions to {target.shape[1]}"
        raise ValueError(
            f"{source.shape[0]} shared words cannot determine a map from {dimensions}; at least {needed} are needed."
        )


def fit_linear_map(source: Tensor, target: Tensor) -> Tensor:
    """Equations 1 and 2: the least-squares T = (YᵀY)⁻¹YᵀX with rows y of `source` (word, d_source) and x of `target`
    (word, d_target).

    Solved in float64 by a least-squares routine rather than by forming YᵀY, whose condition number is the square of
    Y's.
    Raises ValueError when there are fewer words than dimensions, where T is not determined.
    """
    check_words(source, target, source.shape[1])
    return torch.linalg.lstsq(source.double(), target.double(), driver="gelsd").solution.float()


def fit_linear(source: Tensor, target: Tensor, seed: int = 0) -> Affine:
    """Equations 1 and 2: the paper's map, least squares without an offset."""
    return Affine(fit_linear_map(source, target))


def fit_bias(source: Tensor, target: Tensor, seed: int = 0) -> Affine:
    """Least squares with an offset b, which the paper's map has not: y goes to y T + b."""
    check_words(source, target, source.shape[1] + 1)
    solution = fit_linear_map(F.pad(source, (0, 1), value=1.0), target)
    return Affine(solution[:-1], solution[-1])


def fit_ridge(source: Tensor, target: Tensor, seed: int = 0) -> Affine:
    """Least squares with an offset and a penalty on TᵀT, as strong as predicts each of the words best from all others
    (leave-one-out).
    """
    check_words(source, target, 3)
    y, x = source.double().numpy(), target.double().numpy()
    from sklearn.linear_model import RidgeCV  # takes a second to import, and few need it

    ridge = RidgeCV(alphas=STRENGTHS * len(y) * y.var(0).mean()).fit(y, x)
    return Affine(torch.from_numpy(ridge.coef_.T).float(), torch.from_numpy(ridge.intercept_).float())


def fit_procrustes(source: Tensor, target: Tensor, seed: int = 0) -> Affine:
    """Orthogonal Procrustes: a rotation (or reflection) R, one scale s and an offset, so that all angles and ratios of
    lengths are kept.

    Both tables are taken about their means, and the one of fewer dimensions is padded with zeros, so that R turns the
    larger space. Into more dimensions nothing is lost; into fewer, what R turns into the padding is dropped. s is the
    least-squares one for this R: without it the map would be judged by the units of two trainings.
    """
    check_words(source, target, min(source.shape[1], target.shape[1]) + 1)
    y, x = (table.double() - table.double().mean(0) for table in (source, target))
    d = max(y.shape[1], x.shape[1])
    from scipy.linalg import orthogonal_procrustes

    rotation, _ = orthogonal_procrustes(*(F.pad(table, (0, d - table.shape[1])).numpy() for table in (y, x)))
    matrix = torch.from_numpy(rotation[: y.shape[1], : x.shape[1]])
    matrix = matrix * _best_scale(y @ matrix, x)
    return Affine(matrix.float(), (target.double().mean(0) - source.double().mean(0) @ matrix).float())


def _best_scale(mapped: Tensor, target: Tensor) -> Tensor:
    """The factor that brings rows nearest to their targets, in least squares; 0 where all rows are 0."""
    return (mapped * target).sum() / mapped.pow(2).sum().clamp(min=torch.finfo(mapped.dtype).tiny)


@dataclass(frozen=True)
class Relative:
    """Vectors told by their cosines with the source's words, and told again by the target's; all about the tables'
    means.
    """

    source: Tensor  # (word, d_source), about its mean
    target: Tensor  # (word, d_target), about its mean
    means: tuple[Tensor, Tensor]
    scale: float = 1.0

    def __call__(self, vectors: Tensor) -> Tensor:
        rows = vectors.reshape(-1, vectors.shape[-1]).to(self.source) - self.means[0]
        moved = torch.cat([self.decode(part, self.cosines(part)) for part in rows.split(AT_ONCE)]) + self.means[1]
        return moved.reshape(*vectors.shape[:-1], -1).to(vectors.dtype)

    def cosines(self, rows: Tensor) -> Tensor:
        """The relative representation (row, word)."""
        return F.normalize(rows, dim=-1) @ F.normalize(self.source, dim=-1).T

    def decode(self, rows: Tensor, cosines: Tensor) -> Tensor:
        """The target's words in a mean weighted by powers of the positive cosines, as long as the row in the unit
        `scale`.
        """
        weights = cosines.clamp(min=0) ** POWER
        direction = weights @ self.target / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        return self.scale * rows.norm(dim=-1, keepdim=True) * direction


def fit_relative(source: Tensor, target: Tensor, seed: int = 0) -> Relative:
    """Relative representations (Moschella et al. 2023): a vector is told by its cosines with the shared words, which
    both models have.

    The way back into embeddings is a weighted mean of what the target has for the same words. Weights are the positive
    cosines, raised to a power as Norelli et al. (2023) do. The length is the vector's own times one scale, the
    least-squares one where each word is told by all others; nothing else is fitted. To solve for the vector that has
    these cosines in the target (Maiorca et al. 2024) would be exact for a rotated copy, but inflates whatever differs
    between two models.
    """
    check_words(source, target, 2)
    means = source.float().mean(0), target.float().mean(0)
    plain = Relative(source.float() - means[0], target.float() - means[1], means)
    told = []
    for part in torch.arange(len(source)).split(AT_ONCE):
        cosines = plain.cosines(plain.source[part])
        cosines[torch.arange(len(part)), part] = 0
        told.append(plain.decode(plain.source[part], cosines))
    return Relative(plain.source, plain.target, means, float(_best_scale(torch.cat(told), plain.target)))


@dataclass(frozen=True)
class Training:
    """How the two-layer network is trained."""

    hidden: int = 256  # units
    left_out: float = 0.15  # of the words, which say when to stop
    batch: int = 128  # words a step
    steps: int = 2000  # at most
    every: int = 20  # steps between two looks at the words left out
    patience: int = 10  # looks without progress before it stops
    rate: float = 3e-3  # Adam's learning rate
    decay: float = 0.1  # of weights


class Network(nn.Module):
    """Two layers between tables in units of their own means and spreads."""

    def __init__(self, source: Tensor, target: Tensor, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(source.shape[1], hidden), nn.GELU(), nn.Linear(hidden, target.shape[1]))
        self.means, self.spreads = (source.mean(0), target.mean(0)), (_spread(source), _spread(target))

    def forward(self, vectors: Tensor) -> Tensor:
        """Carry vectors (..., d_source) over: (..., d_target)."""
        moved = self.layers((vectors.float() - self.means[0]) / self.spreads[0])
        return (moved * self.spreads[1] + self.means[1]).to(vectors.dtype)


def _spread(table: Tensor) -> float:
    """The root mean square of a table's deviations from its mean row; 1 where there are none."""
    return float((table - table.mean(0)).pow(2).mean().sqrt()) or 1.0


def fit_mlp(source: Tensor, target: Tensor, seed: int = 0, training: Training | None = None) -> Network:
    """A two-layer network, the smallest map that is not linear, trained with Adam on squared errors until words left
    out stop gaining.

    `seed` draws its first weights, the words left out and the batches. It is the network as it was when those words
    were predicted best.
    """
    training = training or Training()
    check_words(source, target, 10)
    generator = torch.Generator().manual_seed(seed)
    left_out, fitted = torch.randperm(len(source), generator=generator).tensor_split(
        [round(training.left_out * len(source))]
    )
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)  # torch draws first weights from its global stream
        network = Network(source[fitted].float(), target[fitted].float(), training.hidden)
        _train(network, (source.float(), target.float()), fitted, left_out, generator, training)
    return network.requires_grad_(False)


def _train(
    network: Network,
    tables: tuple[Tensor, Tensor],
    fitted: Tensor,
    left_out: Tensor,
    generator: torch.Generator,
    training: Training,
) -> None:
    source, target = tables
    optimiser = torch.optim.AdamW(network.parameters(), lr=training.rate, weight_decay=training.decay)
    best, since, kept = np.inf, 0, network.state_dict()
    for step in range(training.steps):
        rows = fitted[torch.randint(len(fitted), (training.batch,), generator=generator)]
        optimiser.zero_grad()
        (F.mse_loss(network(source[rows]), target[rows]) / network.spreads[1] ** 2).backward()
        optimiser.step()
        if (step + 1) % training.every:
            continue
        with torch.no_grad():
            loss = F.mse_loss(network(source[left_out]), target[left_out]).item()
        since += 1
        if loss < best:
            best, since, kept = loss, 0, copy.deepcopy(network.state_dict())
        if since == training.patience:
            break
    network.load_state_dict(kept)


#: Kinds of map by name, the paper's first.
MAPS: dict[str, Fit] = {
    PAPER_MAP: fit_linear,
    "bias": fit_bias,
    "ridge": fit_ridge,
    "procrustes": fit_procrustes,
    "relative": fit_relative,
    "mlp": fit_mlp,
}
