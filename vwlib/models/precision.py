"""The precision of the generator's matrix products: "auto" is bfloat16 on a machine that is clearly faster in it.

Some processors have instructions for bfloat16; on others torch imitates them and is forty times as slow. No name tells
the two apart, so products of the model's own size are timed, once on a machine.
"""

from __future__ import annotations

import hashlib
import json
import platform
import timeit
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vwlib.files import read_json, write_whole
from vwlib.paths import CACHE, ROOT

if TYPE_CHECKING:
    import torch

    from vwlib.settings import GeneratorSettings

CLEARLY = 1.5  # times as fast; converting to bfloat16 and back costs some of the gain
MOST = 2**28  # multiplications of a product; a larger one tells no more and takes seconds
USUAL_WIDTH = 320  # of a denoiser whose folder does not say it


class Speeds(NamedTuple):
    """Milliseconds of a product of (rows, width) and (width, 4 width) in each precision."""

    rows: int
    width: int
    float32: float
    bfloat16: float

    @property
    def precision(self) -> str:
        """The precision that "auto" means where this was measured."""
        return "bfloat16" if self.float32 > CLEARLY * self.bfloat16 else "float32"


def precision_of(settings: GeneratorSettings, device: str) -> str:
    """The precision of a generator on a device such as "cpu": that of its settings or, for "auto", the faster one."""
    return settings.precision if settings.precision != "auto" else speeds_of(settings, device).precision


def speeds_of(settings: GeneratorSettings, device: str) -> Speeds:
    """The measurement that decides "auto" for a generator: a batch's positions, and the denoiser's widest block."""
    width = USUAL_WIDTH
    with suppress(OSError, ValueError, KeyError, TypeError):  # loading the model says what is wrong
        width = int(max(read_json((ROOT / settings.source).resolve() / "unet/config.json")["block_out_channels"]))
    return measure(device, min(64 * (settings.image_size // 8) ** 2, MOST // (4 * width**2)), width)


def autocast(device: str, precision: str) -> torch.autocast:
    """The context in which matrix products are computed in a precision."""
    import torch

    return torch.autocast(torch.device(device).type, getattr(torch, precision), enabled=precision != "float32")


@lru_cache
def measure(device: str, rows: int, width: int) -> Speeds:
    """Time both kinds of product, or read what was measured on this machine before.

    A busy moment must not change what a study computes in. Nothing is kept if the cache cannot be written to.
    """
    file = CACHE / "precision" / f"{_machine(device)}-{rows}x{width}.json"
    with suppress(OSError, ValueError, TypeError):
        return Speeds(**read_json(file))
    speeds = Speeds(rows, width, *(_milliseconds(device, rows, width, name) for name in ("float32", "bfloat16")))
    with suppress(OSError):
        write_whole(file, (json.dumps(speeds._asdict()) + "\n").encode())
    return speeds


def _milliseconds(device: str, rows: int, width: int, precision: str) -> float:
    """The fastest of five products, after one to warm up: other work on the machine only makes a product slower."""
    import torch

    numbers = {"dtype": getattr(torch, precision), "device": device}
    left, right = torch.ones(rows, width, **numbers), torch.ones(width, 4 * width, **numbers)

    def product() -> None:
        _ = left @ right
        if left.is_cuda:
            torch.cuda.synchronize(left.device)

    return round(1000 * min(timeit.repeat(product, number=1, repeat=6)[1:]), 4)


def _machine(device: str) -> str:
    """A short name for what decides the speed: device, instructions and torch's version. A cache may be copied."""
    name = f"{platform.machine()} {platform.processor()}"
    if device.startswith("cuda"):
        import torch

        name = torch.cuda.get_device_name(device)
    elif (file := Path("/proc/cpuinfo")).exists():
        lines = {line for line in file.read_text().splitlines() if line.startswith(("model name", "flags", "Features"))}
        name += "".join(sorted(lines))
    return hashlib.sha256(f"{device} {name} {version('torch')}".encode()).hexdigest()[:12]
