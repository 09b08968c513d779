"""The precision of the generator's matrix products: "auto" is float32, or bfloat16 where that is clearly faster.

Some processors have instructions for bfloat16 products and are several times as fast in them; on others torch imitates
them and is forty times as slow. So a product of the model's own size is timed, once on a machine.
"""

from __future__ import annotations

import json
import platform
import re
import timeit
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vwlib.files import read_json, write_whole
from vwlib.paths import CACHE, ROOT
from vwlib.settings import GeneratorSettings

if TYPE_CHECKING:
    import torch


CLEARLY = 1.5  # times as fast; converting to bfloat16 and back takes some of the gain
MOST = 2**28  # multiplications of a product; more would tell no more, and take a processor seconds
USUAL_WIDTH = 320  # of a denoiser whose folder does not say it


class Speeds(NamedTuple):
    """Milliseconds that a product takes in each of two precisions."""

    float32: float
    bfloat16: float

    @property
    def faster(self) -> str:
        """bfloat16 if it is clearly faster, else float32."""
        return "bfloat16" if self.float32 > CLEARLY * self.bfloat16 else "float32"


def precision_of(settings: GeneratorSettings, device: str) -> str:
    """The precision of a generator on a device such as "cpu": that of its settings or, for "auto", the faster one."""
    return settings.precision if settings.precision != "auto" else speeds_of(settings, device).faster


def speeds_of(settings: GeneratorSettings, device: str) -> Speeds:
    """The speeds of a product of the generator's own size on a device."""
    return _measured(device, settings.source, settings.image_size)


@lru_cache
def _measured(device: str, source: str, image_size: int) -> Speeds:
    """Time a product (rows, width) · (width, 4 width), as in a feed-forward layer, or read what was measured before.

    It is as wide as the denoiser's widest block, with a row for each place in 64 latents. A busy moment must not change
    what a study computes in. Nothing is kept where the cache cannot be written to.
    """
    width = USUAL_WIDTH
    with suppress(ValueError, KeyError, TypeError):  # another kind of model, or none yet: loading it says what is wrong
        width = int(max(read_json(ROOT / source / "unet" / "config.json")["block_out_channels"]))
    rows = min(64 * (image_size // 8) ** 2, MOST // (4 * width**2))
    file = CACHE / "precision" / f"{_machine(device)}-{rows}x{width}.json"
    with suppress(ValueError, TypeError):
        return Speeds(**read_json(file))
    speeds = Speeds(*(_milliseconds(device, rows, width, name) for name in ("float32", "bfloat16")))
    with suppress(OSError):
        write_whole(file, json.dumps(speeds._asdict()).encode())
    return speeds


def _milliseconds(device: str, rows: int, width: int, precision: str) -> float:
    """The fastest of five products after a first one: whatever else the machine does only makes a product slower."""
    import torch

    options = {"dtype": getattr(torch, precision), "device": device}
    left, right = torch.ones(rows, width, **options), torch.ones(width, 4 * width, **options)
    seconds = timeit.repeat(lambda: (left @ right)[0, 0].item(), number=1, repeat=6)  # `item` waits for a GPU
    return round(1000 * min(seconds[1:]), 4)


def _machine(device: str) -> str:
    """A short name for what decides the speed, since a cache folder may be carried to another machine."""
    if device.startswith("cuda"):
        import torch

        name = torch.cuda.get_device_name(device)
    else:
        cpu = Path("/proc/cpuinfo")
        lines = re.findall(r"^(?:model name|flags|Features).*", cpu.read_text() if cpu.exists() else "", re.MULTILINE)
        name = platform.machine() + "".join(sorted(set(lines)))
    return sha256(f"{device} {name} {version('torch')}".encode()).hexdigest()[:12]


def autocast(device: str, precision: str) -> torch.autocast:
    """The context in which matrix products are computed in a precision."""
    import torch

    return torch.autocast(torch.device(device).type, getattr(torch, precision), enabled=precision != "float32")
