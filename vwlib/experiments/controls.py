"""Controls: models and words for which the answer is known beforehand."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from vwlib.models.base import TaskModel

#: Random directions: alike in all dimensions, spread as the vocabulary is, or straight towards another word.
DIRECTIONS = ("isotropic", "vocabulary", "word")


def random_rotation(d: int, seed: int) -> Tensor:
    """A random orthogonal matrix (d, d), uniform over rotations and reflections, in float32."""
    q, r = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    return (q * r.diagonal().sign()).float()


def rotated_copy(model: TaskModel, seed: int = 0) -> TaskModel:
    """A control: the same model with a rotated word table, and the inverse rotation folded in after it.

    It computes the same, but its words lie elsewhere: a transfer map between the two must be perfect.
    """
    twin = copy.deepcopy(model)
    table = model.table
    rotation = random_rotation(table.embedding_dim, seed).to(model.device)
    rotated = nn.Embedding(table.num_embeddings, table.embedding_dim, device=model.device)
    back = nn.Linear(table.embedding_dim, table.embedding_dim, bias=False, device=model.device)
    with torch.no_grad():
        rotated.weight.copy_((table.weight.double() @ rotation.double()).float())
        back.weight.copy_(rotation)  # a linear layer multiplies by its transposed weight, so x R becomes x R Rᵀ = x
    twin.embedding_module.token_embedding = nn.Sequential(rotated, back).requires_grad_(False)
    return twin


def random_like(
    model: TaskModel, vectors: Tensor, anchors: Sequence[str], seed: int, direction: str = "isotropic"
) -> Tensor:
    """A control: words (word, vector, d) as far from their anchors as `vectors`, but in one of `DIRECTIONS`."""
    table, generator = model.word_table(), torch.Generator().manual_seed(seed)
    known, centre = table[sorted(model.vocabulary.words().values())], model.embeddings_of(anchors)
    if direction == "isotropic":
        offset = torch.randn(vectors.shape, generator=generator)
    elif direction == "vocabulary":  # a random mixture of the words' deviations has their covariance
        offset = torch.randn(*vectors.shape[:2], len(known), generator=generator) @ (known - known.mean(0))
    elif direction == "word":
        offset = known[torch.randint(len(known), vectors.shape[:2], generator=generator)] - centre
        isotropic = torch.randn(vectors.shape, generator=generator)
        offset = torch.where(offset.norm(dim=-1, keepdim=True) > 0, offset, isotropic)  # the anchor itself was drawn
    else:
        raise ValueError(f"'{direction}' is not a random direction; choose from {', '.join(DIRECTIONS)}.")
    return centre + normalize(offset, dim=-1) * (vectors - centre).norm(dim=-1, keepdim=True)
