"""A model's files: finding them, and loading weights of which none is made up."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open

from vwlib.files import read_json
from vwlib.paths import ROOT
from vwlib.settings import ModelSettings

#: Files without which a model cannot be loaded, by the layout of its folder. "a|b:key" is a file a or, in other
#: versions of transformers, a file b that has a key.
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
VARIANTS = ("fp16", "bf16")  # half precisions, in the names of files of weights


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

    Raises ValueError for a configuration that cannot be read.
    """

    def is_there(named: str) -> bool:
        name, _, key = named.partition(":")
        path = folder / name
        return bool(find_weights(path)) or (path.exists() and (not key or key in read_json(path)))

    return [names for names in files if not any(is_there(name) for name in names.split("|"))]


def find_weights(path: Path) -> list[Path]:
    """The files of the weights called `path`: itself, its shards, or half precision in its place."""
    return sorted(path.parent.glob(f"{path.stem}*.safetensors")) if path.suffix == ".safetensors" else []


def variant_of(path: Path) -> str | None:
    """The half precision in which the weights called `path` are stored; None for whole ones, and where none are."""
    names = [file.name for file in find_weights(path)]
    halves = [variant for variant in VARIANTS if any(variant in name for name in names)]
    return halves[0] if halves and all(any(half in name for half in halves) for name in names) else None


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

    Both libraries fill a tensor that the files lack with random numbers; here that raises ValueError.
    """
    import torch

    variants = (variant_of(folder / f"{name}.safetensors") for name in ("model", "diffusion_pytorch_model"))
    with strict_loading(folder):
        model, info = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
            variant=next(filter(None, variants), None),
        )
        for key, fault in (("missing_keys", "missing tensors"), ("mismatched_keys", "tensors of another shape")):
            if names := info[key]:
                raise ValueError(f"{fault}: {len(names)}, the first is {min(map(str, names))}")
        for index in folder.glob("*.safetensors.index*.json"):  # which diffusers believes
            for tensor, shard in read_json(index)["weight_map"].items():
                with safe_open(folder / shard, "pt") as file:
                    if tensor not in file.keys():  # noqa: SIM118
                        raise ValueError(f"missing tensors: {tensor}, which {index.name} lists, in {shard}")
    return model


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
