"""A GPU that is none: tensors put there stay in the CPU's memory, are told apart, and may not meet others.

With no GPU at hand this is how the tests prove that no tensor is left behind on the wrong device, and with the CPU's
own numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
INDEXING = ("__getitem__", "__setitem__")


def place_of(tensor: Tensor) -> torch.device:
    return getattr(tensor, "pretended_place", CPU)


def put(tensor: Tensor, place: torch.device) -> Tensor:
    tensor.pretended_place = place
    return tensor


class PretendedGpu(TorchFunctionMode):
    """Within the block `.to("cuda")` and `device="cuda"` mark tensors, and a function whose tensors are not all in one
    place raises.

    As in torch, the CPU's numbers (tensors without axes) may take part anywhere, its indices may index any tensor, as
    may a number of the GPU, and `copy_` copies from anywhere.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), function.__name__
        if name == "__get__" and function.__self__.__name__ == "device":
            return place_of(args[0])
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name in ("to", "cpu", "cuda") and tensors:
            return self._moved(function, name, args, kwargs)
        if name in ("numpy", "__array__") and place_of(args[0]) == GPU:
            raise RuntimeError("A tensor of the GPU is read as an array.")
        if kwargs.get("device") is not None:
            place = torch.device(kwargs.pop("device"))
            if place.type == "cuda" and kwargs.get("generator") is not None:
                raise RuntimeError("A generator of the CPU draws for the GPU.")
        else:
            place = self._common(name, args, tensors)
        return tree_map_only(Tensor, lambda tensor: put(tensor, place), function(*args, **kwargs))

    def _moved(self, function: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Tensor:
        tensor, *rest = args
        asked = {"cpu": CPU, "cuda": GPU}.get(name, kwargs.pop("device", None))
        for thing in rest:
            asked = (
                place_of(thing)
                if isinstance(thing, Tensor)
                else torch.device(thing)
                if isinstance(thing, str | torch.device)
                else asked
            )
        rest = [thing for thing in rest if not isinstance(thing, str | torch.device)]
        place = place_of(tensor) if asked is None else GPU if torch.device(asked).type == "cuda" else CPU
        moved = function(tensor, *rest, **kwargs) if name == "to" and (rest or kwargs) else tensor
        return put(moved.clone() if moved is tensor and place != place_of(tensor) else moved, place)

    def _common(self, name: str, args: Any, tensors: list[Tensor]) -> torch.device:
        if name == "copy_":
            return place_of(args[0])
        if name in INDEXING:
            indices = [
                leaf
                for leaf in tree_leaves(args[1])
                if isinstance(leaf, Tensor) and leaf.ndim and place_of(leaf) == GPU
            ]
            tensors = [args[0], *indices, *(leaf for leaf in tree_leaves(args[2:]) if isinstance(leaf, Tensor))]
        places = {place_of(tensor) for tensor in tensors if tensor.ndim or place_of(tensor) == GPU}
        if len(places) > 1:
            raise RuntimeError(f"{name} meets tensors of the CPU and of the GPU.")
        return places.pop() if places else CPU


@contextmanager
def on_pretended_gpu(*modules: nn.Module) -> Iterator[None]:
    """Within the block the weights of the modules are there."""
    weights = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    for tensor in weights:
        put(tensor, GPU)
    try:
        with PretendedGpu():
            yield
    finally:
        for tensor in weights:
            put(tensor, CPU)
