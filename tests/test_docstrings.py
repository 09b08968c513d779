"""The examples in docstrings run, on the miniature's models."""

import doctest
import importlib

import pytest
import torch

from vwlib.datasets.splits import open_lab
from vwlib.paths import ROOT
from vwlib.settings import load_profile
from vwlib.splice import PLACEHOLDER

FILES = [path for path in sorted((ROOT / "vwlib").rglob("*.py")) if ">>> " in path.read_text()]


@pytest.fixture(scope="module")
def names():
    """What the examples take as given."""
    lab = open_lab(load_profile("smoke"))
    model = lab.generator
    given = {"concepts": ["dog"], "names": lab.split("COCO").names, "ids": torch.tensor([[PLACEHOLDER] * 4])}
    given |= {"vectors": model.embeddings_of(["dog"], 4), "features": lab.features("generation", "COCO", "test")}
    return given | {"torch": torch, "model": model, "text_encoder": model.pipeline.text_encoder}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_examples_run(file, names):
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    result = doctest.testmod(importlib.import_module(module), extraglobs=names)
    assert result.attempted and not result.failed
