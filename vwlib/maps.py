"""Maps between word tables: the paper's least squares (section 3, equations 1 and 2) and five others.

Each is a function of the embeddings y (word, d_source) and x (word, d_target) of the words that two models share, row
by row the same words, and of a seed. It returns the map: a function from vectors (..., d_source) to (..., d_target).
`MAPS` lists them by name. A new map is a function and a line there; `book/add_a_map.md` adds one.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

MapFunction = Callable[[Tensor], Tensor]
Fit = Callable[[Tensor, Tensor, int], MapFunction]

PAPER_MAP = "linear"
#: Candidate penalties of ridge, relative to the mean eigenvalue of the centred YᵀY.
PENALTIES = np.logspace(-6, 3, 28)
POWER = 4  # of cosines in relative representations, so that the nearest words count most
#: Vectors compared with all words at a time. All of CLIP's 33,000 whole words with one another would take 4 GB.
AT_ONCE = 1024


@dataclass(frozen=True)
class Affine:
    """Rows times a matrix (d_source, d_target), plus an offset (d_target,) if there is one."""

    matrix: Tensor
    offset: Tensor | None = None

    def __call__(self, vectors: Tensor) -> Tensor:
        mapped = vectors @ self.matrix.to(vectors.dtype)
        return mapped if self.offset is None else mapped + self.offset.to(vectors.dtype)


def fit_map(kind: str, source: Tensor, target: Tensor, seed: int = 0) -> MapFunction:
    """Fit the map of that name from rows of `source` (word, d_source) to those of `target` (word, d_target).

    Raises ValueError for an unknown name, for tables of different lengths, and for too few words.
    """
    if kind not in MAPS:
        raise ValueError(f"'{kind}' is not a map; choose from {', '.join(MAPS)}.")
    return MAPS[kind](source, target, seed)


def check_words(source: Tensor, target: Tensor, needed: int) -> None:
    """Raise ValueError if two tables cannot list the same words, or list fewer than `needed`."""
    words = len(source)
    if words != len(target):
        raise ValueError(f"The two tables must list the same words; they have {words} and {len(target)} rows.")
    if words < needed:
        task = f"a map from {source.shape[1]} dimensions to {target.shape[1]}"
        raise ValueError(f"{words} shared words cannot determine {task}; at least {needed} are needed.")


def fit_linear(source: Tensor, target: Tensor, seed: int = 0) -> Affine:
    """Equations 1 and 2: the paper's map, the least-squares T = (YᵀY)⁻¹YᵀX for rows y of `source` and x of `target`.

    Solved in float64 by a least-squares routine: forming YᵀY would square the condition number.
    """
    check_words(source, target, source.shape[1])
    return Affine(torch.linalg.lstsq(source.double(), target.double(), driver="gelsd").solution.float())


def fit_bias(source: Tensor, target: Tensor, seed: int = 0) -> Affine:
    """Least squares with an offset b, which the paper's map does not have: y becomes y T + b."""
    check_words(source, target, source.shape[1] + 1)
    solution = fit_linear(F.pad(source, (0, 1), value=1.0), target).matrix
    return Affine(solution[:-1], solution[-1])


def fit_ridge(source: Tensor, target: Tensor, seed: int = 0) -> Affine:
    """Least squares with an offset and a penalty on TᵀT, the one that predicts left-out words best (leave-one-out)."""
    check_words(source, target, 3)
    y, x = source.double().numpy(), target.double().numpy()
    from sklearn.linear_model import RidgeCV  # takes a second to import

    ridge = RidgeCV(alphas=PENALTIES * len(y) * y.var(0).mean()).fit(y, x)
    return Affine(torch.from_numpy(ridge.coef_.T).float(), torch.from_numpy(ridge.intercept_).float())


def fit_procrustes(source: Tensor, target: Tensor, seed: int = 0) -> Affine:
    """Orthogonal Procrustes: a rotation or reflection R, one least-squares scale and an offset, about the means.

    The table of fewer dimensions is padded with zeros, so that R acts in the larger space. Into fewer dimensions, what
    R turns into the padding is lost. Without the scale, the units of two trainings would decide how good the map is.
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
    """The least-squares factor from rows to their targets; 0 if all rows are 0."""
    return (mapped * target).sum() / mapped.pow(2).sum().clamp(min=torch.finfo(mapped.dtype).tiny)


@dataclass(frozen=True)
class Relative:
    """Vectors as cosines with the source's words, decoded with the target's words; both tables about their means."""

    source: Tensor  #: (word, d_source), centred
    target: Tensor  #: (word, d_target), centred
    means: tuple[Tensor, Tensor]
    scale: float = 1.0

    def __call__(self, vectors: Tensor) -> Tensor:
        rows = vectors.reshape(-1, vectors.shape[-1]).to(self.source) - self.means[0]
        mapped = torch.cat([self.decode(part, self.cosines(part)) for part in rows.split(AT_ONCE)]) + self.means[1]
        return mapped.reshape(*vectors.shape[:-1], -1).to(vectors.dtype)

    def cosines(self, rows: Tensor) -> Tensor:
        """The relative representation (row, word)."""
        return F.normalize(rows, dim=-1) @ F.normalize(self.source, dim=-1).T

    def decode(self, rows: Tensor, cosines: Tensor) -> Tensor:
        """The target's mean word, weighted by powers of the positive cosines; as long as the row times `scale`."""
        weights = cosines.clamp(min=0) ** POWER
        direction = weights @ self.target / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        return self.scale * rows.norm(dim=-1, keepdim=True) * direction


def fit_relative(source: Tensor, target: Tensor, seed: int = 0) -> Relative:
    """Relative representations (Moschella et al. 2023): a vector is described by its cosines with the shared words.

    It is decoded as a weighted mean of the target's words (Norelli et al. 2023). One scale is fitted, the least-squares
    one when each word is described by all others. Solving for the vector with these cosines (Maiorca et al. 2024) would
    be exact for a rotated copy, but inflates whatever differs between two models.
    """
    check_words(source, target, 2)
    means = source.float().mean(0), target.float().mean(0)
    plain = Relative(source.float() - means[0], target.float() - means[1], means)
    decoded = []
    for part in torch.arange(len(source)).split(AT_ONCE):
        cosines = plain.cosines(plain.source[part])
        cosines[torch.arange(len(part)), part] = 0  # leave the word itself out
        decoded.append(plain.decode(plain.source[part], cosines))
    return replace(plain, scale=float(_best_scale(torch.cat(decoded), plain.target)))


class Network(nn.Sequential):
    """A two-layer network between tables that are in units of their own means and spreads."""

    def __init__(self, source: Tensor, target: Tensor, hidden: int) -> None:
        super().__init__(nn.Linear(source.shape[1], hidden), nn.GELU(), nn.Linear(hidden, target.shape[1]))
        self.means = source.mean(0), target.mean(0)
        self.spreads = [float((table - table.mean(0)).pow(2).mean().sqrt()) or 1.0 for table in (source, target)]

    def forward(self, vectors: Tensor) -> Tensor:
        """Map vectors (..., d_source) to (..., d_target)."""
        mapped = super().forward((vectors.float() - self.means[0]) / self.spreads[0])
        return (mapped * self.spreads[1] + self.means[1]).to(vectors.dtype)


def fit_mlp(source: Tensor, target: Tensor, seed: int = 0, hidden: int = 256, steps: int = 2000) -> Network:
    """A two-layer network, the smallest map that is not linear; AdamW stops when 15 % left-out words stop gaining.

    `seed` draws the first weights, the words left out and the batches of 128 words. Every 20 steps the left-out words
    are tried; after ten trials without progress training stops, and the best network is returned.
    """
    check_words(source, target, 10)
    source, target, generator = source.float(), target.float(), torch.Generator().manual_seed(seed)
    left_out, fitted = torch.randperm(len(source), generator=generator).tensor_split([round(0.15 * len(source))])
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)  # torch draws first weights from its global stream
        network = Network(source[fitted], target[fitted], hidden)
        optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.1)
        best, tries, kept = np.inf, 0, network.state_dict()
        for step in range(steps):
            rows = fitted[torch.randint(len(fitted), (128,), generator=generator)]
            optimiser.zero_grad()
            (F.mse_loss(network(source[rows]), target[rows]) / network.spreads[1] ** 2).backward()
            optimiser.step()
            if step % 20 == 19:
                with torch.no_grad():
                    loss = F.mse_loss(network(source[left_out]), target[left_out]).item()
                tries += 1
                if loss < best:
                    best, tries, kept = loss, 0, copy.deepcopy(network.state_dict())
                if tries == 10:
                    break
        network.load_state_dict(kept)
    return network.requires_grad_(False)


#: Maps by name, the paper's first.
MAPS: dict[str, Fit] = {
    PAPER_MAP: fit_linear,
    "bias": fit_bias,
    "ridge": fit_ridge,
    "procrustes": fit_procrustes,
    "relative": fit_relative,
    "mlp": fit_mlp,
}
