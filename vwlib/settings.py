"""Profiles: every size, count and model of a run in one validated object.

The profiles stand in `vwlib/profiles/*.toml`; a file that `VWLIB_SETTINGS` names and keyword arguments change them. A
profile changes numbers and folders, never the code that runs.
"""

import os
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from vwlib.concepts import DATASETS, TASKS
from vwlib.paths import DATA, ROOT

PROFILES = ("smoke", "miniature", "paper")
LARGEST_SEED = 2**63 - 1  #: that fits torch's generators, which add a picture's number to it, and the tables
#: Folder of the miniature's models: the committed ones, or others, say ones that you trained yourself.
MODELS = Path(os.environ.get("VWLIB_MODELS", DATA / "miniature" / "models")).resolve()


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_OFF = BeforeValidator(lambda value: None if value is False else value)  # TOML has no None
_Task = Annotated[str, Field(pattern=f"^({'|'.join(TASKS)})$")]
_Adapter = Annotated[str, Field(pattern=r"^.+\.py:[A-Za-z_]\w*$")]


class ModelSettings(_Settings):
    """A local folder of model files, and the repository of the Hugging Face hub of which it is a copy.

    Models are loaded from the folder alone, without a network.
    """

    source: str  #: the folder, from the project's root
    hub: str | None = None  #: id of the repository; None: the project's own model
    revision: str = "main"  #: branch, tag or commit of the repository
    fetch: tuple[str, ...] = ()  #: what to fetch of it, as patterns of file names
    gigabytes: PositiveFloat | None = None  #: of what there is to fetch
    sha256: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = {}  #: of the original weights, by file
    #: What an open_clip model's weights were trained with; None: as configured.
    activation: Annotated[Literal["gelu", "quick_gelu"] | None, _OFF] = None


class GeneratorSettings(ModelSettings):
    """A Stable Diffusion model and how it draws."""

    image_size: PositiveInt  #: px
    inference_steps: PositiveInt = 50  #: denoising steps (table 2)
    guidance: float = Field(7.5, ge=1)  #: scale of classifier-free guidance; the paper does not state it
    #: Of the denoiser's matrix products; auto: float32, or bfloat16 where the machine is clearly faster in it.
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    recompute: bool = False  #: gradient checkpointing of the denoiser, on GPUs only: less memory, more time
    images_per_word: PositiveInt = 4  #: pictures judged per word; the paper's values suggest one
    #: Blackens doubtful pictures before anyone sees them (appendix A); None switches it off.
    safety_checker: Annotated[ModelSettings | None, _OFF] = None


class Learning(_Settings):
    """How a task's words are learned (table 2)."""

    steps: PositiveInt = 1000
    rate: PositiveFloat = 1e-4  #: Adam's learning rate
    batch: PositiveInt = 8  #: images a step
    #: A word stops once its loss has not fallen for so many steps (`vwlib.learn.still_learning`); None: after `steps`.
    patience: Annotated[PositiveInt | None, _OFF] = None
    #: Equal parts of the noise schedule that take turns in a batch of the generator; None: times are drawn from all.
    strata: Annotated[PositiveInt | None, _OFF] = None


class PhotoSettings(_Settings):
    """A folder of own photos of one thing as a dataset, and the other things that it is told from."""

    folder: str  #: from the project's root
    name: str  #: what prompts and the judge call the thing
    beside: str  #: one of the four datasets, or a folder with a folder of pictures for each other thing


class StudySettings(_Settings):
    """Which words a stored grid has of each dataset and task: concepts × anchors × (deltas and unconstrained)."""

    table: Literal["trials", "fresh"] = "trials"  #: of the grid's scores
    datasets: tuple[str, ...] = DATASETS  #: whose concepts are learned
    concepts: PositiveInt = 10  #: the first of each dataset
    anchors: PositiveInt = 10  #: a concept's first, or those of the dataset's first concepts
    deltas: tuple[PositiveFloat, ...] = (0.1, 0.2, 0.5, 1.0)  #: section 5
    seed: int = 0  #: of the words, and of the noises that their pictures start from
    #: Words learned in one go, by task; part of the definition, because floating-point sums depend on the batch.
    words_at_once: dict[_Task, PositiveInt] = {"generation": 25, "detection": 100, "classification": 100}
    threads: PositiveInt = 1  #: of each process; also part of the definition
    compute_on_demand: bool = False  #: whether a page that needs the study may compute it, where it is missing


class ExperimentSettings(_Settings):
    """Sizes that several experiments share, and values by name for their own (`vwlib.experiments.base.Size`)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    #: Concepts, and anchors, of each dataset.
    grid: dict[str, PositiveInt] = {"generation": 3, "detection": 3, "classification": 4}
    test_images: PositiveInt = 8  #: per concept, where a word is scored many times
    pictures: PositiveInt = 2  #: drawn for a word there
    near: PositiveFloat = 0.5  #: the delta of words near their anchor; one of the study's

    @property
    def own(self) -> dict[str, Any]:
        """Values in the place of experiments' own sizes, unchecked."""
        return self.model_extra or {}


class Profile(_Settings):
    """All settings of a run."""

    name: Literal["smoke", "miniature", "paper"]
    world: Literal["miniature", "paper"]  #: which forty concepts
    #: Where models compute; auto: a CUDA device where there is one, else the CPU.
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    generator: GeneratorSettings
    detector: ModelSettings
    classifier: ModelSettings
    judge: ModelSettings
    adapters: dict[_Task, _Adapter] = {}  #: what loads a task's model, "file.py:Class" (`vwlib.models.find_adapter`)
    #: Of another kind than the judge, beside it; None: the judge alone.
    second_judge: Annotated[ModelSettings | None, _OFF] = None
    data: dict[str, str] = {}  #: folder of each dataset; the miniature writes its own
    photos: PhotoSettings | None = None  #: a further dataset, "photos"
    prompt: str = "a photo of {}"  #: table 2
    vectors: PositiveInt = 4  #: embedding vectors per word
    train_images: PositiveInt = 8  #: per concept
    test_images: PositiveInt = 50  #: per concept
    learning: dict[_Task, Learning]
    concepts: PositiveInt = 3  #: of the small grid in chapter 4
    anchors: PositiveInt = 2
    study: StudySettings = StudySettings()
    fresh: Annotated[StudySettings | None, _OFF] = None  #: a second grid, of concepts on which nothing was chosen
    experiments: ExperimentSettings = ExperimentSettings()

    @property
    def models(self) -> dict[str, ModelSettings]:
        """Every model that a run loads, by role: that of each task, the judges and the safety checker."""
        tasks = dict(zip(TASKS, (self.generator, self.detector, self.classifier), strict=True))
        more = {"judge": self.judge, "second_judge": self.second_judge, "safety_checker": self.generator.safety_checker}
        return tasks | {role: settings for role, settings in more.items() if settings}

    @property
    def grids(self) -> "list[Profile]":
        """The profile once for each grid of its study: as it is, and with `fresh` in the place of `study`."""
        return [self, *([self.model_copy(update={"study": self.fresh, "fresh": None})] if self.fresh else [])]

    def __hash__(self) -> int:
        return hash(self.model_dump_json())


@cache
def _read_profile(name: str) -> dict[str, Any]:
    """The settings in a profile's own file, with those of the profile that it extends."""
    text = (Path(__file__).parent / "profiles" / f"{name}.toml").read_text(encoding="utf-8")
    settings = tomllib.loads(text.replace("$MODELS", MODELS.as_posix()))
    parent = settings.pop("extends", None)
    return _merged(_read_profile(parent), settings) if parent else settings


def load_profile(name: str | None = None, **changes: Any) -> Profile:
    """A profile by name, with some settings changed; without a name the one in `VWLIB_PROFILE`, else the miniature.

    The profile's table in the TOML file that `VWLIB_SETTINGS` names changes it first, then `changes` do. A change names
    only what it changes: the other settings of a model, a dataset or a task stay.
    Raises ValueError for an unknown profile or setting, a value that does not fit and a file that cannot be read.
    """
    name = name or os.environ.get("VWLIB_PROFILE", "miniature")
    if name not in PROFILES:
        raise ValueError(f"'{name}' is no profile; choose from {', '.join(PROFILES)}.")
    profile = Profile.model_validate(_read_profile(name))
    profile = _changed(profile, read_settings().get(name, {}), f"{os.environ.get('VWLIB_SETTINGS')}, profile")
    return _changed(profile, changes, "Profile")


def read_settings() -> dict[str, dict[str, Any]]:
    """The settings in the TOML file that `VWLIB_SETTINGS` names from the project's root, a table for each profile.

    Raises ValueError for a file that is missing or no TOML, and for anything outside the profiles' tables.
    """
    file = os.environ.get("VWLIB_SETTINGS")
    try:
        found = tomllib.loads((ROOT / file).read_text()) if file else {}
    except (OSError, ValueError) as error:
        raise ValueError(f"VWLIB_SETTINGS names {file}, which cannot be read as TOML: {error}.") from error
    for name, table in found.items():
        if name not in PROFILES or not isinstance(table, dict):
            raise ValueError(f"{file}: '{name}' is no table of a profile; there are {', '.join(PROFILES)}.")
    return found


def _changed(profile: Profile, changes: dict[str, Any], where: str) -> Profile:
    try:
        return Profile.model_validate(_merged(profile.model_dump(), changes)) if changes else profile
    except ValidationError as error:
        first = error.errors()[0]
        setting, problem = ".".join(map(str, first["loc"])), f"{first['msg'].lower()} (got {first['input']!r})"
        raise ValueError(f"{where} '{profile.name}', setting '{setting}': {problem}.") from error


def _merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`settings` with `changes` in them; where both have a table of settings, the tables are merged."""
    tables = {key for key, value in changes.items() if isinstance(value, dict) and isinstance(settings.get(key), dict)}
    return settings | changes | {key: _merged(settings[key], changes[key]) for key in tables}
