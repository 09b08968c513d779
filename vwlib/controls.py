"""Controls: models and words for which the answer is known beforehand."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from vwlib.models.base import TaskModel
from vwlib.models.loading import OPEN_CLIP, resolve
from vwlib.settings import Profile


def random_rotation(d: int, seed: int) -> torch.Tensor:
    """A random orthogonal matrix (d, d), uniform over rotations and reflections, in float32."""
    q, r = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    return (q * r.diagonal().sign()).float()


def rotated_copy(model: TaskModel, seed: int = 0) -> TaskModel:
    """Control K1: the same model with its word table times a random orthogonal matrix, and the inverse folded in behind
    it.

    The copy computes what the model computes, but its words lie elsewhere: a transfer map between the two must be
    perfect.
    """
    twin = copy.deepcopy(model)
    table = model.table
    rotation = random_rotation(table.embedding_dim, seed).to(model.device)
    turned = nn.Embedding(table.num_embeddings, table.embedding_dim, device=model.device)
    back = nn.Linear(table.embedding_dim, table.embedding_dim, bias=False, device=model.device)
    with torch.no_grad():
        turned.weight.copy_((table.weight.double() @ rotation.double()).float())
        back.weight.copy_(rotation)  # a linear layer multiplies by its transposed weight, so x R becomes x R Rᵀ = x
    twin.embedding_module.token_embedding = nn.Sequential(turned, back).requires_grad_(False)
    return twin


def twin_of(profile: Profile) -> Profile | None:
    """Control K2: the profile with the classifier's other training, of the same architecture, data and schedule but
    another seed.

    It lies beside the classifier, in a folder of its name and `_twin` (`vwlib pretrain classifier_twin`); None where it
    does not.
    """
    source = f"{profile.classifier.source.rstrip('/')}_twin"
    if not all((resolve(source) / file).exists() for file in OPEN_CLIP):
        return None
    return profile.model_copy(update={"classifier": profile.classifier.model_copy(update={"source": source})})


#: Kinds of random directions (experiment B4): alike in all dimensions, spread as the vocabulary is, or straight towards
#: another word.
DIRECTIONS = ("isotropic", "vocabulary", "word")


def random_like(
    model: TaskModel, vectors: torch.Tensor, anchors: Sequence[str], seed: int, direction: str = "isotropic"
) -> torch.Tensor:
    """Control K5: for each word (word, vector, d) another one whose vectors lie as far from its anchor, but in random
    directions.

    Raises ValueError for an unknown direction.
    """
    table = model.word_table()
    known = table[sorted(model.vocabulary.words().values())]
    generator = torch.Generator().manual_seed(seed)
    centre = table[[model.vocabulary.token_of(anchor) for anchor in anchors]][:, None]
    if direction == "isotropic":
        way = torch.randn(vectors.shape, generator=generator)
    elif direction == "vocabulary":  # a random mixture of the words' deviations has their covariance
        mixture = torch.randn(*vectors.shape[:2], len(known), generator=generator)
        way = mixture @ (known - known.mean(0))
    elif direction == "word":
        way = known[torch.randint(len(known), vectors.shape[:2], generator=generator)] - centre
        way = torch.where(
            way.norm(dim=-1, keepdim=True) > 0, way, torch.randn(vectors.shape, generator=generator)
        )  # the anchor itself was drawn
    else:
        raise ValueError(f"'{direction}' is no kind of random direction; choose from {', '.join(DIRECTIONS)}.")
    return centre + torch.nn.functional.normalize(way, dim=-1) * (vectors - centre).norm(dim=-1, keepdim=True)
