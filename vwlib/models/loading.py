"""A model's files: finding them, loading weights of which none is made up, and telling them from others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from vwlib.files import read_json
from vwlib.paths import ROOT

if TYPE_CHECKING:
    from vwlib.settings import ModelSettings

#: Files without which a model cannot be loaded, by the layout of its folder. "a|b:key" is a file a, or in folders of other
#: versions of transformers a file b that has a key.
DIFFUSERS = (
    "model_index.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer.json|tokenizer/merges.txt",
)
SAFETY_CHECKER = ("config.json", "model.safetensors", "preprocessor_config.json|processor_config.json:image_processor")
TRANSFORMERS = (*SAFETY_CHECKER, "tokenizer.json|merges.txt")
OPEN_CLIP = ("open_clip_config.json", "open_clip_model.safetensors")
#: Weights that transformers and diffusers also read as shards, which an index lists, and in half precision.
SHARDED = ("model.safetensors", "diffusion_pytorch_model.safetensors")
VARIANTS = ("fp16", "bf16")


def resolve(source: str) -> Path:
    """A local folder as an absolute path; relative ones start from the project's root."""
    return (ROOT / source).resolve()


def check_folder(settings: ModelSettings, *files: str) -> Path:
    """The model's folder, if it has all of `files`. Raises FileNotFoundError that names what is missing."""
    folder = resolve(settings.source)
    if missing := missing_files(folder, files):
        path = folder / missing[0].split("|")[0] if folder.is_dir() else folder
        raise FileNotFoundError(f"{path} is missing; `vwlib doctor` says how to get it.")
    return folder


def missing_files(folder: Path, files: Sequence[str]) -> list[str]:
    """Those of a model's files that its folder lacks; weights may be there as shards and in half precision.

    Raises ValueError for an index of shards, or a configuration, that cannot be read.
    """

    def is_there(named: str) -> bool:
        name, _, key = named.partition(":")
        parts = find_weights(folder / name)[1]
        return bool(parts) and all(part.exists() for part in parts) and (not key or key in read_table(parts[0]))

    return [names for names in files if not any(is_there(name) for name in names.split("|"))]


def find_weights(path: Path) -> tuple[str | None, list[Path]]:
    """The variant and the files of the weights called `path`, as the libraries look for them.

    The variant is None, or a half precision that takes the place of whole weights. The files are one, none, or the
    shards that an index lists, some perhaps missing. Raises ValueError for an index that cannot be read.
    """
    for variant in (None, *VARIANTS) if path.name in SHARDED else ():
        single, index = with_variant(path, variant), index_of(path, variant)
        # diffusers looks for the index first, transformers for the single file.
        if index.exists() and (path.name.startswith("diffusion") or not single.exists()):
            return variant, sorted(set(read_index(index).values()))
        if single.exists():
            return variant, [single]
    return None, [path] if path.exists() else []


def with_variant(path: Path, variant: str | None) -> Path:
    """The file in a variant, such as `model.fp16.safetensors`."""
    return path.with_name(f"{path.stem}.{variant}{path.suffix}") if variant else path


def index_of(path: Path, variant: str | None = None) -> Path:
    """The index of the shards of the weights called `path`."""
    return with_variant(path.with_name(f"{path.name}.index.json"), variant)


def read_index(index: Path) -> dict[str, Path]:
    """The file of each tensor, by an index of shards.

    Raises ValueError where it is no index, or lists anything else than files of weights beside it.
    """
    shards = read_table(index).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise ValueError(f"{index} is no index of shards: it needs 'weight_map', from tensors to files.")
    suffix = ".bin" if ".bin." in index.name else ".safetensors"
    if strange := sorted(name for name in shards.values() if name != Path(name).name or not name.endswith(suffix)):
        raise ValueError(f"{index} lists {strange[0]!r}, which is no file of weights beside it.")
    return {tensor: index.with_name(name) for tensor, name in shards.items()}


def read_table(file: Path) -> dict[str, Any]:
    """A JSON file that holds names and values. Raises ValueError for anything else."""
    content = read_json(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds {type(content).__name__}, not a table of names and values.")
    return content


def seen_words(folder: Path) -> frozenset[str] | None:
    """The words that the model met in training, from its `words.json`; None where there is no such file.

    Raises ValueError where it holds anything else than a list of words.
    """
    file = folder / "words.json"
    if not file.exists():
        return None
    words = read_json(file)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{file} is no list of words.")
    return frozenset(words)


def load_whole(kind: Any, folder: Path) -> Any:
    """A model of transformers or diffusers, of the class `kind`, in float32.

    Both libraries fill a tensor that the files lack with random numbers. Raises ValueError that says how many there are
    and names the first, after checking that every tensor was loaded from the folder.
    """
    import torch

    with strict_loading(folder):
        _check_shards(folder)
        model, info = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
            variant=next((variant for name in SHARDED if (variant := find_weights(folder / name)[0])), None),
        )
        for key, fault in (("missing_keys", "missing tensors"), ("mismatched_keys", "tensors of another shape")):
            if names := info[key]:
                raise ValueError(f"{fault}: {len(names)}, the first is {min(map(str, names))}")
    return model


def _check_shards(folder: Path) -> None:
    """Raise ValueError unless each shard holds what its index says, which diffusers does not check."""
    for name in SHARDED:
        variant, files = find_weights(folder / name)
        index = index_of(folder / name, variant)
        listed = read_index(index) if index.exists() else {}
        for shard in set(files) & set(listed.values()):
            with safe_open(shard, "pt") as file:
                if gone := {tensor for tensor, place in listed.items() if place == shard} - set(file.keys()):
                    raise ValueError(f"missing tensors: {len(gone)}, the first is {min(gone)}, in {shard.name}")


@contextmanager
def strict_loading(folder: Path, what: str = "weights") -> Iterator[None]:
    """Load without progress bars, and turn whatever a library raises into ValueError that names the folder.

    `what` says which files are read.
    """
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # of every type, since a configuration may hold anything in place of a number
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(f"The {what} in {folder} are damaged or do not fit its configuration: {reason}") from error


def altered_weights(settings: ModelSettings) -> list[str]:
    """Those of a model's weights that are there and are not the original ones, by their checksum."""
    files = {file: resolve(settings.source) / file for file in settings.sha256}
    return [name for name, path in files.items() if path.exists() and hash_file(path) != settings.sha256[name]]


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_files(paths: Sequence[Path]) -> str:
    """A short hash of the files' contents, in their order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(bytes.fromhex(hash_file(path)))
    return digest.hexdigest()[:16]


@lru_cache
def digest_folder(source: str) -> str:
    """A short hash of all weights and configurations in a model's folder; read once per process.

    A scheduler's or an autoencoder's configuration decides as much about a picture as weights do.
    """
    folder = resolve(source)
    return digest_files(sorted(path for name in ("*.safetensors", "*config.json") for path in folder.rglob(name)))
