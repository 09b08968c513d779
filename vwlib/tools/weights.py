"""How to get a model's weights: what to fetch or to convert if a file is missing."""

from __future__ import annotations

import shlex
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from vwlib.datasets.reading import name_some
from vwlib.files import read_json, writing_to
from vwlib.models.loading import DIFFUSERS, OPEN_CLIP, VARIANTS, find_weights, resolve
from vwlib.paths import MINIATURE

if TYPE_CHECKING:
    import torch

    from vwlib.settings import ModelSettings

#: The names of files of weights, and those of their pickles, which are never loaded, since loading can run code.
PICKLES = {
    "model.safetensors": "pytorch_model.bin",
    "diffusion_pytorch_model.safetensors": "diffusion_pytorch_model.bin",
    "open_clip_model.safetensors": "open_clip_pytorch_model.bin",
}
TRAINED_HERE = (MINIATURE / "models").resolve()


def fetch_command(settings: ModelSettings) -> str:
    """The command that fetches a model's files from the Hugging Face hub into the folder of its settings."""
    assert settings.hub, "the project's own models are not on the hub"
    command = ["hf", "download", settings.hub, "--revision", settings.revision, "--local-dir", settings.source]
    return shlex.join([*command, *(part for pattern in settings.fetch for part in ("--include", pattern))])


def remedy(settings: ModelSettings, file: str | None = None) -> str:
    """How to get a model's folder or one `file` of it: what to convert, to fetch or to save."""
    folder = resolve(settings.source)
    if file and (pickle := pickle_of(folder / file)):
        first = "remove it, then " if (folder / file).exists() else ""
        return f"{first}`vwlib convert {shlex.quote(str(folder))}` writes it from {pickle.name}"
    if settings.hub:
        size = f" (about {settings.gigabytes:g} GB)" if settings.gigabytes else ""
        return f"fetch {settings.hub}{size} from the Hugging Face hub: `{fetch_command(settings)}`"
    if folder.is_relative_to(TRAINED_HERE):
        return "restore it from the repository or train it with `make pretrain`"
    candidates = [folder] if folder.is_file() else sorted(folder.glob("*"))
    single = [path for path in candidates if path.suffix in (".ckpt", ".safetensors")]
    if single and (folder.is_file() or file == "model_index.json"):
        call = f"StableDiffusionPipeline.from_single_file('{single[0]}').save_pretrained(FOLDER)"
        return f"`{call}` of diffusers writes a Stable Diffusion model as a folder"
    if file is None:
        return "name the folder that it was saved in"
    library = "open_clip" if file in OPEN_CLIP else "diffusers" if file in DIFFUSERS else "transformers"
    place = (folder / file).parent
    held = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    listed = name_some(held, 6) or "nothing"
    return f"{place} holds {listed}; save the model again as {library} saves it, as safetensors"


def pickle_of(path: Path) -> Path | None:
    """The pickle that holds the weights called `path`, or the index of its shards; None if there is none."""
    if path.name not in PICKLES:
        return None
    pickle = path.with_name(PICKLES[path.name])
    names = [f"{pickle.stem}.bin", f"{pickle.stem}.bin.index.json"]
    names += [with_variant(name, variant) for variant in VARIANTS for name in names]
    return next((path.with_name(name) for name in names if path.with_name(name).exists()), None)


def with_variant(name: str, variant: str | None) -> str:
    """The name of a file in a variant, such as `model.fp16.safetensors`."""
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{variant}.{suffix}" if variant else name


def missing_shards(folder: Path) -> list[Path]:
    """The missing files of weights that indices in a folder, or in the folders in it, list.

    Raises ValueError for an index that cannot be read.
    """
    indices = sorted(folder.rglob("*.safetensors.index*.json"))
    return [shard for index in indices for shard in read_index(index) if not shard.exists()]


def read_index(index: Path) -> list[Path]:
    """The files that an index of shards lists. Raises ValueError unless all are files of weights beside it."""
    content = read_json(index)
    shards = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise ValueError(f"{index} is no index of shards: it needs 'weight_map', from tensors to files.")
    suffix = ".bin" if ".bin." in index.name else ".safetensors"
    if strange := sorted(name for name in shards.values() if name != Path(name).name or not name.endswith(suffix)):
        raise ValueError(f"{index} lists {strange[0]!r}, which is no file of weights beside it.")
    return [index.with_name(name) for name in sorted(set(shards.values()))]


def convert_folder(folder: Path) -> list[Path]:
    """Write pickled weights in a model's folder, and in the folders in it, as safetensors; return the new files.

    Existing safetensors stay. Raises FileNotFoundError if there are no weights of either form, and ValueError for a
    pickle that holds anything but tensors.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is {'a file' if folder.exists() else 'missing'}; name a model's folder.")
    paths = [place / name for place in (folder, *sorted(folder.iterdir())) if place.is_dir() for name in PICKLES]
    present = [path for path in paths if find_weights(path)]
    pickles = [(path, pickle) for path in paths if path not in present and (pickle := pickle_of(path))]
    if not pickles and not present:
        raise FileNotFoundError(f"{folder} holds no weights to convert, called {', '.join(PICKLES.values())}.")
    return [convert(path, pickle) for path, pickle in pickles]


def convert(path: Path, pickle: Path) -> Path:
    """Write a pickle, or the shards that it lists as an index, as the weights called `path`; return the new file.

    Raises FileNotFoundError for a missing shard, and ValueError for one that holds anything but tensors.
    """
    from safetensors.torch import save_file

    variant = next((variant for variant in VARIANTS if f".{variant}." in pickle.name), None)
    target = path.with_name(with_variant(path.name, variant))
    weights: dict[str, torch.Tensor] = {}
    for part in read_index(pickle) if pickle.suffix == ".json" else [pickle]:
        if not part.exists():
            raise FileNotFoundError(f"{part} is missing, which {pickle.name} lists.")
        weights |= _unpickled(part)
    with writing_to(path.parent), TemporaryDirectory(dir=path.parent, prefix=".") as temporary:
        save_file(weights, written := Path(temporary) / target.name, {"format": "pt"})
        return written.rename(target)


def _unpickled(pickle: Path) -> dict[str, torch.Tensor]:
    """The tensors of a pickle. Raises ValueError where it holds anything else."""
    import torch

    try:
        weights = torch.load(pickle, map_location="cpu", weights_only=True)
        weights = weights.get("state_dict", weights)
        weights = {key: value.contiguous().clone() for key, value in weights.items()}  # no two may share memory
        if not all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in weights.items()):
            raise ValueError("not a table of tensors by name")
    except Exception as error:  # torch raises whatever the pickle's content leads to
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(f"{pickle} does not hold weights: {reason}") from error
    return weights
