"""Finding a model's files, and saying plainly what is missing."""

from __future__ import annotations

import hashlib
import json
import shlex
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from vwlib.files import check_writable, writing_to
from vwlib.paths import MINIATURE, ROOT

if TYPE_CHECKING:
    import torch

    from vwlib.settings import ModelSettings

#: The files without which a model cannot be loaded, by the layout of its folder.
PIPELINE = (
    "model_index.json",
    *(
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    ),
    *(
        "unet/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer.json",
    ),
)
TRANSFORMERS = ("config.json", "model.safetensors", "preprocessor_config.json")
TEXT_AND_IMAGE = (*TRANSFORMERS, "tokenizer.json")
OPEN_CLIP = ("open_clip_config.json", "open_clip_model.safetensors")
#: What takes a file's place in folders of other versions of transformers, all of it.
INSTEAD = {"tokenizer.json": ("vocab.json", "merges.txt"), "preprocessor_config.json": ("processor_config.json",)}
#: The names of weights, and of the same as pickles, which run code when they are loaded and are therefore not.
PICKLES = {
    "model.safetensors": "pytorch_model.bin",
    "diffusion_pytorch_model.safetensors": "diffusion_pytorch_model.bin",
    "open_clip_model.safetensors": "open_clip_pytorch_model.bin",
}
#: Weights of which transformers and diffusers also read shards, which an index lists, and variants of half precision.
IN_PARTS = ("model.safetensors", "diffusion_pytorch_model.safetensors")
VARIANTS = ("fp16", "bf16")
MINIATURES = (MINIATURE / "models").resolve()  # what this project has trained, and can train again


def resolve(source: str) -> Path:
    """A local folder as an absolute path; relative ones start from the project's root."""
    return (ROOT / source).resolve()


def check_folder(settings: ModelSettings, *files: str) -> Path:
    """The model's folder, once all of `files` are in it.

    Raises FileNotFoundError that names what is missing and how to get it.
    """
    folder = resolve(settings.source)
    if not folder.is_dir():
        told = "is a file, and a model is read from a folder" if folder.exists() else "is missing"
        raise FileNotFoundError(f"The model folder {folder} {told}; {remedy(settings)}.")
    for file in lacking(folder, files):
        raise FileNotFoundError(f"{folder / file} is missing; {remedy(settings, file)}.")
    return folder


def lacking(folder: Path, files: Sequence[str]) -> list[str]:
    """Those of a model's files that its folder has neither as they are nor in another form: `INSTEAD`, shards, or half
    precision.

    Raises ValueError for an index of shards that cannot be read.
    """

    def is_there(path: Path) -> bool:
        others = [path.with_name(name) for name in INSTEAD.get(path.name, ())]
        if path.exists() or (bool(others) and all(_stands_in(path, other) for other in others)):
            return True
        parts = weights_of(path)
        return bool(parts) and all(part.exists() for part in parts)

    return [file for file in files if not is_there(folder / file)]


def _stands_in(path: Path, other: Path) -> bool:
    """Whether a file takes another's place; one for a whole processor does where the images' part is in it."""
    if not other.exists() or path.name != "preprocessor_config.json":
        return other.exists()
    return "image_processor" in _read_table(other)


def weights_of(path: Path) -> list[Path]:
    """The files that hold the weights called `path`: itself, the shards that an index lists, some perhaps missing, or
    the same of half precision.

    None where there is nothing of the kind. Raises ValueError for an index that cannot be read.
    """
    return _found(path)[1]


def variant_of(path: Path) -> str | None:
    """Which of `VARIANTS` stands for the weights called `path`; None where they are there themselves, or not at all."""
    return _found(path)[0]


def _found(path: Path) -> tuple[str | None, list[Path]]:
    """Variant and files of the weights called `path`, as the libraries look for them."""
    for variant in (None, *VARIANTS) if path.name in IN_PARTS else ():
        single, index = (
            path.with_name(_varied(path.name, variant)),
            path.with_name(_varied(f"{path.name}.index.json", variant)),
        )
        if index.exists() and (
            path.name.startswith("diffusion") or not single.exists()
        ):  # diffusers looks for the index first
            return variant, _shards(index)
        if single.exists():
            return variant, [single]
    return None, [path] if path.exists() else []


def _varied(name: str, variant: str | None) -> str:
    stem, suffix = name.rsplit(".", 1)
    return f"{stem}.{variant}.{suffix}" if variant else name


def _shards(index: Path) -> list[Path]:
    """The files that an index lists, by name.

    Raises ValueError where it is no index, and where a name is not that of a safetensors file, or of a pickle of torch,
    beside it.
    """
    shards = _read_table(index).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise ValueError(f"{index} is no index of shards: it needs 'weight_map', from tensors to files.")
    for name in sorted(set(shards.values())):
        if (
            name != Path(name).name
            or not name.endswith((".safetensors", ".bin"))
            or name.endswith(".bin") != (".bin." in index.name)
        ):
            raise ValueError(f"{index} lists {name!r}, which is no file of weights beside it.")
    return [index.with_name(name) for name in sorted(set(shards.values()))]


def _check_shards(path: Path) -> None:
    """That each shard of the weights called `path` holds what their index says: diffusers takes its word for it, and
    makes up what is missing.

    Raises ValueError where one does not.
    """
    variant, found = _found(path)
    index = path.with_name(_varied(f"{path.name}.index.json", variant))
    if not index.exists() or found != _shards(index):
        return
    listed = _read_table(index)["weight_map"]
    for shard in found:
        with safe_open(shard, "pt") as file:
            if gone := {name for name, place in listed.items() if place == shard.name} - set(file.keys()):
                raise ValueError(f"missing tensors: {len(gone)}, the first is {min(gone)}, in {shard.name}")


def _read_table(file: Path) -> dict[str, Any]:
    """A json file that holds a table.

    Raises ValueError for anything else.
    """
    content = _read_json(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds {type(content).__name__}, not a table of names and values.")
    return content


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read as json: {first_line(error)}.") from error


def remedy(settings: ModelSettings, file: str | None = None) -> str:
    """How to get a model's folder, or one `file` of it: what to fetch, from where, how big it is and where to put it."""
    folder = resolve(settings.source)
    if file is not None:
        path = folder / file
        weights = weights_of(path)
        if gone := [part.name for part in weights if not part.exists()]:
            return f"its index lists {', '.join(gone[:3])}{' and more' if len(gone) > 3 else ''}, which {'is' if len(gone) == 1 else 'are'} not there"
        if pickle := _pickle_of(path):
            first = "remove it, then " if weights else ""
            return f"{first}`vwlib convert {shlex.quote(str(folder))}` writes it from {pickle.name}"
    if settings.hub is None:
        if folder.is_relative_to(MINIATURES):
            return "restore it from the repository or train it with `make pretrain`"
        return _remedy_of_own(folder, file)
    size = f" (about {settings.gigabytes:g} GB)" if settings.gigabytes else ""
    return f"fetch {settings.hub}{size} from the Hugging Face hub: `{fetch_command(settings, folder)}`"


def _remedy_of_own(folder: Path, file: str | None) -> str:
    """What to do where a folder that is not the project's lacks a file: what it holds instead, and which library writes
    it.
    """
    single = (
        folder
        if folder.is_file()
        else next((path for path in sorted(folder.glob("*")) if path.suffix in (".ckpt", ".safetensors")), None)
    )
    if single and (file == "model_index.json" or single == folder) and single.suffix in (".ckpt", ".safetensors"):
        return f"`StableDiffusionPipeline.from_single_file('{single}').save_pretrained(FOLDER)` of diffusers writes a Stable Diffusion model as a folder"
    if file is None:
        return "name the folder that it was saved in"
    library = "open_clip" if Path(file).name in OPEN_CLIP else "diffusers" if file in PIPELINE else "transformers"
    place = (folder / file).parent
    held = sorted(path.name for path in place.iterdir() if not path.name.startswith(".")) if place.is_dir() else []
    listed = ", ".join(held[:6]) + (f" and {len(held) - 6} more" if len(held) > 6 else "")
    what = f"{place.name} holds {listed or 'nothing'}" if place.is_dir() else f"there is no folder {place.name}"
    return f"{what}; save the model again as {library} saves it, as safetensors"


def fetch_command(settings: ModelSettings, folder: Path | None = None) -> str:
    """The command that fetches a model's files from the Hugging Face hub into `folder`, or into the profile's as it
    names it.

    Raises ValueError for a model that is not there.
    """
    if settings.hub is None:
        raise ValueError(f"The model in {settings.source} is the project's own; there is nothing to fetch.")
    patterns = [part for pattern in settings.fetch for part in ("--include", pattern)]
    return shlex.join(
        [
            "hf",
            "download",
            settings.hub,
            "--revision",
            settings.revision,
            "--local-dir",
            str(folder or settings.source),
            *patterns,
        ]
    )


def check_open_clip(settings: ModelSettings, folder: Path) -> None:
    """That an open_clip model is built with the activation its weights were trained with; the wrong one loads as well,
    and names images wrongly.

    Raises ValueError where it is not, and where the configuration asks to run code of its own.
    """
    file = folder / "open_clip_config.json"
    content = _read_table(file)
    config = content.get("model_cfg")
    if not isinstance(config, dict):
        raise ValueError(f"{file} is no configuration of open_clip: it needs 'model_cfg'.")
    if "trust_remote_code" in json.dumps(content):
        raise ValueError(f"{file} asks for trust_remote_code, which would run the repository's own code; remove it.")
    if settings.activation and bool(config.get("quick_gelu")) != (settings.activation == "quick_gelu"):
        wanted = json.dumps(settings.activation == "quick_gelu")
        raise ValueError(
            f'{file} builds the model with another activation than {settings.activation}: set "quick_gelu" to {wanted} in its "model_cfg".'
        )


def convert_folder(folder: Path) -> list[Path]:
    """Write all pickled weights of a model's folder, and of the folders in it, as safetensors beside them, and return
    the new files.

    What is safetensors already stays as it is. Raises FileNotFoundError where there are no weights of either form, and
    ValueError where a pickle holds anything else than tensors.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is {'a file' if folder.exists() else 'missing'}; name a model's folder.")
    places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    written = [convert_weights(place) for place in places if _to_convert(place)]
    if not written and not any(weights_of(place / name) for place in places for name in PICKLES):
        raise FileNotFoundError(
            f"{folder} holds no weights to convert, which are called {', '.join(PICKLES.values())}."
        )
    return written


def convert_weights(folder: Path) -> Path:
    """Write a folder's pickled weights as safetensors beside them, and return the new file. The pickle may hold tensors
    only.

    Raises FileNotFoundError where there is no pickle, or its weights are there as safetensors, and ValueError where it
    holds anything else.
    """
    from safetensors.torch import save_file

    if (found := _to_convert(folder)) is None:
        *some, last = PICKLES.values()
        raise FileNotFoundError(
            f"{folder} holds neither {', '.join(some)} nor {last} that is not there as safetensors already."
        )
    target, pickle = found
    check_writable(folder)
    weights: dict[str, torch.Tensor] = {}
    for part in _shards(pickle) if pickle.suffix == ".json" else [pickle]:
        if not part.exists():
            raise FileNotFoundError(f"{part} is missing, which {pickle.name} lists.")
        weights |= _unpickled(part)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.partial")
    with writing_to(folder):
        try:
            save_file(weights, temporary, {"format": "pt"})
            temporary.rename(target)
        finally:
            temporary.unlink(missing_ok=True)
    return target


def _unpickled(pickle: Path) -> dict[str, torch.Tensor]:
    """The tensors of a pickle.

    Raises ValueError where it holds anything else.
    """
    import torch

    try:
        weights = torch.load(pickle, map_location="cpu", weights_only=True)
        weights = {
            key: value.contiguous().clone() for key, value in weights.get("state_dict", weights).items()
        }  # no two may share memory
        if not all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in weights.items()):
            raise ValueError("not a table of tensors by name")
    except Exception as error:  # torch raises whatever the pickle's content leads to
        raise ValueError(f"{pickle} holds something else than weights: {first_line(error)}") from error
    return weights


def _to_convert(folder: Path) -> tuple[Path, Path] | None:
    """The first weights of a folder that are there as a pickle only, and the pickle or the index of its shards."""
    for name in PICKLES:
        if not weights_of(folder / name) and (pickle := _pickle_of(folder / name)):
            varied = next((variant for variant in VARIANTS if f".{variant}." in pickle.name), None)
            return folder / _varied(name, varied), pickle
    return None


def _pickle_of(path: Path) -> Path | None:
    """The pickle that holds the weights called `path`, or the index of its shards; None where there is none."""
    if path.name not in PICKLES:
        return None
    names = [
        _varied(name, variant)
        for variant in (None, *VARIANTS)
        for name in (PICKLES[path.name], f"{PICKLES[path.name]}.index.json")
    ]
    return next((path.with_name(name) for name in names if path.with_name(name).exists()), None)


def seen_words(folder: Path) -> frozenset[str] | None:
    """The words that the model met in training, from its `words.json`; None where there is no such file.

    Raises ValueError where it holds anything else than a list of words.
    """
    file = folder / "words.json"
    if not file.exists():
        return None
    words = _read_json(file)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{file} is no list of words.")
    return frozenset(words)


def first_line(error: Exception) -> str:
    """What an error says, in a line; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def load_whole(kind: Any, folder: Path, **arguments: Any) -> Any:
    """A model of transformers or diffusers, of the class `kind`, once each of its tensors has come from the folder's
    files.

    Weights may lie in shards or be of half precision, and are computed with in single. Both libraries fill a tensor
    that the files lack with random numbers and only log it. Raises ValueError in one sentence that says how many they
    are and names the first.
    """
    import torch

    variant = next((found for name in IN_PARTS if (found := variant_of(folder / name))), None)
    with strict_loading(folder):
        for name in IN_PARTS:
            _check_shards(folder / name)
        model, info = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
            variant=variant,
            **arguments,
        )
        for fault, names in (
            ("missing tensors", info["missing_keys"]),
            ("tensors of another shape", info["mismatched_keys"]),
        ):
            if names:
                raise ValueError(f"{fault}: {len(names)}, the first is {min(map(str, names))}")
    return model


@contextmanager
def strict_loading(folder: Path, what: str = "weights") -> Iterator[None]:
    """Load without progress bars, and turn a library's complaint about a model's files into one sentence that names the
    folder.

    Raises ValueError where a file is truncated or a tensor is missing or of another shape; `what` says which files are
    read.
    """
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # of every kind, since a configuration may hold anything in the place of a number
        raise ValueError(
            f"The {what} in {folder} are damaged or do not fit its configuration: {first_line(error)}"
        ) from error


def not_the_originals(settings: ModelSettings) -> Iterator[str]:
    """A part of a sentence for each of a model's weights, where they are there, whose checksum is known and another;
    reads them once.
    """
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
    return digest_files(
        sorted(path for pattern in ("*.safetensors", "*config.json") for path in resolve(source).rglob(pattern))
    )
