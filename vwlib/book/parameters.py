"""The chapters' parameters: which there are, of which type, and what they may be.

The first code cell of a chapter gives each a plain value, papermill puts other values behind it, and the second cell
calls `read_parameters`: papermill itself checks neither names nor types.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from vwlib.concepts import concepts_of, find_anchor, find_concept, find_dataset
from vwlib.paths import ROOT
from vwlib.settings import LARGEST_SEED, Profile, load_profile
from vwlib.study.targets import check_words_file

if TYPE_CHECKING:
    from vwlib.lab import Lab


def _profile(name: object) -> Profile:
    if not isinstance(name, str):
        raise ValueError("it must be text")
    return load_profile(name)


def _list(value: object) -> list:
    """A list without repetitions, or the JSON of one, which is what papermill's `-p` passes on."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            raise ValueError('it must be a list, on the command line in quotes: \'["dog", "cat"]\'') from None
    if not isinstance(value, list):
        raise ValueError("it must be a list")
    if len(set(map(repr, value))) < len(value):
        raise ValueError("it names something twice")
    return value


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


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it must be one line of text")
    return text


def _map_kind(name: str) -> str:
    from vwlib.maps import MAPS  # brings torch along

    if name not in MAPS:
        raise ValueError(f"'{name}' is not a map; choose from {', '.join(MAPS)}")
    return name


ProfileName = Annotated[Profile, BeforeValidator(_profile)]
Dataset = Annotated[str, AfterValidator(find_dataset)]
Datasets = Annotated[list[Dataset], Field(min_length=1, max_length=4), BeforeValidator(_list)]
Words = Annotated[list[str], Field(max_length=20), BeforeValidator(_list)]
Kinds = Annotated[list[Annotated[str, AfterValidator(_map_kind)]], Field(min_length=1), BeforeValidator(_list)]
Line = Annotated[str, AfterValidator(_one_line)]
Folder = Annotated[str, AfterValidator(_folder)]  # from the project's root, or empty
WordsFile = Annotated[str, AfterValidator(_words_file)]  # likewise
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Parameters(BaseModel):
    """What every chapter has: the text `profile` is read as the profile of that name, empty as that in
    `VWLIB_PROFILE`.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    profile: ProfileName

    @cached_property
    def lab(self) -> Lab:
        """The models, images and maps of the profile."""
        from vwlib.datasets.splits import open_lab

        return open_lab(self.profile)


class Seeded(Parameters):
    """Chapters in which something is drawn by chance."""

    seed: int = Field(ge=0, le=LARGEST_SEED)


class OfDataset(Seeded):
    """Chapters about words of one dataset; `stored` ones show words of the profile's study."""

    stored: ClassVar[bool] = False

    dataset: Dataset

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        values, study, first = dict(self), self.profile.study, concepts_of(self.dataset, self.profile.world)
        lacks = f"the study of profile '{self.profile.name}' has no words"
        datasets = values.get("pictured", [self.dataset])
        if self.stored and not set(datasets) & set(study.datasets):
            raise ValueError(f"{lacks} of {', '.join(datasets)}; it has {', '.join(study.datasets)}")
        concepts, anchors = [c.name for c in first[: study.concepts]], [c.anchor for c in first[: study.anchors]]
        for kind, find, known in (("concept", find_concept, concepts), ("anchor", find_anchor, anchors)):
            for name in [*values.get(f"{kind}s", []), *filter(None, [values.get(kind)])]:
                find(name, self.dataset, self.profile.world)
                if self.stored and "pictured" not in values and name not in known:
                    raise ValueError(f"{lacks} with the {kind} '{name}'; it has {', '.join(known)}")
        if self.stored and "delta" in values and values["delta"] not in study.deltas:
            raise ValueError(f"{lacks} within delta {values['delta']:g}; it has the radii {list(study.deltas)}")
        return self


class TheMethod(OfDataset):
    concept: str = Field(min_length=1)
    anchor: str = Field(min_length=1)
    delta: Positive  # radius of the ball


class ModelsAndWords(Seeded):
    dataset: Dataset
    images: int = Field(ge=1, le=12)  # generated for each concept


class TransferMaps(Seeded):
    folds: int = Field(ge=2, le=20)  # of the cross-validation
    examples: Words  # words whose transfer is shown
    kinds: Kinds  # of map, compared; the paper's among them

    @model_validator(mode="after")
    def _papers_is_there(self) -> Self:
        if "linear" not in self.kinds:
            raise ValueError("kinds must have 'linear', the paper's map, among them")
        return self


class LearningAWord(TheMethod):
    repeats: int = Field(ge=1, le=20)  # words learned with the same settings, each with a seed of its own
    images: int = Field(ge=1, le=12)  # shown for each word

    @model_validator(mode="after")
    def _seeds_exist(self) -> Self:
        if self.seed + self.repeats - 1 > LARGEST_SEED:
            raise ValueError(f"the last of {self.repeats} seeds from {self.seed} on is beyond {LARGEST_SEED}")
        return self


class AreWordsTransferable(OfDataset):
    stored = True

    concepts: Words  # of the live grid; empty: as many of the dataset's first as the profile says
    anchors: Words
    pictured: Datasets  # of the stored study, as far as it has them
    images: int = Field(ge=1, le=10)  # concepts of each of those


class SolutionsAreEverywhere(OfDataset):
    stored = True

    concepts: Words  # of the grid that is shown; empty: the dataset's first six
    anchors: Words
    delta: Positive  # one of the study's radii
    others: int = Field(ge=1, le=10)  # concepts of each other dataset


class TheFinalLayers(OfDataset):
    stored = True

    seed: int = Field(ge=0, le=2**32 - 1)  # the most that scikit-learn's t-SNE takes
    task: Literal["generation", "detection", "classification"]
    delta: Positive  # one of the study's radii
    layers: int = Field(ge=2, le=6)  # evenly spaced
    concept: str  # of the strip of pictures; empty: the first
    anchor: str  # empty: the next concept's


class TheRealThing(Seeded):
    samples: Folder  # of real pictures, in the datasets' own formats; empty: those that the profile has
    images: int = Field(ge=1, le=8)  # shown of each dataset
    speed: Positive  # of the machine that is to run the study, in units of the measured one


class YourOwnWord(Seeded):
    photos: Annotated[Folder, Field(min_length=1)]
    name: Line  # of the thing; empty: its folder's
    anchor: Line
    beside: str  # one of the four datasets, or a folder with a folder of pictures for each other thing
    delta: float = Field(ge=0, allow_inf_nan=False)  # radius of the ball; 0: unconstrained
    images: int = Field(ge=1, le=8)  # shown for each text
    save: WordsFile  # to add the words to; empty: none


#: By chapter; the others have a profile alone.
CHAPTERS: dict[str, type[Parameters]] = {
    "the_method": TheMethod,
    "01_models_and_words": ModelsAndWords,
    "02_transfer_maps": TransferMaps,
    "03_learning_a_word": LearningAWord,
    "04_are_words_transferable": AreWordsTransferable,
    "05_solutions_are_everywhere": SolutionsAreEverywhere,
    "06_the_final_layers": TheFinalLayers,
    "08_the_real_thing": TheRealThing,
    "09_your_own_word": YourOwnWord,
}


def read_parameters(chapter: str, namespace: Mapping[str, Any]) -> Any:
    """A chapter's parameters from its notebook's `globals()`, checked.

    Raises ValueError in one sentence at the first name, type or value that does not fit.
    """
    model = CHAPTERS.get(chapter, Parameters)
    known = list(model.model_fields)
    for name in injected_names(namespace.get("In", [])):
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'? It has" if close else "it has"
            raise ValueError(f"'{name}' is no parameter of chapter {chapter}: {hint} {', '.join(known)}.")
    try:
        return model.model_validate({name: namespace[name] for name in known if name in namespace})
    except ValidationError as error:
        raise ValueError(_in_one_sentence(chapter, error)) from None


def injected_names(ran: list[str]) -> list[str]:
    """The names that papermill gave values: in the last of the cells that ran which begins with its comment."""
    injected = [source for source in ran if source.startswith("# Parameters\n")] or [""]
    nodes = [node for node in ast.parse(injected[-1]).body if isinstance(node, ast.Assign)]
    return [target.id for node in nodes for target in node.targets if isinstance(target, ast.Name)]


def _in_one_sentence(chapter: str, error: ValidationError) -> str:
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    if not first["loc"]:  # a check of several parameters, whose message names the value
        return f"Chapter {chapter}: {message}."
    if first["type"] == "missing":
        return f"Chapter {chapter} needs a value for its parameter '{first['loc'][0]}'."
    try:
        value = repr(first["input"])
    except ValueError:  # a whole number of more digits than Python writes
        value = "a number of thousands of digits"
    value = value if len(value) <= 200 else f"{value[:200]}…"
    got = "" if value in message else f", got {value}"
    return f"Chapter {chapter}, parameter '{first['loc'][0]}'{got}: {message[0].lower()}{message[1:]}."
