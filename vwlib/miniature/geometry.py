"""What a word table is like (section 5 presupposes it): how far its words lie apart, in how many directions."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """Figures of the rows of a word table that stand for whole words."""

    words: int
    dimension: int
    norm: float  #: mean length of a word's embedding
    nearest: float  #: mean distance to the nearest other word, in units of `norm`
    participation_ratio: float  #: directions in use: (sum of the covariance's eigenvalues)² / sum of their squares

    @property
    def words_per_dimension(self) -> float:
        """How many words a linear map between two such tables is fitted on, for each of its rows."""
        return self.words / self.dimension

    def figures(self) -> dict[str, float]:
        """All of them by name."""
        return asdict(self) | {"words_per_dimension": self.words_per_dimension}


def table_geometry(table: Tensor, at_once: int = 1000) -> Geometry:
    """The geometry of the words (word, d) of a table; at least two, else ValueError.

    >>> table_geometry(torch.eye(3)).nearest.__round__(3)
    1.414
    """
    if len(table) < 2:
        raise ValueError(f"A table's geometry is of two words or more; there are {len(table)}.")
    words = table.double()
    nearest = []
    for rows in torch.arange(len(words)).split(at_once):
        distances = torch.cdist(words[rows], words)
        distances[torch.arange(len(rows)), rows] = torch.inf
        nearest.append(distances.amin(1))
    norm = words.norm(dim=1).mean()
    spread = torch.linalg.eigvalsh(torch.cov(words.T)).clamp(min=0)
    ratio = spread.sum() ** 2 / spread.square().sum()
    apart = float(torch.cat(nearest).mean() / norm)
    return Geometry(len(words), words.shape[1], float(norm), apart, float(ratio))
