"""The profile of tests that compare learned words number by number."""

from __future__ import annotations

from typing import Any

from vwlib.settings import Profile, load_profile


def in_full_precision(name: str = "smoke", **changes: Any) -> Profile:
    """A profile whose denoiser computes in float32: Adam makes whole steps of what half precision rounds off a gradient
    near zero.
    """
    generator = load_profile(name).generator.model_copy(update={"precision": "float32"})
    return load_profile(name, generator=generator, **changes)
