"""Where models compute: the device that a profile names, and how much fits into its memory at once.

Frozen models and what they made of images are on the device. Word vectors, word tables, transfer maps and scores are
small or wanted in float64, and are on the CPU wherever one function hands them to another; random numbers are drawn
there too, so that the same seed means the same noise on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def find_device(name: str) -> torch.device:
    """The device that a profile's `device` means; "auto" is a CUDA device where torch finds one, else the CPU.

    Raises ValueError for a CUDA device that torch does not find.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = torch.device(("cuda" if count else "cpu") if name == "auto" else name)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ValueError(
            f"The profile's device is '{name}', but torch finds {count} CUDA devices here; choose 'auto' or 'cpu'."
        )
    return device


#: What to do where not even one thing fits, by settings of a profile.
REMEDY = "another GPU, a smaller batch or image size, half precision or `recompute` for the generator takes less"


class Room:
    """How many things at once fit into a device's memory: each kind of work is measured on one thing, and halved where
    memory runs out all the same.
    """

    USED = 0.8  # of the free memory; the rest is for what the measured thing did not show

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.fitting: dict[str, int] = {}  # how many things fitted, by the kind of work

    def parts(self, kind: str, count: int, work: Callable[[slice], T], most: int | None = None) -> list[T]:
        """What `work` gives for each part of `count` things, in order; a part has as many things as fit, at most
        `most`.

        A part for which memory runs out is computed again, in halves, so `work` must leave nothing behind when it
        fails. What fitted is remembered under `kind`. On the CPU a part is as large as permitted: there torch does not
        say when memory runs out.
        Raises MemoryError where not even one thing fits.
        """
        most, results = most or count, list[T]()
        start = 0
        while start < count:
            size = self.fitting.get(kind, 1 if self.device.type == "cuda" else most)
            part = slice(start, min(start + min(size, most), count))
            done = self._try(kind, part, work)
            start = part.stop if done else start
            results += done
        return results

    def _try(self, kind: str, part: slice, work: Callable[[slice], T]) -> list[T]:
        """The result of one part, or none where memory ran out."""
        try:
            return [
                work(part) if kind in self.fitting or self.device.type != "cuda" else self._measured(kind, part, work)
            ]
        except torch.OutOfMemoryError as error:
            if part.stop - part.start == 1:
                raise MemoryError(
                    f"The memory of {self.device} is too small for {kind}, even for one at a time; {REMEDY}."
                ) from error
        # Only here, with the exception gone, is the memory of the failed attempt free.
        self.fitting[kind] = (part.stop - part.start) // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return []

    def _measured(self, kind: str, part: slice, work: Callable[[slice], T]) -> T:
        """Do the work, and from what it took estimate how many things fit."""
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        result = work(part)
        each = (torch.cuda.max_memory_allocated(self.device) - before) / (part.stop - part.start)
        self.fitting[kind] = max(1, int(self.USED * self.free() / max(each, 1)))
        return result

    def free(self) -> int:
        """Bytes of a CUDA device that are free, those included that torch holds and does not use."""
        held = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return torch.cuda.mem_get_info(self.device)[0] + held

    def keep(self, tensors: dict[str, Tensor], share: float = 0.25) -> dict[str, Tensor]:
        """The tensors on the device, if all of them take at most a `share` of its free memory, else on the CPU."""
        size = sum(tensor.nbytes for tensor in tensors.values())
        place = torch.device("cpu") if self.device.type == "cuda" and size > share * self.free() else self.device
        return {key: tensor.to(place) for key, tensor in tensors.items()}


class OnDevice:
    """What computes on the device on which its weights are."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        raise AttributeError("an adapter knows its own weights")

    @cached_property
    def room(self) -> Room:
        """How much of each kind of work fits there at once."""
        return Room(self.device)
