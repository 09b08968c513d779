"""Moving words between models with a map between their word tables (section 3, equations 1 to 3)."""

from dataclasses import dataclass

from torch import Tensor

from vwlib.maps import PAPER_MAP, MapFunction, fit_map
from vwlib.models.base import TaskModel


@dataclass(frozen=True)
class TransferMap:
    """A map from a source model's word embeddings to a target model's."""

    source: str  #: task
    target: str  #: task
    function: MapFunction
    kind: str = PAPER_MAP  #: its name in `vwlib.maps.MAPS`

    def __call__(self, vectors: Tensor) -> Tensor:
        """Equation 3: move vectors (..., d_source) into the target's space (..., d_target)."""
        return self.function(vectors)


def shared_words(*models: TaskModel) -> list[str]:
    """The whole words that all the models have as single tokens and met in training, sorted."""
    return sorted(set.intersection(*(set(model.vocabulary.words()) for model in models)))


def fit_transfer(
    source: TaskModel, target: TaskModel, words: list[str] | None = None, kind: str = PAPER_MAP, seed: int = 0
) -> TransferMap:
    """Equations 1 and 2: the map between two models, fitted on all words that both know or on `words`.

    `kind` is one of `vwlib.maps.MAPS`. Raises ValueError for an unknown kind, and for too few words.
    """
    words = words or shared_words(source, target)
    y, x = (model.word_table()[token_ids(model, words)] for model in (source, target))
    return TransferMap(source.task, target.task, fit_map(kind, y, x, seed), kind)


def token_ids(model: TaskModel, words: list[str]) -> list[int]:
    """The model's ids of words that it knows as single tokens."""
    known = model.vocabulary.words()
    return [known[word] for word in words]
