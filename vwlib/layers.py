"""Section 5.2: where in a text encoder a word acts, by hidden states, by truncation and by what each block adds.

Layers are counted as in the paper: layer 0 is the embedding before the first block, layer N the output of the N-th
block. An encoder that is cut to its first N blocks ends with layer N.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vwlib.models.base import TaskModel


@contextmanager
def record_hidden_states(model: TaskModel, modules: Sequence[nn.Module] | None = None) -> Iterator[list[Tensor]]:
    """Section 5.2: record hidden states at the end of text, one tensor for each run of the text encoder in the block.

    A tensor is (layer, prompt, d), layer 0 first; with `modules` it is (module, prompt, d), the outputs of those. The
    end of text is the largest id, where transformers and open_clip pool; the generator pools nothing, and is recorded
    there all the same. Gradients are kept.

    >>> with torch.no_grad(), record_hidden_states(model) as runs:
    ...     states = model.encode_words(vectors)
    >>> embedding, *after_each_block = runs[0]
    """
    runs: list[Tensor] = []
    states: list[Tensor] = []
    end = torch.empty(0)

    def start(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal end
        end = inputs[0].argmax(-1)
        states.clear()

    def keep(output: Any) -> None:
        tensor = output[0] if isinstance(output, tuple) else output  # attention also returns its weights
        states.append(tensor[torch.arange(len(end), device=end.device), end])

    recorded = list(modules or model.blocks)
    hooks = [model.table.register_forward_pre_hook(start)]
    if modules is None:
        hooks.append(recorded[0].register_forward_pre_hook(lambda _, inputs: keep(inputs)))
    hooks += [module.register_forward_hook(lambda _, __, output: keep(output)) for module in recorded]
    hooks.append(recorded[-1].register_forward_hook(lambda *_: runs.append(torch.stack(states))))
    try:
        yield runs
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def hidden_states(
    model: TaskModel, vectors: Tensor, modules: Sequence[nn.Module] | None = None, at_once: int = 256
) -> Tensor:
    """Section 5.2: the end of text's hidden states (layer, word, d) for words (word, vector, d) in the model's prompt.

    There is one layer more than there are blocks. With `modules` the outputs of those (module, word, d). At most
    `at_once` words are in memory with all their tokens. Raises ValueError for vectors of another shape.
    """
    parts = []
    for part in vectors.split(at_once):
        with record_hidden_states(model, modules) as runs:
            model.encode_words(part)
        parts.append(runs[0].float().cpu())
    return torch.cat(parts, dim=1)


def block_contributions(model: TaskModel, vectors: Tensor, at_once: int = 256) -> Tensor:
    """What attention and MLP of each block add to the end of text's hidden state: (block, part, word, d).

    Attention comes first. With layer 0 of `hidden_states`, they sum to its last layer. Raises ValueError for vectors of
    another shape.
    """
    parts = [getattr(block, name) for block in model.blocks for name in model.block_parts]
    return hidden_states(model, vectors, parts, at_once).unflatten(0, (-1, len(model.block_parts)))


@contextmanager
def truncated(model: TaskModel, blocks: int) -> Iterator[None]:
    """Section 5.2 (figure 7): within the block, the text encoder uses only its first `blocks` blocks.

    Its final norm and projection stay. All texts go through the shortened encoder, also names and the empty prompt of
    guidance; the judge is another model and stays whole. Raises ValueError for a number of blocks that the encoder does
    not have.

    >>> with truncated(model, 4):
    ...     scores = model.evaluate(vectors, concepts, names, features)
    """
    if not 0 <= blocks <= len(model.blocks):
        whole = f"The text encoder of the {model.task} model has {len(model.blocks)} blocks"
        raise ValueError(f"{whole}; it cannot be cut to its first {blocks}.")
    # Skipped blocks stay in place and return their input: open_clip asks its first block for the precision, and
    # recording still sees every layer.
    skipped = [vars(block) for block in model.blocks[blocks:]]
    before = [{key: value for key, value in attributes.items() if key == "forward"} for attributes in skipped]
    for attributes in skipped:
        attributes["forward"] = lambda states, *_, **__: states
    try:
        yield
    finally:
        for attributes, usual in zip(skipped, before, strict=True):
            attributes.pop("forward")
            attributes.update(usual)
