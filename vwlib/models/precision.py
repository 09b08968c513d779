"""Which numbers the generator's matrix products are computed in: "auto" is float32, unless the machine is clearly
faster in bfloat16.

Some processors have instructions for bfloat16 products and are several times as fast in them; on others torch imitates
them and is forty times as slow. No name of a processor tells the two apart, so products of the model's own size are
timed, once on a machine.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from vwlib.files import write_whole
from vwlib.paths import CACHE, ROOT

if TYPE_CHECKING:
    import torch

    from vwlib.settings import GeneratorSettings

#: bfloat16 is chosen where its products are at least so many times as fast: converting to it and back takes some of the
#: gain.
CLEARLY = 1.5
#: A product of more multiplications would tell no more, and take a processor seconds.
MOST = 2**28
#: The width of a denoiser whose folder does not say it.
USUAL_WIDTH = 320
#: About as wide as the models that the project trains.
TRAINED_WIDTH = 192


@dataclass(frozen=True)
class Speeds:
    """Milliseconds of one product in each of the two precisions, of `rows` × `width` numbers with `width` × 4 `width`,
    as in a feed-forward layer.
    """

    rows: int
    width: int
    float32: float
    bfloat16: float

    @property
    def precision(self) -> str:
        """The precision that "auto" means where this was measured."""
        return "bfloat16" if self.float32 > CLEARLY * self.bfloat16 else "float32"

    def __str__(self) -> str:
        product = f"({self.rows} × {self.width}) · ({self.width} × {4 * self.width})"
        return f"{self.precision}: a product {product} takes {self.float32:.2g} ms in float32 and {self.bfloat16:.2g} ms in bfloat16"


def precision_of(settings: GeneratorSettings, device: str) -> str:
    """The precision in which a generator computes on a device such as "cpu": the one that its settings name or, for
    "auto", the faster one there.
    """
    return settings.precision if settings.precision != "auto" else speeds_of(settings, device).precision


def speeds_of(settings: GeneratorSettings, device: str) -> Speeds:
    """What "auto" is decided on for a generator."""
    return measure(device, *_product(settings.source, settings.image_size))


def autocast(device: str, precision: str) -> torch.autocast:
    """The context in which matrix products are computed in a precision."""
    import torch

    return torch.autocast(torch.device(device).type, getattr(torch, precision), enabled=precision != "float32")


def training_autocast() -> torch.autocast:
    """The same for training the miniature's models on a processor: in bfloat16 where that is clearly faster."""
    return autocast("cpu", measure("cpu", MOST // (4 * TRAINED_WIDTH**2), TRAINED_WIDTH).precision)


@lru_cache
def _product(source: str, image_size: int) -> tuple[int, int]:
    """Rows and width of the product that decides: as many places as a batch of pictures has, and as wide as the
    denoiser's widest block.
    """
    file, width = (ROOT / source).resolve() / "unet" / "config.json", USUAL_WIDTH
    with suppress(
        OSError, ValueError, KeyError, TypeError
    ):  # another kind of model, or none yet: loading it says what is wrong
        width = int(max(json.loads(file.read_text())["block_out_channels"]))
    return min(64 * (image_size // 8) ** 2, MOST // (4 * width**2)), width


@lru_cache
def measure(device: str, rows: int, width: int) -> Speeds:
    """Time the two kinds of product, or read what was measured on this machine before: a busy moment must not change
    what a study computes in.

    Nothing is kept where the cache cannot be written to.
    """
    file = CACHE / "precision" / f"{_machine(device)}-{rows}x{width}.json"
    with suppress(OSError, ValueError, TypeError):
        return Speeds(**json.loads(file.read_text()))
    found = Speeds(rows, width, *(_milliseconds(device, rows, width, name) for name in ("float32", "bfloat16")))
    with suppress(OSError):
        write_whole(file, (json.dumps(asdict(found)) + "\n").encode())
    return found


def _milliseconds(device: str, rows: int, width: int, precision: str, repeats: int = 5) -> float:
    """The fastest of some products, after one that does not count: what else the machine does can only make one slower."""
    import torch

    options = {"dtype": getattr(torch, precision), "device": device}
    left, right = torch.ones(rows, width, **options), torch.ones(width, 4 * width, **options)
    times = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        _ = left @ right
        if left.is_cuda:
            torch.cuda.synchronize(left.device)
        times.append(time.perf_counter() - start)
    return round(1000 * min(times[1:]), 4)


@lru_cache
def _machine(device: str) -> str:
    """A short name for what decides the speed: device, instructions and torch's version. A cache folder may be carried
    to another machine.
    """
    if device.startswith("cuda"):
        import torch

        name = torch.cuda.get_device_name(device)
    else:
        name = f"{platform.machine()} {platform.processor()}"
        with suppress(OSError):
            lines = Path("/proc/cpuinfo").read_text().splitlines()
            name += "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return hashlib.sha256(f"{device} {name} {version('torch')}".encode()).hexdigest()[:12]
