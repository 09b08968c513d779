"""The chapters' parameters: which there are, of which type, and what they may be.

The first code cell of a chapter gives each a plain value, papermill puts other values behind it, and the second cell
calls `read_parameters`: papermill itself checks neither names nor types.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SkipValidation,
    ValidationError,
    field_validator,
    model_validator,
)

from vwlib.concepts import concepts_of, find_anchor, find_concept, find_dataset
from vwlib.maps import PAPER_MAP, find_map
from vwlib.paths import ROOT
from vwlib.settings import LARGEST_SEED, Profile, load_profile
from vwlib.study.targets import check_words_file


def _text(read: Callable[[str], Any]) -> BeforeValidator:
    """A value that must be text, read by a function that raises ValueError for what it does not know."""

    def check(value: object) -> Any:
        if not isinstance(value, str):
            raise ValueError("it must be text")
        return read(value)

    return BeforeValidator(check)


def _listed(value: object) -> object:
    """A list, or the JSON of one, which is what papermill's `-p` passes on."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            raise ValueError('it must be a list, on the command line in quotes: \'["dog", "cat"]\'') from None
    if not isinstance(value, list):
        raise ValueError("it must be a list")
    return value


def _distinct(values: list) -> list:
    if len(set(map(repr, values))) < len(values):
        raise ValueError("it names something twice")
    return values


def _folder(name: str) -> str:
    if name and not (ROOT / name).is_dir():
        raise ValueError(f"there is no folder {(ROOT / name).resolve()}")
    return name


def _words_file(name: str) -> str:
    try:
        if name:
            check_words_file(ROOT / name)
    except OSError as error:
        raise ValueError(str(error)) from error
    return name


ProfileName = Annotated[SkipValidation[Profile], _text(load_profile)]
Dataset = Annotated[str, _text(find_dataset)]
Folder = Annotated[str, _text(_folder)]  # from the project's root, or empty
WordsFile = Annotated[str, _text(_words_file)]  # from the project's root, or empty
Words = Annotated[list[str], Field(max_length=20), BeforeValidator(lambda value: _distinct(_listed(value)))]
Kinds = Annotated[
    list[Annotated[str, _text(find_map)]], Field(min_length=1), BeforeValidator(lambda value: _distinct(_listed(value)))
]
Datasets = Annotated[
    list[Dataset], Field(min_length=1, max_length=4), BeforeValidator(lambda value: _distinct(_listed(value)))
]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Seeds = Annotated[
    list[Seed], Field(min_length=1, max_length=20), BeforeValidator(lambda value: _distinct(_listed(value)))
]


class ProfileParameters(BaseModel):
    """What every chapter has. The text `profile` is read as the profile of that name, empty as the one in
    `VWLIB_PROFILE`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    profile: ProfileName


class Parameters(ProfileParameters):
    """What every chapter has in which something is drawn by chance."""

    seed: Seed


class TheMethod(Parameters):
    """The page that does all of the method for one word."""

    dataset: Dataset
    concept: str
    anchor: str
    delta: float = Field(gt=0, allow_inf_nan=False)  # radius of the ball

    @model_validator(mode="after")
    def _names_exist(self) -> TheMethod:
        _check_names(self.dataset, self.profile, [self.concept], [self.anchor])
        return self


class ModelsAndWords(Parameters):
    """Chapter 1."""

    dataset: Dataset
    images: int = Field(ge=1, le=12)  # generated for each concept


class TransferMaps(Parameters):
    """Chapter 2."""

    folds: int = Field(ge=2, le=20)  # of the cross-validation
    examples: Words  # words whose way is shown
    kinds: Kinds  # of map, compared; the paper's among them

    @model_validator(mode="after")
    def _papers_is_there(self) -> TransferMaps:
        if PAPER_MAP not in self.kinds:
            raise ValueError(f"kinds must have '{PAPER_MAP}', the paper's map, among them")
        return self


class LearningAWord(Parameters):
    """Chapter 3."""

    dataset: Dataset
    concept: str
    anchor: str
    delta: float = Field(gt=0, allow_inf_nan=False)  # radius of the ball
    repeats: int = Field(ge=1, le=20)  # words learned with the same settings, each with a seed of its own
    images: int = Field(ge=1, le=12)  # shown for each word

    @model_validator(mode="after")
    def _names_exist(self) -> LearningAWord:
        _check_names(self.dataset, self.profile, [self.concept], [self.anchor])
        if self.seed + self.repeats - 1 > LARGEST_SEED:
            raise ValueError(f"the last of {self.repeats} seeds from {self.seed} on is beyond {LARGEST_SEED}")
        return self


class GridParameters(Parameters):
    """What the chapters have that show a grid of one dataset's concepts and anchors."""

    dataset: Dataset
    concepts: Words  # empty: the first ones of the dataset
    anchors: Words

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        _check_names(self.dataset, self.profile, self.concepts, self.anchors)
        return self


class AreWordsTransferable(GridParameters):
    """Chapter 4, whose grid is computed live, by default as large as the profile says."""

    pictured: Datasets  # of the stored study, as far as it has them
    images: int = Field(ge=1, le=10)  # concepts of each of those

    @model_validator(mode="after")
    def _is_in_the_study(self) -> Self:
        _check_study(self.profile, self.pictured)
        return self


class SolutionsAreEverywhere(GridParameters):
    """Chapter 5, whose grid is shown, by default six by six."""

    delta: float = Field(gt=0, allow_inf_nan=False)  # one of the study's radii
    others: int = Field(ge=1, le=10)  # concepts of each other dataset

    @model_validator(mode="after")
    def _is_in_the_study(self) -> Self:
        _check_study(self.profile, [self.dataset], self.concepts, self.anchors, self.delta)
        return self


class TheRealThing(Parameters):
    """Chapter 8."""

    samples: Folder  # of real pictures, in the datasets' own formats; empty: those that the profile has
    images: int = Field(ge=1, le=8)  # shown of each dataset
    speed: float = Field(
        gt=0, allow_inf_nan=False
    )  # of the machine that is to run the study, in units of the measured one


class YourOwnWord(Parameters):
    """Chapter 9."""

    photos: Annotated[Folder, Field(min_length=1)]
    name: str  # of the thing; empty: its folder's
    anchor: str
    beside: str  # one of the four datasets, or a folder with a folder of pictures for each other thing
    delta: float = Field(ge=0, allow_inf_nan=False)  # radius of the ball; 0: unconstrained
    images: int = Field(ge=1, le=8)  # shown for each text
    save: WordsFile  # to add the words to; empty: none

    @field_validator("name", "anchor")
    @classmethod
    def _is_printable(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("it must be one line of text")
        return value


class TheFinalLayers(Parameters):
    """Chapter 6."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]  # the most that scikit-learn's t-SNE takes
    task: Literal["generation", "detection", "classification"]
    dataset: Dataset
    delta: float = Field(gt=0, allow_inf_nan=False)  # one of the study's radii
    layers: int = Field(ge=2, le=6)  # evenly spaced
    concept: str  # of the strip of pictures; empty: the first
    anchor: str  # empty: the next concept's

    @model_validator(mode="after")
    def _names_exist(self) -> TheFinalLayers:
        concepts, anchors = [self.concept] if self.concept else [], [self.anchor] if self.anchor else []
        _check_names(self.dataset, self.profile, concepts, anchors)
        _check_study(self.profile, [self.dataset], concepts, anchors, self.delta)
        return self


class TheClaims(ProfileParameters):
    """Chapter 7."""


class TheExplorer(ProfileParameters):
    """The explorer, which shows all words of the stored study."""


class Appendix(ProfileParameters):
    """The pages of the appendix, which only show what the code knows."""


CHAPTERS: dict[str, type[ProfileParameters]] = {
    "the_method": TheMethod,
    "01_models_and_words": ModelsAndWords,
    "02_transfer_maps": TransferMaps,
    "03_learning_a_word": LearningAWord,
    "04_are_words_transferable": AreWordsTransferable,
    "05_solutions_are_everywhere": SolutionsAreEverywhere,
    "06_the_final_layers": TheFinalLayers,
    "07_the_claims": TheClaims,
    "08_the_real_thing": TheRealThing,
    "09_your_own_word": YourOwnWord,
    "explorer": TheExplorer,
    "appendix_datasets": Appendix,
    "appendix_deviations": Appendix,
    "appendix_hyperparameters": Appendix,
    "appendix_provenance": Appendix,
}

#: What IPython itself puts into a notebook's namespace, beside names that begin with an underscore.
_IPYTHON = {"In", "Out", "exit", "get_ipython", "open", "quit"}
_CHECKED = "_parameters_checked"


def read_parameters(chapter: str, namespace: dict[str, Any]) -> Any:
    """A chapter's parameters from its notebook's `globals()`, checked.

    Any other plain value found there is a parameter that does not exist: at the first call nothing but the parameters
    has been set. An unknown one is removed, so that the mended cell can be run again.

    Raises ValueError in one sentence at the first name, type or value that does not fit.
    """
    model = CHAPTERS[chapter]
    if not namespace.get(_CHECKED):
        for name in [
            name for name, value in namespace.items() if _is_plain(name, value) and name not in model.model_fields
        ]:
            del namespace[name]
            close = get_close_matches(name, model.model_fields, n=1)
            hint = f"did you mean '{close[0]}'? It has" if close else "it has"
            raise ValueError(f"'{name}' is no parameter of chapter {chapter}: {hint} {', '.join(model.model_fields)}.")
    try:
        parameters = model.model_validate({name: namespace[name] for name in model.model_fields if name in namespace})
    except ValidationError as error:
        raise ValueError(_in_one_sentence(chapter, error)) from None
    namespace[_CHECKED] = True
    return parameters


def _check_names(dataset: str, profile: Profile, concepts: list[str], anchors: list[str]) -> None:
    for concept in concepts:
        find_concept(concept, dataset, profile.world)
    for anchor in anchors:
        find_anchor(anchor, dataset, profile.world)


def _check_study(
    profile: Profile,
    datasets: Sequence[str],
    concepts: Sequence[str] = (),
    anchors: Sequence[str] = (),
    delta: float | None = None,
) -> None:
    """That a profile's study learns words of one of the datasets and of the names, within a radius; by its settings,
    before it is read.
    """
    study, whose = profile.study, f"the study of profile '{profile.name}' has no words"
    if not set(datasets) & set(study.datasets):
        raise ValueError(f"{whose} of {', '.join(datasets)}; it has {', '.join(study.datasets)}")
    first = concepts_of(datasets[0], profile.world)
    known = {
        "concept": [concept.name for concept in first[: study.concepts]],
        "anchor": [concept.anchor for concept in first[: study.anchors]],
    }
    for kind, names in (("concept", concepts), ("anchor", anchors)):
        for name in names:
            if name not in known[kind]:
                raise ValueError(f"{whose} with the {kind} '{name}'; it has {', '.join(known[kind])}")
    if delta is not None and delta not in study.deltas:
        raise ValueError(f"{whose} within delta {delta:g}; it has the radii {list(study.deltas)}")


def _is_plain(name: str, value: object) -> bool:
    return (
        not name.startswith("_")
        and name not in _IPYTHON
        and (value is None or isinstance(value, str | int | float | list | tuple | dict))
    )


def _shown(value: object) -> str:
    """A value as it is written, at most a line of it."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}…"


def _in_one_sentence(chapter: str, error: ValidationError) -> str:
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    if not first["loc"]:  # a check of several parameters, whose message names the value
        return f"Chapter {chapter}: {message}."
    if first["type"] == "missing":
        return f"Chapter {chapter} needs a value for its parameter '{first['loc'][0]}'."
    got = "" if _shown(first["input"]) in message else f", got {_shown(first['input'])}"
    return f"Chapter {chapter}, parameter '{first['loc'][0]}'{got}: {message[0].lower()}{message[1:]}."
