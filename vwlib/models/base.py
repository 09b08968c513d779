"""What the three models have in common: a prompt goes in, a task comes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from vwlib.examples import Example
from vwlib.models.memory import MemoryBudget
from vwlib.settings import Profile
from vwlib.splice import PLACEHOLDER, Vocabulary, beginning_encoded_once, spliced

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


NAME_PROMPT = "a photo of a {}"  # how a concept is named to the judge (table 2), and as a learned word's rival


@dataclass(frozen=True)
class CachedFeatures:
    """What a model computes of a set of images once, since no word changes it.

    `concepts` names the concept of each image. `tensors` holds the task's features, each with the axis `image` first,
    on the model's device where its memory permits, else on the CPU.
    """

    concepts: list[str]
    tensors: dict[str, Tensor]

    def indices_of(self, concept: str) -> Tensor:
        """The images of a concept, int (image,). Raises ValueError where there is none."""
        if concept not in self._by_concept:
            raise ValueError(f"No image is labelled '{concept}'; the labels are {', '.join(sorted(self._by_concept))}.")
        return self._by_concept[concept]

    def indices_except(self, concept: str) -> Tensor:
        """The images of all other concepts, int (image,). Raises ValueError where there is none of the concept."""
        is_other = torch.ones(len(self.concepts), dtype=torch.bool)
        is_other[self.indices_of(concept)] = False
        return is_other.nonzero()[:, 0]

    @cached_property
    def _by_concept(self) -> dict[str, Tensor]:
        shown = {concept: [name == concept for name in self.concepts] for concept in set(self.concepts)}
        return {concept: torch.tensor(is_shown).nonzero()[:, 0] for concept, is_shown in shown.items()}


@dataclass(frozen=True)
class Score:
    """How well one word does its task: the paper's metric (table 1) over `n` images, and further figures by name."""

    metric: str
    value: float
    n: int
    more: dict[str, float]


class TaskModel(ABC):
    """A frozen model of one task. Learning, transfer and the study use its methods only.

    A subclass is an adapter, which says all that is special about its model.
    """

    task: ClassVar[str]
    files: ClassVar[tuple[str, ...]] = ()  #: without which the model's folder is incomplete; "a|b": one of two
    #: Whether the text encoder hands on the output at the end of text only. Padding is then left out of prompts.
    uses_pooled_output: ClassVar[bool] = True
    needs_test_images: ClassVar[bool] = True  #: whether `evaluate` reads their features
    #: Attributes of a block for its attention and its MLP, whose outputs are added to the block's input.
    block_parts: ClassVar[tuple[str, str]] = ("self_attn", "mlp")

    def __init__(
        self,
        vocabulary: Vocabulary,
        prompt: str,
        modules: Sequence[nn.Module],
        embedding_module: nn.Module,
        blocks: nn.ModuleList,
        image_size: int,
    ) -> None:
        """Freeze the modules: a word's vectors are all that is ever learned.

        `prompt` holds `{}` for the word. `modules` have the model's parameters, the main one comes first. The text
        encoder's `embedding_module` has the word table as `token_embedding`; its `blocks` are in order. `image_size` is
        the longer side of the pictures that the model reads or draws, in px.
        """
        self.vocabulary, self.prompt, self.modules = vocabulary, prompt, modules
        self.embedding_module, self.blocks, self.image_size = embedding_module, blocks, image_size
        for module in modules:
            module.eval().requires_grad_(False)

    @classmethod
    @abstractmethod
    def load(cls, profile: Profile) -> Self:
        """Load the model from the folder that the profile names, onto the profile's device.

        Raises FileNotFoundError for missing weights and ValueError for weights of another shape.
        """

    @property
    def table(self) -> nn.Embedding:
        """The module that holds the word table; a control may have put a further layer behind it."""
        embedding = self.embedding_module.token_embedding
        table = embedding[0] if isinstance(embedding, nn.Sequential) else embedding
        assert isinstance(table, nn.Embedding)
        return table

    @property
    def device(self) -> torch.device:
        """The device of the weights. Vectors may come from any device."""
        return self.table.weight.device

    @cached_property
    def memory(self) -> MemoryBudget:
        """How much of each kind of work fits into the device's memory."""
        return MemoryBudget(self.device)

    @abstractmethod
    def encode_ids(self, ids: Tensor) -> Any:
        """The text encoder's output for token ids (prompt, token)."""

    def word_table(self) -> Tensor:
        """The word embeddings (vocab, d), in float32 on the CPU."""
        return self.table.weight.detach().float().cpu()

    def embeddings_of(self, words: Sequence[str], copies: int = 1) -> Tensor:
        """The embeddings of single-token words as word vectors (word, copies, d).

        With as many copies as a learned word has vectors, the end of text has the same position. Raises ValueError for
        a word of several tokens.
        """
        rows = self.word_table()[[self.vocabulary.token_of(word) for word in words]]
        return rows[:, None].repeat(1, copies, 1)

    def encode_words(self, vectors: Tensor) -> Any:
        """The text encoder's output for the prompt with each word's vectors (word, vector, d) in place of `{}`.

        Raises ValueError for vectors of another shape.
        """
        d, shape = self.table.embedding_dim, tuple(vectors.shape)
        if len(shape) != 3 or shape[-1] != d or not len(vectors):
            raise ValueError(f"The {self.task} model reads words of shape (word, vector, {d}), not {shape}.")
        ids = self.vocabulary.prompt(self.prompt, vectors.shape[1]).expand(len(vectors), -1)
        with spliced(self.table, vectors.to(self.device)):
            return self.encode_ids(self.trim_padding(ids).to(self.device))

    def beginning_encoded_once(self) -> AbstractContextManager[None]:
        """A block within which `encode_words` encodes what stands before the word once; nothing else may be encoded."""
        before = int((self.vocabulary.prompt(self.prompt, 1) == PLACEHOLDER).int().argmax())
        return beginning_encoded_once(self.blocks, before)

    def encode_prompts(self, texts: Sequence[str]) -> Any:
        """The text encoder's output for plain prompts."""
        return self.encode_ids(self.trim_padding(self.vocabulary.prompts(list(texts))).to(self.device))

    def encode_names(self, names: Iterable[str]) -> Any:
        """The text encoder's output for things by name, in `NAME_PROMPT`."""
        return self.encode_prompts([NAME_PROMPT.format(name) for name in names])

    def trim_padding(self, ids: Tensor) -> Tensor:
        """Token ids (prompt, token) up to the last end of text, if only its output is used: attention is causal.

        Padding is most of a context: a prompt with a word of four vectors takes 9 of CLIP's 77 tokens.
        """
        return ids[:, : int(ids.argmax(-1).max()) + 1] if self.uses_pooled_output else ids

    @abstractmethod
    def cache_features(self, examples: Sequence[Example]) -> CachedFeatures:
        """Compute once what does not depend on a word."""

    @abstractmethod
    def draw_batch(
        self, concepts: Sequence[str], features: CachedFeatures, streams: Sequence[torch.Generator], batch: int
    ) -> dict[str, Tensor]:
        """Draw what a step learns from: for each word `batch` images, from its own stream; the first axis is `word`."""

    @abstractmethod
    def losses(self, vectors: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Table 1: the loss of each word (word,) on a batch of `draw_batch`; `vectors` is (word, vector, d)."""

    @abstractmethod
    def evaluate(
        self, vectors: Tensor, concepts: Sequence[str], names: dict[str, str], features: CachedFeatures, seed: int = 0
    ) -> list[Score]:
        """Table 1: the metric of each word. `names` gives the prompt name of each of the dataset's concepts."""


def draw(indices: Tensor, count: int, stream: torch.Generator) -> Tensor:
    """`count` of the indices, with replacement, from the word's own stream."""
    return indices[torch.randint(len(indices), (count,), generator=stream)]


def clip_vocabulary(tokenizer: CLIPTokenizer, context: int, seen: frozenset[str] | None = None) -> Vocabulary:
    """A transformers CLIP tokenizer as a `Vocabulary`, padded with the tokenizer's own padding.

    Raises ValueError if whole words are missing, as without files, or the end of text is not the largest id.
    """
    entries, end = tokenizer.get_vocab(), tokenizer.eos_token_id
    if "a</w>" not in entries or end != max(entries.values()):
        advice = "put the model's own vocab.json and merges.txt there, or its tokenizer.json"
        raise ValueError(f"The tokenizer in {tokenizer.name_or_path} is not CLIP's; {advice}.")

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    return Vocabulary(entries, encode, tokenizer.bos_token_id, end, context, seen, tokenizer.pad_token_id)
