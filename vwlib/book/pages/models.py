"""The models, and what a page was run with."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from vwlib.ledger import paper
from vwlib.models import TASKS, TaskModel, load_judge, load_model
from vwlib.paths import MINIATURE
from vwlib.settings import Profile

#: What the model of a task is called.
_ROLES = {"generation": "generator", "detection": "detector", "classification": "classifier"}


def describe_models(profile: Profile) -> pd.DataFrame:
    """The three models and the judge, each beside the paper's: one row a role, with the columns that `model_table`
    shows upright.
    """
    adapters: dict[str, TaskModel] = {task: load_model(task, profile) for task in TASKS} | {
        "judge": load_judge(profile)
    }
    rows = []
    for role, model in adapters.items():
        name, width, blocks, pixels = paper.MODELS[role]
        rows.append(
            {
                "role": role,
                "model in the paper": name,
                "class here": model.family,
                "parameters here (M)": sum(p.numel() for network in model.modules for p in network.parameters()) / 1e6,
                "d in the paper": width,
                "d here": model.word_table().shape[1],
                "text blocks in the paper": blocks,
                "text blocks here": len(model.blocks),
                "image in the paper (px)": pixels,
                "image here (px)": model.image_size,
                "words known here": len(model.vocabulary.words()),
            }
        )
    return pd.DataFrame(rows).set_index("role")


def model_table(description: pd.DataFrame) -> pd.DataFrame:
    """The description of the models with a column for each role."""
    shown = description.assign(**{"parameters here (M)": description["parameters here (M)"].map("{:.1f}".format)})
    return shown.astype(str).T.rename_axis("", axis=0).rename_axis(None, axis=1)


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
    """How good the miniature's models are with ordinary words, from `quality.json`; what it does not hold reads "not
    measured".
    """
    quality = json.loads(path.read_text()) if path.exists() else {}
    rows = []
    for (model, figure), (measure, count, unit) in _MEASURES.items():
        measured = quality.get(model, {})
        value, n = measured.get(figure), measured.get("counts", {}).get(count)
        rows.append(
            (model, measure, f"{value:.3f}" if value is not None else "not measured", f"{n:,} {unit}" if n else "–")
        )
    return pd.DataFrame(rows, columns=["model", "measure", "value", "measured on"]).set_index("model")


def describe_run(profile: Profile, learning: bool = True) -> str:
    """How a run with the profile differs from the paper's in models, images and, with `learning`, in how words are
    learned and scored.
    """
    others = "".join(f" An adapter loads the {_ROLES[task]}: {named}." for task, named in profile.adapters.items())
    if profile.name == "paper":
        return f"This page was run with the paper's {'' if others else 'models, '}datasets and settings.{others}"
    millions = describe_models(profile)["parameters here (M)"]
    sizes = "{:.1f}, {:.1f} and {:.1f}".format(*(millions[task] for task in TASKS))
    steps = list(dict.fromkeys(f"{profile.learning[task].steps:,}" for task in TASKS))
    pixels = profile.generator.image_size
    made = "" if others else ", trained by this project on generated scenes,"
    models = (
        f"This page was run with the profile '{profile.name}': a generator, a detector and a classifier of {sizes} million parameters{made} "
        f"stand for the paper's.{others} The generator draws {pixels} px instead of 768."
    )
    words = (
        f" Words are learned in {' or '.join(steps)} steps instead of 1,000, and scored on {profile.test_images} test images a concept "
        f"or on {profile.generator.images_per_word} pictures a word."
    )
    return models + words if learning else models


def provenance(profile: Profile, **settings: object) -> pd.DataFrame:
    """What a page was run with: the profile, the page's own settings, optimisation steps, and versions, in one row."""
    steps = ", ".join(f"{task} {profile.learning[task].steps}" for task in TASKS)
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("vwlib", "torch", "diffusers", "transformers", "open_clip_torch")
    )
    row = {"profile": profile.name, **{name: _plain(value) for name, value in settings.items()}, "steps": steps}
    return pd.DataFrame(
        [
            row
            | {
                "versions": f"Python {platform.python_version()}, {packages}",
                "processor": f"{platform.system()} {platform.machine()}",
            }
        ]
    )


def _plain(value: object) -> object:
    return ", ".join(map(str, value)) or "the profile's" if isinstance(value, list | tuple) else value
