"""What the three models have in common: prompt in, task out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vwlib.examples import Example
from vwlib.models.device import OnDevice, Room
from vwlib.splice import Vocabulary, spliced

NAME_PROMPT = "a photo of a {}"  # how concepts are named to the judge (table 2), and beside a learned word


@dataclass(frozen=True)
class Frozen:
    """All that a set of images contributes and no word changes, computed once.

    `concepts` names the concept of each image; `tensors` holds the task's features, each with the axis `image` first,
    on the model's device where its memory permits, else on the CPU.
    """

    concepts: list[str]
    tensors: dict[str, Tensor]

    def rows_of(self, concept: str) -> Tensor:
        """Rows of the images of a concept.

        Raises ValueError where there is none.
        """
        return self._rows_of(concept, own=True)

    def other_rows(self, concept: str) -> Tensor:
        """Rows of the images of all other concepts.

        Raises ValueError where there is none of the concept itself.
        """
        return self._rows_of(concept, own=False)

    def _rows_of(self, concept: str, own: bool) -> Tensor:
        if (concept, own) not in self._rows:
            raise ValueError(
                f"There is no image of '{concept}' among the prepared ones ({', '.join(sorted(set(self.concepts)))})."
            )
        return self._rows[concept, own]

    @cached_property
    def _rows(self) -> dict[tuple[str, bool], Tensor]:
        """Found once, not at every step of every word."""
        kinds = [(concept, own) for concept in set(self.concepts) for own in (True, False)]
        return {
            (concept, own): torch.tensor(
                [row for row, name in enumerate(self.concepts) if (name == concept) == own], dtype=torch.long
            )
            for concept, own in kinds
        }


@dataclass(frozen=True)
class Score:
    """How well one word does its task: the paper's metric (table 1) over `n` images, and further figures by name."""

    metric: str
    value: float
    n: int
    more: dict[str, float]


class TaskModel(Protocol):
    """The interface that optimisation, transfer and the study see; one adapter per task implements it."""

    task: str
    vocabulary: Vocabulary
    prompt: str
    block_parts: tuple[str, str]

    @property
    def family(self) -> str:
        """What tables call it."""

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The modules whose parameters are the model's."""

    @property
    def image_size(self) -> int:
        """The side of the pictures that it reads or draws, in px."""

    @property
    def text_blocks(self) -> nn.ModuleList:
        """The blocks of the text encoder, first to last."""

    @property
    def device(self) -> torch.device:
        """Where the model computes. Vectors may come from anywhere."""

    @property
    def room(self) -> Room:
        """How much of each kind of work fits there at once."""

    @property
    def text_owner(self) -> nn.Module:
        """The module of the text encoder whose `token_embedding` is the word table."""

    @property
    def table(self) -> nn.Embedding:
        """The module that holds the word table."""

    def word_table(self) -> Tensor:
        """The word embeddings (vocab, d), in float32 on the CPU."""

    def encode_words(self, vectors: Tensor) -> Any:
        """The text encoder's output for the prompt with each word's vectors (word, vector, d) in it."""

    def encode_prompts(self, texts: Sequence[str]) -> Any:
        """The text encoder's output for plain prompts."""

    def encode_names(self, names: Iterable[str]) -> Any:
        """The text encoder's output for things by name, in `NAME_PROMPT`."""

    def prepare(self, examples: Sequence[Example]) -> Frozen:
        """Run everything that does not depend on a word, once."""

    def losses(
        self, vectors: Tensor, concepts: Sequence[str], frozen: Frozen, streams: Sequence[torch.Generator], batch: int
    ) -> Tensor:
        """Table 1: the loss of each word (word,) on `batch` images drawn from its own stream; `vectors` is (word,
        vector, d).
        """

    def evaluate(
        self, vectors: Tensor, concepts: Sequence[str], names: dict[str, str], frozen: Frozen, seed: int = 0
    ) -> list[Score]:
        """Table 1: the metric of each word. `names` gives the prompt name of each of the dataset's concepts."""


class TextMixin(OnDevice):
    """Text side shared by the adapters: word table, prompts with vectors in place of words, and what chapters say about
    a model.

    The latter is by default as in transformers' CLIP, which stands in the adapter's `model`.
    """

    task: str
    vocabulary: Vocabulary
    prompt: str
    pools: bool  # whether only the end-of-text token's output is used
    model: Any
    blocks = "model.text_model.encoder.layers"  # where the blocks of the text encoder lie in the adapter
    block_parts = (
        "self_attn",
        "mlp",
    )  # attention and MLP of a block, whose outputs are added to what the block is given

    @property
    def family(self) -> str:
        """What tables call it: the class of its network."""
        return type(self.networks[0]).__name__

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The modules whose parameters are the model's."""
        return [self.model]

    @property
    def image_size(self) -> int:
        """The side of the pictures that it reads or draws, in px."""
        return self.model.config.vision_config.image_size

    @property
    def text_blocks(self) -> nn.ModuleList:
        """The blocks of the text encoder, first to last.

        Raises ValueError where they do not lie where the adapter says.
        """
        found: Any = self
        for name in self.blocks.split("."):
            found = getattr(found, name, None)
        if not isinstance(found, nn.ModuleList):
            raise ValueError(
                f"The {self.task} model has no blocks at '{self.blocks}'; {type(self).__name__}.blocks should say where its text encoder's lie."
            )
        return found

    @property
    def text_owner(self) -> nn.Module:
        """The module of the text encoder whose `token_embedding` is the word table."""
        raise AttributeError("an adapter names the owner of its word table")

    @property
    def table(self) -> nn.Embedding:
        """The module that holds the word table; a control may have put a further layer behind it."""
        embedding = self.text_owner.token_embedding
        table = embedding[0] if isinstance(embedding, nn.Sequential) else embedding
        assert isinstance(table, nn.Embedding)
        return table

    @property
    def device(self) -> torch.device:
        """Where the word table is, and with it the model."""
        return self.table.weight.device

    def word_table(self) -> Tensor:
        """The word embeddings (vocab, d), in float32 on the CPU."""
        return self.table.weight.detach().float().cpu()

    def encode_ids(self, ids: Tensor) -> Any:
        """What the text encoder makes of token ids (prompt, token)."""
        raise AttributeError("an adapter runs its own text encoder")

    def encode_words(self, vectors: Tensor) -> Any:
        """The text encoder's output for the prompt with each word's vectors (word, vector, d) in it."""
        ids = self.vocabulary.prompt(self.prompt, vectors.shape[1]).expand(len(vectors), -1)
        with spliced(self.table, vectors.to(self.device)):
            return self.encode_ids(self.without_padding(ids).to(self.device))

    def encode_prompts(self, texts: Sequence[str]) -> Any:
        """The text encoder's output for plain prompts."""
        return self.encode_ids(self.without_padding(self.vocabulary.prompts(list(texts))).to(self.device))

    def without_padding(self, ids: Tensor) -> Tensor:
        """Token ids (prompt, token) up to the last end of text, where only that is used: it sees nothing behind it.

        Padding is most of a context: a prompt with a word of four vectors takes 9 of CLIP's 77 tokens.
        """
        return ids[:, : int(ids.argmax(-1).max()) + 1] if self.pools else ids

    def encode_names(self, names: Iterable[str]) -> Any:
        """The text encoder's output for things by name, in `NAME_PROMPT`."""
        return self.encode_prompts([NAME_PROMPT.format(name) for name in names])


def draw(rows: Tensor, count: int, stream: torch.Generator) -> Tensor:
    """`count` of the rows, with replacement, from the word's own stream."""
    return rows[torch.randint(len(rows), (count,), generator=stream)]
