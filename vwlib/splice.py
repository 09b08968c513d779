"""Section 3: word vectors in a text encoder, by prompts with placeholders and one forward hook for all models.

The vocabulary is never extended: OWL-v2 and open_clip pool at the largest id, so an appended id would move the pool.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
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


@contextmanager
def beginning_encoded_once(blocks: nn.ModuleList, length: int) -> Iterator[None]:
    """Within the block, runs of a text encoder take over what the prompts' first `length` tokens became in the first.

    All prompts must begin alike. Attention is causal, so nothing that follows reaches their beginning, and only the
    other tokens go through the `blocks`. While these run, and only then, a function takes the place of torch's
    attention. An encoder that attends by other means reads whole prompts every time.
    """
    usual = F.scaled_dot_product_attention
    pairs, ends = list[tuple[Tensor, Tensor]](), list[Tensor]()  # keys and values of each block; what the last one gave
    turn = iter(pairs)

    def attend(query: Tensor, *pair: Tensor, **options: Any) -> Tensor:
        key, value, *more = pair
        if not ends:
            pairs.append((key[:1, :, :length].detach(), value[:1, :, :length].detach()))
            return usual(query, key, value, *more, **options)
        first = (tensor.expand(len(query), -1, -1, -1) for tensor in next(turn))
        key, value = (torch.cat(both, dim=2) for both in zip(first, (key, value), strict=True))
        causal = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril(length)
        return usual(query, key, value, attn_mask=causal, scale=options.get("scale"))

    def enter(block: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        nonlocal turn
        if block is blocks[0]:
            F.scaled_dot_product_attention, turn = attend, iter(pairs)
            inputs = (inputs[0][:, length * len(ends) :], *inputs[1:])
        if ends and options.get("attn_mask") is not None:  # open_clip's; its size is checked, though it is not used
            options = options | {"attn_mask": options["attn_mask"][length:, length:]}
        return inputs, options

    def leave(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        F.scaled_dot_product_attention = usual
        if ends:
            return torch.cat([ends[0].expand(len(output), -1, -1), output], dim=1)
        if len(pairs) == len(blocks):
            ends.append(output[:1, :length].detach())
        pairs[:] = pairs if ends else []
        return output

    with ExitStack() as stack:
        stack.callback(setattr, F, "scaled_dot_product_attention", usual)
        for block in blocks:
            stack.enter_context(block.register_forward_pre_hook(enter, with_kwargs=True))
        stack.enter_context(blocks[-1].register_forward_hook(leave))
        yield
