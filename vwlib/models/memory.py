"""Where models compute: the device that a profile names, and how much fits into its memory at once.

Models and cached features are on the device. Word vectors, word tables, maps and scores are on the CPU between
functions. Random numbers are drawn there too, so a seed means the same noise on every device.
"""

from collections.abc import Callable
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
        raise ValueError(f"The device is '{name}', but torch finds {count} CUDA devices; choose 'auto' or 'cpu'.")
    return device


class MemoryBudget:
    """How many items of each kind of work fit into a device's memory at once.

    On a GPU the first item is measured, and the batch size follows from the free memory. A batch that still runs out
    of memory is computed again in halves. On the CPU torch does not say when memory runs out, so a batch is as large
    as permitted.
    """

    USED = 0.8  # of the free memory; the rest is for what the measured item did not show

    def __init__(self, device: torch.device) -> None:
        self.device, self.is_gpu = device, device.type == "cuda"
        self.sizes: dict[str, int] = {}  # items that fit, by the kind of work

    def map_in_batches(self, kind: str, count: int, work: Callable[[slice], T], most: int | None = None) -> list[T]:
        """`work(slice)` for batches of `count` items, in order; a batch has as many items as fit, at most `most`.

        `work` must leave nothing behind when it fails, since it is then called again. Raises MemoryError where not even
        one item fits.
        """
        most, results, start = most or count, list[T](), 0
        while start < count:
            size = self.sizes.get(kind, 1 if self.is_gpu else most)
            batch = slice(start, min(start + min(size, most), count))
            try:
                results.append(self._measured(kind, batch, work))
                start = batch.stop
                continue
            except torch.OutOfMemoryError as error:
                if batch.stop - batch.start == 1:
                    problem = f"The memory of {self.device} is too small for {kind}, even for one at a time"
                    advice = "another GPU, a smaller batch or image size, half precision or `recompute` takes less"
                    raise MemoryError(f"{problem}; {advice}.") from error
            # Only here, with the exception gone, is the memory of the failed attempt free.
            self.sizes[kind] = (batch.stop - batch.start) // 2
            if self.is_gpu:
                torch.cuda.empty_cache()
        return results

    def _measured(self, kind: str, batch: slice, work: Callable[[slice], T]) -> T:
        """The result of a batch; on a GPU the first one of its kind tells how many items fit."""
        if not self.is_gpu or kind in self.sizes:
            return work(batch)
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        result = work(batch)
        each = (torch.cuda.max_memory_allocated(self.device) - before) / (batch.stop - batch.start)
        self.sizes[kind] = max(1, int(self.USED * self.free() / max(each, 1)))
        return result

    def free(self) -> int:
        """Free bytes of a CUDA device, with those that torch has reserved and does not use."""
        reserved = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return torch.cuda.mem_get_info(self.device)[0] + reserved

    def place(self, tensors: dict[str, Tensor], share: float = 0.25) -> dict[str, Tensor]:
        """The tensors on the device if they take at most a `share` of its free memory, else on the CPU."""
        size = sum(tensor.nbytes for tensor in tensors.values())
        target = torch.device("cpu") if self.is_gpu and size > share * self.free() else self.device
        return {key: tensor.to(target) for key, tensor in tensors.items()}
