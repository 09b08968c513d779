"""The precision of the generator's matrix products: "auto" is bfloat16 on a machine with instructions for it.

With them a product is several times as fast as in float32. Without them torch imitates bfloat16, forty times as slow.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from vwlib.settings import GeneratorSettings

#: What /proc/cpuinfo calls the instructions, on x86 and on ARM.
INSTRUCTIONS = {"amx_bf16", "avx512_bf16", "bf16"}


def precision_of(settings: GeneratorSettings, device: str) -> str:
    """The precision of a generator on a device such as "cpu": that of its settings or, for "auto", the faster one."""
    return settings.precision if settings.precision != "auto" else faster_precision(device)


@lru_cache
def faster_precision(device: str) -> str:
    """bfloat16 if the device has instructions for it, else float32."""
    if device.startswith("cuda"):
        import torch

        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    with suppress(OSError):
        return "bfloat16" if INSTRUCTIONS & set(Path("/proc/cpuinfo").read_text().split()) else "float32"
    return "float32"


def autocast(device: str, precision: str) -> torch.autocast:
    """The context in which matrix products are computed in a precision."""
    import torch

    return torch.autocast(torch.device(device).type, getattr(torch, precision), enabled=precision != "float32")
