"""Controls: models and words for which the answer is known beforehand."""

from __future__ import annotations

import copy

import torch
from torch import nn

from vwlib.models.base import TaskModel


def random_rotation(d: int, seed: int) -> torch.Tensor:
    """A random orthogonal matrix (d, d), uniform over rotations and reflections, in float32."""
    q, r = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    return (q * r.diagonal().sign()).float()


def rotated_copy(model: TaskModel, seed: int = 0) -> TaskModel:
    """Control K1: the same model with its word table times a random orthogonal matrix, and the inverse folded in behind it.

    The copy computes what the model computes, but its words lie elsewhere: a transfer map between the two must be perfect.
    """
    twin = copy.deepcopy(model)
    table = model.table
    rotation = random_rotation(table.embedding_dim, seed)
    turned = nn.Embedding(table.num_embeddings, table.embedding_dim)
    back = nn.Linear(table.embedding_dim, table.embedding_dim, bias=False)
    with torch.no_grad():
        turned.weight.copy_((table.weight.double() @ rotation.double()).float())
        back.weight.copy_(rotation)  # a linear layer multiplies by its transposed weight, so x R becomes x R Rᵀ = x
    twin.text_owner.token_embedding = nn.Sequential(turned, back).requires_grad_(False)
    return twin
