"""What the appendix says of data and settings, all of it from the code that uses it."""

import pandas as pd
from pydantic import BaseModel
from sphinx.pycode import ModuleAnalyzer

from vwlib.concepts import DATASETS, concepts_of
from vwlib.miniature.scenes import LAYOUTS
from vwlib.settings import PROFILES, ExperimentSettings, StudySettings, load_profile
from vwlib.study.plan import make_plan, word_count


def concept_table() -> pd.DataFrame:
    """The paper's concepts and what the miniature learns in their place, with anchors and names in the files."""
    rows = [
        (dataset, paper.name, paper.anchor, paper.label, here.name, here.anchor, here.label)
        for dataset in DATASETS
        for paper, here in zip(concepts_of(dataset), concepts_of(dataset, "miniature"), strict=True)
    ]
    columns = ["dataset", "in the paper", "its anchor", "in its files", "in the miniature", "anchor", "in the files"]
    return pd.DataFrame(rows, columns=columns)


def scene_table() -> pd.DataFrame:
    """How the miniature composes its scenes: a row for each dataset, and two for pretraining."""

    def share(low: float, high: float) -> str:
        return f"{low:.0%} to {high:.0%}" if high else "–"

    rows = []
    for name in (*DATASETS, *(name for name in LAYOUTS if name not in DATASETS)):
        layout, (fewest, most) = LAYOUTS[name], LAYOUTS[name].objects
        ground = f"{len(layout.grounds)} colours" if len(layout.grounds) > 2 else " or ".join(layout.grounds)
        rows.append(
            {
                "scenes": name if name in DATASETS else f"pretraining: {name.lower()}",
                "things": f"{fewest} to {most}" if fewest < most else str(most),
                "main thing, of the side": share(*layout.main),
                "other things": share(*layout.others),
                "main thing off the middle": f"{layout.wander:.0%}",
                "ground and its strength": f"{ground}, {layout.vivid:.0%}",
            }
        )
    return pd.DataFrame(rows)


def study_table() -> pd.DataFrame:
    """What the stored study of each profile takes, and the number of words that it comes to."""
    rows = [
        {"setting": "words", "what it is": "of all tasks, learned and scored"},
        {"setting": "words of fresh concepts", "what it is": "the same of the second grid"}
        | dict.fromkeys(PROFILES, "0"),
    ]
    for name in PROFILES:
        for row, grid in zip(rows, load_profile(name).grids, strict=False):
            row[name] = f"{word_count(make_plan(grid)):,}"
    return pd.concat([_settings_table(StudySettings, "study"), pd.DataFrame(rows)], ignore_index=True)


def experiments_table() -> pd.DataFrame:
    """What the experiments beside the study take at each profile: sizes that they share, then their own."""
    from vwlib.experiments.running import EXPERIMENTS  # brings along what computes them

    sizes = {size.name: size for experiment in EXPERIMENTS.values() for size in experiment.sizes}
    own = [
        {"setting": name, "what it is": size.what}
        | {profile: _plain(size.of(load_profile(profile))) for profile in PROFILES}
        for name, size in sizes.items()
    ]
    return pd.concat([_settings_table(ExperimentSettings, "experiments"), pd.DataFrame(own)], ignore_index=True)


def notes_of(settings: type[BaseModel]) -> dict[str, str]:
    """What the source says of each setting, in its comments that begin with `#:`."""
    notes = ModuleAnalyzer.for_module(settings.__module__).find_attr_docs()
    return {field: " ".join(notes.get((settings.__name__, field), [])).strip() for field in settings.model_fields}


def _settings_table(settings: type[BaseModel], part: str) -> pd.DataFrame:
    values = {profile: getattr(load_profile(profile), part) for profile in PROFILES}
    return pd.DataFrame(
        {"setting": field, "what it is": note} | {name: _plain(getattr(of, field)) for name, of in values.items()}
        for field, note in notes_of(settings).items()
    )


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    if isinstance(value, tuple | list):
        return ", ".join(f"{part:g}" if isinstance(part, float) else str(part) for part in value)
    return str(value)
