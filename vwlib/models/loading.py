"""Finding a model's files, and saying plainly what is missing."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusers
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import save_file

from vwlib.paths import ROOT

if TYPE_CHECKING:
    from vwlib.profiles import ModelSettings

#: The files without which a model cannot be loaded, by the layout of its folder.
PIPELINE = (
    "model_index.json",
    *("unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"),
    *("unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer.json"),
)
TRANSFORMERS = ("config.json", "model.safetensors", "preprocessor_config.json")
TEXT_AND_IMAGE = (*TRANSFORMERS, "tokenizer.json")
OPEN_CLIP = ("open_clip_config.json", "open_clip_model.safetensors")
#: What takes a file's place in repositories of older tools.
INSTEAD = {"tokenizer.json": ("vocab.json", "merges.txt")}
#: The same weights as pickles, which run code when they are loaded and are therefore not.
PICKLES = {"model.safetensors": "pytorch_model.bin", "open_clip_model.safetensors": "open_clip_pytorch_model.bin"}


def resolve(source: str) -> Path:
    """A local folder as an absolute path; relative ones start from the project's root."""
    return (ROOT / source).resolve()


def check_folder(settings: ModelSettings, *files: str) -> Path:
    """The model's folder, once all of `files` are in it.

    Raises FileNotFoundError that names what is missing and how to get it.
    """
    folder = resolve(settings.source)
    if not folder.is_dir():
        raise FileNotFoundError(f"The model folder {folder} is missing; {remedy(settings)}.")
    for file in lacking(folder, files):
        raise FileNotFoundError(f"{folder / file} is missing; {remedy(settings, file)}.")
    return folder


def lacking(folder: Path, files: Sequence[str]) -> list[str]:
    """Those of a model's files that its folder has neither as they are nor in the older form that `INSTEAD` names."""

    def is_there(path: Path) -> bool:
        older = [path.with_name(name) for name in INSTEAD.get(path.name, ())]
        return path.exists() or (bool(older) and all(other.exists() for other in older))

    return [file for file in files if not is_there(folder / file)]


def remedy(settings: ModelSettings, file: str | None = None) -> str:
    """How to get a model's folder, or one `file` of it: what to fetch, from where, how big it is and where to put it."""
    folder = resolve(settings.source)
    if file in PICKLES and (folder / PICKLES[file]).exists():
        return f"`vwlib convert {shlex.quote(str(folder))}` writes it from {PICKLES[file]}"
    if settings.hub is None:
        return "restore it from the repository or train it with `make pretrain`"
    size = f" (about {settings.gigabytes:g} GB)" if settings.gigabytes else ""
    return f"fetch {settings.hub}{size} from the Hugging Face hub: `{fetch_command(settings, folder)}`"


def fetch_command(settings: ModelSettings, folder: Path | None = None) -> str:
    """The command that fetches a model's files from the Hugging Face hub into `folder`, or into the profile's as it names it.

    Raises ValueError for a model that is not there.
    """
    if settings.hub is None:
        raise ValueError(f"The model in {settings.source} is the project's own; there is nothing to fetch.")
    patterns = [part for pattern in settings.fetch for part in ("--include", pattern)]
    return shlex.join(["hf", "download", settings.hub, "--revision", settings.revision, "--local-dir", str(folder or settings.source), *patterns])


def check_open_clip(settings: ModelSettings, folder: Path) -> None:
    """That an open_clip model is built with the activation its weights were trained with; the wrong one loads as well, and names images wrongly.

    Raises ValueError where it is not, and where the configuration asks to run code of its own.
    """
    file = folder / "open_clip_config.json"
    text = file.read_text()
    try:
        config = json.loads(text)["model_cfg"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is no configuration of open_clip: it needs 'model_cfg'.") from error
    if "trust_remote_code" in text:
        raise ValueError(f"{file} asks for trust_remote_code, which would run the repository's own code; remove it.")
    if settings.activation and bool(config.get("quick_gelu")) != (settings.activation == "quick_gelu"):
        wanted = json.dumps(settings.activation == "quick_gelu")
        raise ValueError(f'{file} builds the model with another activation than {settings.activation}: set "quick_gelu" to {wanted} in its "model_cfg".')


def convert_weights(folder: Path) -> Path:
    """Write a folder's pickled weights as safetensors beside them, and return the new file. The pickle may hold tensors only.

    Raises FileNotFoundError where there is no pickle and ValueError where it holds anything else.
    """
    found = [(name, pickle) for name, pickle in PICKLES.items() if (folder / pickle).exists()]
    if not found:
        raise FileNotFoundError(f"{folder} holds neither {' nor '.join(PICKLES.values())}.")
    name, pickle = found[0]
    try:
        weights = torch.load(folder / pickle, map_location="cpu", weights_only=True)
        weights = {key: value.contiguous().clone() for key, value in weights.get("state_dict", weights).items()}  # no two may share memory
    except Exception as error:  # torch raises whatever the pickle's content leads to
        raise ValueError(f"{folder / pickle} holds something else than weights: {str(error).strip().splitlines()[0]}") from error
    temporary = folder / f"{name}.partial"
    save_file(weights, temporary, {"format": "pt"})
    temporary.rename(folder / name)
    return folder / name


def seen_words(folder: Path) -> frozenset[str] | None:
    """The words that the model met in training, from its `words.json`; None where there is no such file."""
    file = folder / "words.json"
    return frozenset(json.loads(file.read_text())) if file.exists() else None


def load_whole(kind: Any, folder: Path, **arguments: Any) -> Any:
    """A model of transformers or diffusers, of the class `kind`, once each of its tensors has come from the folder's files.

    Both libraries fill a tensor that the files lack with random numbers and only log it. Raises ValueError in one sentence that says
    how many they are and names the first.
    """
    with strict_loading(folder):
        model, info = kind.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True, **arguments
        )
        for fault, names in (("missing tensors", info["missing_keys"]), ("tensors of another shape", info["mismatched_keys"])):
            if names:
                raise ValueError(f"{fault}: {len(names)}, the first is {min(map(str, names))}")
    return model


@contextmanager
def strict_loading(folder: Path, what: str = "weights") -> Iterator[None]:
    """Load without progress bars, and turn a library's complaint about a model's files into one sentence that names the folder.

    Raises ValueError where a file is truncated or a tensor is missing or of another shape; `what` says which files are read.
    """
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    except (RuntimeError, ValueError, OSError, SafetensorError) as error:
        raise ValueError(f"The {what} in {folder} are damaged or do not fit its configuration: {str(error).strip().splitlines()[0]}") from error


def not_the_originals(settings: ModelSettings) -> Iterator[str]:
    """A part of a sentence for each of a model's weights, where they are there, whose checksum is known and another; reads them once."""
    for file, original in settings.sha256.items():
        path = resolve(settings.source) / file
        if path.exists() and (real := hash_file(path)) != original:
            yield f"{file} is not the original (SHA-256 {real[:12]}…, the original's is {original[:12]}…); results will not be the paper's model's"


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_files(paths: Sequence[Path]) -> str:
    """A short hash of the files' contents, in their order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


@lru_cache
def digest_folder(source: str) -> str:
    """A short hash of all weights and configurations in a model's folder; read once per process.

    A scheduler's or an autoencoder's configuration decides as much about a picture as their weights do.
    """
    return digest_files(sorted(path for pattern in ("*.safetensors", "*config.json") for path in resolve(source).rglob(pattern)))
