"""The models, and what a page was run with."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from safetensors import safe_open

from vwlib.book.text import fill
from vwlib.concepts import TASKS
from vwlib.ledger import paper
from vwlib.models.loading import resolve
from vwlib.paths import MINIATURE
from vwlib.settings import ModelSettings, Profile

if TYPE_CHECKING:
    from vwlib.models.base import TaskModel


def describe_models(models: Mapping[str, TaskModel]) -> pd.DataFrame:
    """The models by task, and the generator's judge, each beside the paper's: one row a model."""
    from vwlib.models.generation import Generator  # takes seconds to import, and most pages load no model

    generator = models["generation"]
    judges = {"judge": generator.judge} if isinstance(generator, Generator) else {}
    rows = {}
    for role, model in {**models, **judges}.items():
        name, width, blocks, pixels = paper.MODELS[role]
        parameters = sum(p.numel() for module in model.modules for p in module.parameters())
        rows[role] = {
            "model in the paper": name,
            "class here": type(getattr(model, "pipeline", model.modules[0])).__name__,
            "parameters here (M)": f"{parameters / 1e6:.1f}",
            "d in the paper": width,
            "d here": model.table.embedding_dim,
            "text blocks in the paper": blocks,
            "text blocks here": len(model.blocks),
            "image in the paper (px)": pixels,
            "image here (px)": model.image_size,
            "words known here": len(model.vocabulary.words()),
        }
    return pd.DataFrame(rows).T


#: What each figure of quality.json says, and of how many things it is the share.
_MEASURES = {
    ("classifier", "ten_way"): ("names a test image among its dataset's ten concepts", "concept_images", "images"),
    ("classifier", "all_nouns"): ("names a new picture among all drawn nouns", "noun_images", "images"),
    ("detector", "ap50"): ("average precision of ten concept names, IoU 0.50", "images", "scenes"),
    ("detector", "map"): ("average precision of ten concept names, IoU 0.50 to 0.95", "images", "scenes"),
    ("generator", "ten_way"): ("judge names the drawn concept among its dataset's ten", "concept_images", "images"),
    ("generator", "all_nouns"): ("judge names the drawn concept among all nouns", "concept_images", "images"),
    ("judge", "ten_way"): ("names a test image among its dataset's ten concepts", "concept_images", "images"),
}


def quality_table(path: Path = MINIATURE / "quality.json") -> pd.DataFrame:
    """How good the miniature's models are with ordinary words, from `quality.json`."""
    quality = json.loads(path.read_text()) if path.exists() else {}
    rows = []
    for (model, figure), (measure, count, unit) in _MEASURES.items():
        measured = quality.get(model, {})
        value = f"{measured[figure]:.3f}" if figure in measured else "not measured"
        n = measured.get("counts", {}).get(count)
        rows.append((model, measure, value, f"{n:,} {unit}" if n else "–"))
    return pd.DataFrame(rows, columns=["model", "measure", "value", "measured on"]).set_index("model")


def describe_run(profile: Profile, learning: bool = True) -> str:
    """A notice of how models, images and, with `learning`, learning and scoring differ from the paper's."""
    steps = list(dict.fromkeys(f"{profile.learning[task].steps:,}" for task in TASKS))
    sizes = [count_parameters(profile.models[task]) / 1e6 for task in TASKS] if profile.name != "paper" else []
    return fill("run", profile=profile, millions=sizes, steps=steps, learning=learning)


def count_parameters(settings: ModelSettings) -> int:
    """The numbers in the weights of a model's folder, from the heads of its files."""
    total = 0
    for path in resolve(settings.source).rglob("*.safetensors"):
        with safe_open(path, "np") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return total


def provenance(profile: Profile, **settings: object) -> pd.DataFrame:
    """What a page was run with: the profile, the page's own settings, optimisation steps, and versions, in one row."""
    packages = ("vwlib", "torch", "diffusers", "transformers", "open_clip_torch")
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)]
    plain = {
        name: ", ".join(map(str, value)) or "the profile's" if isinstance(value, list | tuple) else value
        for name, value in settings.items()
    }
    row = {"profile": profile.name, **plain}
    row["steps"] = ", ".join(f"{task} {profile.learning[task].steps}" for task in TASKS)
    row |= {"versions": ", ".join(versions), "processor": f"{platform.system()} {platform.machine()}"}
    return pd.DataFrame([row])
