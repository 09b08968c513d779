"""Short names for what words come from: files, weights, the images of a dataset, and all that determined a word."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from vwlib import datasets
from vwlib.concepts import DATASETS, FRESH
from vwlib.datasets.splits import dataset_folder, load_split
from vwlib.examples import Example
from vwlib.files import write_whole
from vwlib.models.loading import resolve
from vwlib.models.precision import precision_of
from vwlib.settings import ModelSettings, Profile
from vwlib.trials import Trial
from vwlib.words import Word


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
    """A short hash of all weights and configurations in a model's folder; read once per process."""
    folder = resolve(source)
    return digest_files(sorted(path for name in ("*.safetensors", "*config.json") for path in folder.rglob(name)))


def digest_examples(examples: Sequence[Example]) -> str:
    """A short hash of images, labels and boxes: a corrected box changes what is learned as much as another picture."""
    noted = [(e.label, e.boxes.tolist(), e.names, e.ignored_boxes.tolist(), e.ignored_names) for e in examples]
    contents = digest_files([example.path for example in examples]) + json.dumps(noted)
    return hashlib.sha256(contents.encode()).hexdigest()[:16]


@lru_cache(maxsize=16)
def split_digests(profile: Profile, dataset: str) -> tuple[str, str]:
    """The digests of a dataset's training and test images; the miniature's own are kept beside its datasets."""
    file = None
    if dataset in (*DATASETS, *FRESH) and dataset not in profile.data and profile.world == "miniature":
        readers = digest_files(sorted(Path(datasets.__file__).parent.glob("*.py")))
        name = f".digests-{dataset}-{profile.train_images}-{profile.test_images}-{readers}.json"
        file = dataset_folder(profile, dataset).parent / name
        with suppress(OSError, ValueError):
            train, test = json.loads(file.read_text())
            return str(train), str(test)
    split = load_split(profile, dataset)
    digests = digest_examples(split.train), digest_examples(split.test)
    if file:
        with suppress(OSError):
            write_whole(file, json.dumps(digests).encode())
    return digests


def precision_here(task: str, profile: Profile) -> str:
    """The precision in which a task's words are learned on this machine: float32, except for the generator."""
    asked = profile.generator.precision if task == "generation" else "float32"
    if asked != "auto":
        return asked  # without asking torch for a device
    from vwlib.models.memory import find_device

    return precision_of(profile.generator, str(find_device(profile.device)))


def as_words(
    task: str, profile: Profile, trials: Sequence[Trial], vectors: Iterable[Any], precision: str | None = None
) -> list[Word]:
    """Learned vectors (word, vector, d) with all that determined them; `precision` is by default this machine's."""
    same: dict[str, Any] = {
        "task": task,
        "profile": profile.name,
        **profile.learning[task].model_dump(exclude_none=True),
        "prompt": profile.prompt,
        "precision": precision or precision_here(task, profile),
        "model": digest_folder(profile.models[task].source),
    }
    return [
        Word(vectors=word, **asdict(trial), images=split_digests(profile, trial.dataset)[0], **same)
        for word, trial in zip(vectors, trials, strict=True)
    ]


def trials_of(words: Sequence[Word]) -> list[Trial]:
    """The trials that gave words."""
    return [Trial(word.dataset, word.concept, word.anchor, word.delta, word.seed) for word in words]
