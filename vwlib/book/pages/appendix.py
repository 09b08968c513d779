"""What the appendix says of data and settings, all of it from the code that uses it."""

from __future__ import annotations

import pandas as pd
from pydantic import BaseModel
from sphinx.pycode import ModuleAnalyzer

from vwlib.concepts import DATASETS, concepts_of
from vwlib.ledger.paper import hyperparameters
from vwlib.miniature.scenes import HELD_OUT_STYLE, LAYOUTS, Layout
from vwlib.miniature.sprites import STYLES, read_nouns
from vwlib.miniature.world import INSTANCES
from vwlib.settings import ExperimentSettings, StudySettings, load_profile
from vwlib.study.plan import make_plan

PROFILES = ("smoke", "miniature", "paper")


def concept_table() -> pd.DataFrame:
    """The paper's forty concepts and what the miniature learns in their place, each with its anchor word and the name
    that the dataset's files have for it.
    """
    rows = [
        (dataset, paper.name, paper.anchor, paper.label, here.name, here.anchor, here.label)
        for dataset in DATASETS
        for paper, here in zip(concepts_of(dataset), concepts_of(dataset, "miniature"), strict=True)
    ]
    return pd.DataFrame(
        rows,
        columns=["dataset", "in the paper", "its anchor", "in its files", "in the miniature", "anchor", "in the files"],
    )


def scene_table() -> pd.DataFrame:
    """How the miniature composes its scenes: a row for each dataset, and two for pretraining."""

    def shares(ends: tuple[float, float]) -> str:
        return f"{ends[0]:.0%} to {ends[1]:.0%}" if ends[1] else "–"

    def ground(layout: Layout) -> str:
        colours = f"{len(layout.grounds)} colours" if len(layout.grounds) > 2 else " or ".join(layout.grounds)
        return f"{colours}, {layout.vivid:.0%}"

    def row(name: str, layout: Layout) -> tuple[str, str, str, str, str, str]:
        fewest, most = layout.objects
        things = f"{fewest} to {most}" if fewest < most else str(most)
        return name, things, shares(layout.main), shares(layout.others), f"{layout.wander:.0%}", ground(layout)

    named = {name: name if name in DATASETS else f"pretraining: {name.lower()}" for name in LAYOUTS}
    order = [*DATASETS, *(name for name in LAYOUTS if name not in DATASETS)]
    columns = [
        "scenes",
        "things",
        "main thing, of the side",
        "other things",
        "main thing off the middle",
        "ground and its strength",
    ]
    return pd.DataFrame([row(named[name], LAYOUTS[name]) for name in order], columns=columns)


def style_table() -> pd.DataFrame:
    """The six drawing styles: where they come from, how many nouns are drawn in each, and what for."""
    nouns = len(read_nouns())
    rows = [
        (
            style,
            package,
            nouns,
            "held out: test images, DreamBooth" if style == HELD_OUT_STYLE else "pretraining and datasets",
        )
        for style, package in STYLES.items()
    ]
    return pd.DataFrame(rows, columns=["style", "npm package", "nouns drawn", "used for"])


def instance_table() -> pd.DataFrame:
    """What makes each DreamBooth subject of the miniature one particular thing: the colour of its drawing."""
    rows = [
        (noun, f"tinted {drawing.colour}" if drawing.colour else f"hues turned by {drawing.hue * 360:.0f}°")
        for noun, drawing in INSTANCES.items()
    ]
    return pd.DataFrame(rows, columns=["subject", "drawing"])


def settings_table() -> pd.DataFrame:
    """Table 2 of the paper beside the settings of all profiles, of which the last is called as the paper is."""
    tables = {name: hyperparameters(load_profile(name)) for name in PROFILES}
    first = next(iter(tables.values()))
    ours = {f"profile {name}": table.iloc[:, -1] for name, table in tables.items()}
    return pd.DataFrame({"unit": first["unit"], "the paper": first["paper"]} | ours)


def study_table() -> pd.DataFrame:
    """What the stored study of each profile takes, and the number of words that it comes to."""
    words = {
        name: sum(len(chunk.trials) for chunk in make_plan(load_profile(name)) if chunk.kind == "words")
        for name in PROFILES
    }
    sizes = pd.DataFrame(
        [
            {"setting": "words", "what it is": "of all tasks, learned and scored"}
            | {name: f"{count:,}" for name, count in words.items()}
        ]
    )
    return pd.concat([_profiles_table(StudySettings, "study"), sizes], ignore_index=True)


def experiments_table() -> pd.DataFrame:
    """What the experiments beside the study take at each profile: sizes that they share, then their own."""
    from vwlib.experiments.running import EXPERIMENTS  # brings along what computes them

    sizes = {size.name: size for experiment in EXPERIMENTS.values() for size in experiment.sizes}
    own = [
        {"setting": name, "what it is": size.what}
        | {profile: _plain(size.of(load_profile(profile))) for profile in PROFILES}
        for name, size in sizes.items()
    ]
    return pd.concat([_profiles_table(ExperimentSettings, "experiments"), pd.DataFrame(own)], ignore_index=True)


def pretraining_table() -> pd.DataFrame:
    """How many steps the miniature's models were trained for, in the order of training."""
    from vwlib.miniature.pretrain import STEPS  # brings along what trains models, which takes seconds to import

    return pd.DataFrame(
        [(name.replace("_", " "), f"{steps:,}") for name, steps in STEPS.items()], columns=["training", "steps"]
    )


def notes_of(settings: type[BaseModel]) -> dict[str, str]:
    """What the source says of each setting, in its comments that begin with `#:`."""
    notes = ModuleAnalyzer.for_module(settings.__module__).find_attr_docs()
    return {field: " ".join(notes.get((settings.__name__, field), [])).strip() for field in settings.model_fields}


def _profiles_table(settings: type[BaseModel], name: str) -> pd.DataFrame:
    values = {profile: getattr(load_profile(profile), name) for profile in PROFILES}
    rows = [
        {"setting": field, "what it is": note}
        | {profile: _plain(getattr(values[profile], field)) for profile in PROFILES}
        for field, note in notes_of(settings).items()
    ]
    return pd.DataFrame(rows)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return (
        ", ".join(f"{part:g}" if isinstance(part, float) else str(part) for part in value)
        if isinstance(value, tuple | list)
        else str(value)
    )
