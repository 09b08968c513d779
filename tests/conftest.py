"""Fixtures that many tests share."""

import pytest

from vwlib.datasets.splits import open_lab
from vwlib.settings import load_profile


@pytest.fixture(scope="session")
def lab():
    """The smoke profile's models, images and features, loaded once for all tests that only read them."""
    return open_lab(load_profile("smoke"))


@pytest.fixture(scope="session")
def precise_lab():
    """The same with a denoiser in float32, for tests that compare words number by number.

    In half precision Adam makes whole steps of what rounding leaves of a gradient near zero.
    """
    generator = load_profile("smoke").generator.model_copy(update={"precision": "float32"})
    return open_lab(load_profile("smoke", generator=generator))
