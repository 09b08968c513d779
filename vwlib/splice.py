"""Section 3: word vectors in a text encoder, by prompts with placeholders and one forward hook for all models.

The vocabulary is never extended: OWL-v2 and open_clip pool at the largest id, so an appended id would move the pool.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: The id that stands for a word's vectors: CLIP's entry for the byte 0, which no prompt holds.
PLACEHOLDER = 188


@dataclass(frozen=True)
class Vocabulary:
    """A model's view of CLIP's byte-pair vocabulary.

    `entries` maps every token to its id. `encode` turns text into ids without start and end. `context` is the longest
    prompt in tokens. `seen` has the words that the model met in training, or is None if they are unknown (models of the
    hub).
    """

    entries: dict[str, int]
    encode: Callable[[str], list[int]]
    start: int
    end: int
    context: int
    seen: frozenset[str] | None = None
    pad: int = 0

    def words(self) -> dict[str, int]:
        """The whole words that are single tokens, with their ids; only those met in training, if these are known.

        CLIP lower-cases text and encodes non-ASCII bytes as letters, so entries with capitals or non-ASCII letters are
        word fragments.
        """
        whole = {entry.removesuffix("</w>"): index for entry, index in self.entries.items() if entry.endswith("</w>")}
        words = {word: index for word, index in whole.items() if word.isascii() and word.isalpha() and word.islower()}
        return words if self.seen is None else {word: index for word, index in words.items() if word in self.seen}

    def token_of(self, word: str) -> int:
        """The id of a single-token word. Raises ValueError for several tokens, and for a word never met in training."""
        tokens = self.encode(word)
        if len(tokens) != 1:
            raise ValueError(f"'{word}' is {len(tokens)} tokens here; an anchor word must be a single token.")
        if self.seen is not None and word not in self.seen:
            raise ValueError(f"The model never met the word '{word}' in training; choose another anchor word.")
        return tokens[0]

    def prompt(self, text: str, vectors: int = 0) -> Tensor:
        """Token ids (token,) of a prompt; `{}` becomes `vectors` placeholders.

        Raises ValueError for a prompt that is longer than the model's context.
        """
        before, brace, after = text.partition("{}")
        tokens = [*self.encode(before), *([PLACEHOLDER] * vectors if brace else []), *self.encode(after)]
        if len(tokens) + 2 > self.context:
            word = f" with a word of {vectors} vectors" if brace else ""
            length = f"{len(tokens) + 2} tokens long; the model reads {self.context}"
            raise ValueError(f"The prompt '{text}'{word} is {length}.")
        ids = [self.start, *tokens, self.end]
        return torch.tensor(ids + [self.pad] * (self.context - len(ids)))

    def prompts(self, texts: list[str]) -> Tensor:
        """Token ids (prompt, token) of plain prompts."""
        return torch.stack([self.prompt(text) for text in texts])


def place_vectors(ids: Tensor, embedded: Tensor, vectors: Tensor) -> Tensor:
    """Replace the embedding of each row's j-th placeholder by the row's j-th vector.

    `ids` (prompt, token), `embedded` (prompt, token, d), `vectors` (prompt, vector, d) -> (prompt, token, d).
    """
    is_placeholder = ids == PLACEHOLDER
    which = (is_placeholder.cumsum(-1) - 1).clamp(min=0, max=vectors.shape[1] - 1)
    placed = vectors.gather(1, which[..., None].expand(-1, -1, vectors.shape[-1]))
    return torch.where(is_placeholder[..., None], placed.to(embedded.dtype), embedded)


@contextmanager
def spliced(table: nn.Embedding, vectors: Tensor) -> Iterator[None]:
    """Within the block, the word table gives `vectors` (prompt, vector, d) for placeholders.

    The table is neither changed nor copied, and gradients reach `vectors` only:

    >>> with spliced(text_encoder.get_input_embeddings(), vectors):
    ...     states = text_encoder(ids).last_hidden_state
    """
    hook = table.register_forward_hook(lambda _, inputs, output: place_vectors(inputs[0], output, vectors))
    try:
        yield
    finally:
        hook.remove()
