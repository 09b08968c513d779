"""Where this book deviates from the paper, and why: `data/paper/deviations.toml`, with a profile's numbers."""

import tomllib
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vwlib.concepts import DATASETS, TASKS, concepts_of
from vwlib.ledger import paper
from vwlib.ledger.claims import first_error
from vwlib.miniature.world import INSTANCE_TRAIN
from vwlib.models import load_model
from vwlib.paths import DATA, ROOT
from vwlib.settings import Profile, load_profile

DEVIATIONS = DATA / "paper" / "deviations.toml"
#: How a sentence calls the generator's precision where the machine decides.
AUTOMATIC = "float32, or bfloat16 where the machine is clearly faster in it (each word tells which),"


class Deviation(BaseModel):
    """One thing that is done otherwise: what, how in the paper and here, why, with which models, and on which page."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str = Field(min_length=1)
    paper: str = Field(min_length=1)
    here: str = Field(min_length=1)
    why: str = Field(min_length=1)
    holds: Literal["everywhere", "miniature", "paper"]
    see: str = ""


def substitutions() -> pd.DataFrame:
    """The miniature's concepts that are not the paper's own: a row each, in the paper's order, with the reason why."""
    columns = ["dataset", "paper concept", "paper anchor", "miniature concept", "anchor", "why"]
    found = [c for dataset in DATASETS for c in concepts_of(dataset, "miniature") if c.is_substitute]
    rows = [(c.dataset, c.paper_name, c.paper_anchor, c.name, c.anchor, c.why) for c in found]
    return pd.DataFrame(rows, columns=columns)


def load_deviations(path: Path = DEVIATIONS) -> list[Deviation]:
    """All deviations, in the file's order. Raises ValueError in one sentence where an entry lacks something, has
    something unknown, or leads to a page that does not exist.
    """
    found: list[Deviation] = []
    for number, row in enumerate(tomllib.loads(path.read_text())["deviation"], 1):
        where = f"{path.name}, deviation {number} ({row.get('what', 'without a name')})"
        try:
            found.append(Deviation.model_validate(row))
        except ValidationError as error:
            field, trouble = first_error(error)
            raise ValueError(f"{where}, field '{field}': {trouble}.") from error
        if found[-1].see and not list((ROOT / "book").glob(f"{found[-1].see}.*")):
            raise ValueError(f"{where}: there is no page '{found[-1].see}'.")
    return found


def fill_in(text: str, profile: Profile) -> str:
    """A text with the profile's numbers in its braces; raises ValueError for an unknown name."""
    learning = [profile.learning[task] for task in TASKS]
    names: dict[str, Any] = {
        "profile": profile,
        "full": load_profile("paper"),
        "precision": AUTOMATIC if profile.generator.precision == "auto" else profile.generator.precision,
        "substitutes": len(substitutions()),
        "steps": ", ".join(f"{one.steps:,}" for one in learning),
        "rates": ", ".join(f"{one.rate:g}" for one in learning),
        "together": ", ".join(f"{profile.study.words_at_once[task]:,}" for task in TASKS),
        "instance_images": INSTANCE_TRAIN,
        "generation_blocks": paper.MODELS["generation"][2],
        **{task: paper.MODELS[task][0] for task in TASKS},
    }
    if "{d}" in text:
        names["d"] = ", ".join(str(load_model(task, profile).word_table().shape[1]) for task in TASKS)
    try:
        return text.format(**names)
    except (KeyError, AttributeError) as error:
        raise ValueError(f"'{text}' asks for {error}, which is not known; {', '.join(names)} are.") from error


def deviations_table(profile: Profile, holds: Literal["everywhere", "models"], path: Path = DEVIATIONS) -> pd.DataFrame:
    """The deviations that hold with every model, or those of the profile's own models and data."""
    chosen = profile.world if holds == "models" else holds
    rows = [
        (row.what, *(fill_in(text, profile) for text in (row.paper, row.here, row.why)), _called(row.see))
        for row in load_deviations(path)
        if row.holds == chosen
    ]
    return pd.DataFrame(rows, columns=["what", "paper", "here", "why", "more in"])


def _called(page: str) -> str:
    """How the text calls a page: `04_are_words_transferable` is "chapter 4"."""
    number = page.split("_")[0]
    return f"chapter {int(number)}" if number.isdigit() else page.removeprefix("appendix_").replace("_", " ") or "–"
