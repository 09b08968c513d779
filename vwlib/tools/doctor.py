"""What is ready for a run and what is missing: devices, weights, datasets, and how much a run has to do."""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from vwlib.concepts import DATASETS, TASKS, Concept, concepts_of
from vwlib.datasets import ORIGINS, read_split
from vwlib.datasets.choose import FEWER_ALLOWED, test_examples, training_examples
from vwlib.datasets.source import SPLITS
from vwlib.datasets.splits import unnamed_folder
from vwlib.examples import Example
from vwlib.files import read_json
from vwlib.miniature import world
from vwlib.models import ADAPTERS, find_adapter
from vwlib.models.loading import OPEN_CLIP, SAFETY_CHECKER, find_weights, missing_files, resolve, variant_of
from vwlib.models.precision import speeds_of
from vwlib.paths import ROOT
from vwlib.settings import ModelSettings, Profile
from vwlib.study.digest import altered_weights
from vwlib.study.plan import make_plan
from vwlib.study.progress import cost_table, measured_rates, read_run_log
from vwlib.study.store import Store
from vwlib.tools.weights import missing_shards, remedy


class Finding(NamedTuple):
    """One thing that was checked."""

    state: str  # "ready", "note" or "missing"
    text: str  # what it is and, if it is missing, what to do


ready, note, missing = (partial(Finding, state) for state in ("ready", "note", "missing"))
_MARKS = {"ready": "ok     ", "note": "note   ", "missing": "MISSING"}


@dataclass(frozen=True)
class Report:
    """All findings of a profile, by section."""

    profile: str
    sections: dict[str, list[Finding]]

    @property
    def missing(self) -> list[Finding]:
        """What a run needs and does not have."""
        return [finding for findings in self.sections.values() for finding in findings if finding.state == "missing"]

    def text(self) -> str:
        """The report as text: a line for each finding, and a verdict."""
        lines = []
        for section, findings in self.sections.items():
            lines += [section, *(f"  {_MARKS[finding.state]} {finding.text}" for finding in findings), ""]
        verdict = f"is not ready; missing: {len(self.missing)}" if self.missing else "is ready"
        return "\n".join([*lines, f"The profile '{self.profile}' {verdict}."])


def examine(profile: Profile, checksums: bool = True) -> Report:
    """Check all that a run of the profile needs; `checksums` reads weights whose original checksum is known."""
    models = [model(role, settings, files_of(role, profile), checksums) for role, settings in profile.models.items()]
    datasets = chain(*(data(profile, dataset) for dataset in DATASETS))
    sections = {"Machine": machine(profile), "Models": chain(*models, adapters(profile)), "Datasets": datasets}
    sections["Study"] = study(profile)
    return Report(profile.name, {section: [*findings] for section, findings in sections.items()})


def machine(profile: Profile) -> Iterator[Finding]:
    """Processors, memory, accelerators and disk space."""
    cores = len(os.sched_getaffinity(0))
    yield ready(f"{cores} processor cores, {_memory():.0f} GB of memory, torch {version('torch')}")
    count = 0
    if _may_have_gpu():
        import torch

        count = torch.cuda.device_count()
        for index in range(count):
            free, total = (size / 1e9 for size in torch.cuda.mem_get_info(index))
            yield ready(f"cuda:{index}: {torch.cuda.get_device_name(index)}, {free:.0f} of {total:.0f} GB free")
    if not count and profile.world == "paper":
        yield note("no GPU that torch can use; a study with these models needs one")
    yield from place(profile)
    yield ready(f"{shutil.disk_usage(ROOT).free / 1e9:.0f} GB free on the project's disk")


def place(profile: Profile) -> Iterator[Finding]:
    """The device on which the profile's models compute, its memory, and the precision."""
    device, total = "cpu", _memory()
    if _may_have_gpu() or profile.device not in ("auto", "cpu"):
        import torch

        from vwlib.models.memory import find_device

        try:
            device = str(find_device(profile.device))
        except ValueError as error:
            yield missing(str(error))
            return
        total = torch.cuda.mem_get_info(device)[1] / 1e9 if device.startswith("cuda") else total
    weights, text = sum(settings.gigabytes or 0 for settings in profile.models.values()), f"models compute on {device}"
    if weights:
        text += f"; weights take about {weights:.0f} of its {total:.0f} GB, and words learn at once in the rest"
    yield (ready if weights < total else note)(text)
    asked, speeds = profile.generator.precision, speeds_of(profile.generator, device)
    measured = f"a product of its size takes {speeds.float32:.2g} ms in float32, {speeds.bfloat16:.2g} ms in bfloat16"
    text = f"the generator computes in {speeds.faster if asked == 'auto' else asked}: {measured}"
    if asked in ("auto", "float32", speeds.faster) or device != "cpu":
        yield ready(text)
    else:
        yield note(f'{text}; precision = "auto" in [{profile.name}.generator] takes the faster one')


def _may_have_gpu() -> bool:
    """Whether there may be a GPU that torch can use; asking torch itself takes seconds."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists() or "torch" in sys.modules


def _memory() -> float:
    """The machine's memory in GB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def model(name: str, settings: ModelSettings, files: Sequence[str], checksums: bool = True) -> Iterator[Finding]:
    """Whether a model's files are present, whole, trained, and the originals."""
    folder = resolve(settings.source)
    try:
        gone = [file.split("|")[0] for file in missing_files(folder, files)]
        gone += [str(shard.relative_to(folder)) for shard in missing_shards(folder)]
    except ValueError as error:
        yield missing(f"{name}: {error}")
        return
    if gone or not folder.is_dir():
        what = f"{folder} lacks {', '.join(gone)}" if folder.is_dir() else f"{folder} is not there"
        yield missing(f"{name}: {what}; {remedy(settings, gone[0] if gone and folder.exists() else None)}")
        return
    named = [file for file in files if file.endswith(".safetensors")]
    weights = [path for file in named for path in find_weights(folder / file)]
    weights = weights if files else sorted(folder.rglob("*.safetensors"))
    if damages := [text for path in weights if (text := _damage(settings, path))]:
        yield from (missing(f"{name}: {text}") for text in damages)
        return
    origin = f", a copy of {settings.hub} ({settings.revision})" if settings.hub else ""
    size = sum(path.stat().st_size for path in weights) / 1e9
    yield ready(f"{name}: {folder}{origin}, {size:.2g} GB of weights")
    if not weights:
        yield note(f"{name}: without a *.safetensors file, words of these weights look like those of others")
    if halves := [file for file in named if variant_of(folder / file)]:
        yield note(f"{name}: in half precision, so that learned words differ a little: {', '.join(halves)}")
    if not _is_trained(settings):
        yield note(f"{name}: the weights are random, only for trying the code; words learned in them mean nothing")
    for file in altered_weights(settings) if checksums else ():
        yield note(f"{name}: {file} is not the original, by its SHA-256; results will not be the paper's model's")


def files_of(role: str, profile: Profile) -> Sequence[str]:
    """The files that the model of a role needs, as its adapter says; none if the adapter is missing."""
    if role in profile.adapters:
        try:
            return find_adapter(role, profile).files
        except (ValueError, FileNotFoundError):  # `adapters` reports it
            return ()
    if role in ADAPTERS:
        return ADAPTERS[role][2]
    return SAFETY_CHECKER if role == "safety_checker" else OPEN_CLIP


def adapters(profile: Profile) -> Iterator[Finding]:
    """Whether the classes exist that load models in place of the library's own."""
    for task, named in profile.adapters.items():
        try:
            find_adapter(task, profile)
            yield ready(f"{named} loads the model of {task}")
        except (ValueError, FileNotFoundError) as error:
            yield missing(str(error))


def _damage(settings: ModelSettings, path: Path) -> str | None:
    """A clause about a damaged file of weights; None for a whole one."""
    try:
        with safe_open(path, "np"):
            return None
    except (SafetensorError, OSError) as error:
        file = path.relative_to(resolve(settings.source)).as_posix()
        return f"{path} is damaged ({str(error).splitlines()[0]}); {remedy(settings, file)}"


def _is_trained(settings: ModelSettings) -> bool:
    """False where the folder's `training.json` says that no step was taken."""
    file = resolve(settings.source) / "training.json"
    try:
        return not file.exists() or any(read_json(file)["steps"].values())
    except (ValueError, KeyError, AttributeError, TypeError):
        return True


def data(profile: Profile, dataset: str) -> Iterator[Finding]:
    """Whether a dataset has enough images of every concept, with the counts."""
    if dataset not in profile.data:
        if profile.world != "miniature":
            yield missing(unnamed_folder(profile, dataset))
            return
        train = world.INSTANCE_TRAIN if dataset == "DreamBooth" else world.TRAIN
        counts = f"{train} training and {world.TEST} test images of each concept"
        yield ready(f"{dataset}: drawn by the project at first use, {counts}")
        return
    folder, concepts = resolve(profile.data[dataset]), concepts_of(dataset, profile.world)
    if not folder.is_dir():
        yield missing(f"{dataset}: {folder} is not there; put there {ORIGINS[dataset]}")
        return
    found: dict[str, list[Example]] = {}
    problems: dict[str, str] = {}
    for split in SPLITS:
        found[split], wrong = read_split(dataset, folder, concepts, split)
        shared = {sentence for sentence, count in Counter(wrong.values()).items() if count > 1}
        yield from (missing(f"{dataset}, {split}: {sentence}") for sentence in sorted(shared))
        problems = {concept: sentence for concept, sentence in wrong.items() if sentence not in shared} | problems
    if any(found.values()):
        yield ready(f"{dataset}: {folder}")
        yield from (_counted(profile, concept, found, problems.get(concept.name)) for concept in concepts)


def _counted(profile: Profile, concept: Concept, found: dict[str, list[Example]], problem: str | None) -> Finding:
    """How many images a concept has, and whether training and test images can be chosen and opened."""
    counts = []
    for split, name in zip(SPLITS, ("training", "test"), strict=True):
        images = [example for example in found[split] if example.label == concept.name]
        boxed = sum(bool(len(example.boxes_of(concept.name))) for example in images)
        counts.append(f"{len(images)} {name} images ({boxed} with boxes)")
    text = f"{concept.dataset}, {concept.name}: {', '.join(counts)}"
    try:
        chosen = training_examples(found["train"], concept.name, profile.train_images)
        chosen += test_examples(found["test"], [concept.name], profile.test_images)
    except (ValueError, FileNotFoundError) as error:
        return missing(f"{text}; {problem or error}")
    if gone := [example.path for example in chosen if not example.path.exists()]:
        return missing(f"{text}; the image {gone[0]} is missing")
    if not all(len(example.boxes) for example in chosen):
        hint = f", and `vwlib boxes --profile {profile.name}` proposes some" if concept.dataset in FEWER_ALLOWED else ""
        return missing(f"{text}; detection needs boxes in all of them{hint}")
    return ready(text)


def study(profile: Profile) -> Iterator[Finding]:
    """What the study of a profile has to do."""
    sizes, generator = profile.study, profile.generator
    free = len(sizes.datasets) * sizes.concepts * sizes.anchors * len(TASKS)
    bound = free * len(sizes.deltas)
    yield ready(f"{free:,} unconstrained and {bound:,} constrained words of {profile.vectors} vectors")
    for task in TASKS:
        learning, words = profile.learning[task], (free + bound) // len(TASKS)
        yield ready(f"{task}: {words:,} words × {learning.steps:,} steps × {learning.batch} images")
    drawn, steps = (free + bound) * generator.images_per_word, generator.inference_steps
    yield ready(f"{drawn:,} pictures of {generator.image_size} px, {steps} denoising steps each")
    yield time_needed(profile)


def time_needed(profile: Profile) -> Finding:
    """How long the study takes, by the measured times."""
    try:
        rates = measured_rates(profile, read_run_log(Store(profile).log_file))
    except ValueError as error:
        return note(f"its duration is not known. {error}")
    hours = cost_table(make_plan(profile), profile, rates)["hours"].sum()
    command = f"`vwlib study --profile {profile.name} --estimate SPEED`"
    return ready(f"{hours:,.1f} hours in one process, by {rates.source}; {command} says it for faster machines")
