"""What is ready for a run and what is missing: devices, weights, datasets, and how much a run has to do."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open

from vwlib.concepts import DATASETS, Concept, concepts_of
from vwlib.datasets import load_dataset
from vwlib.datasets.choose import FEWER_ALLOWED, test_examples, training_examples
from vwlib.datasets.source import SPLITS
from vwlib.examples import Example
from vwlib.miniature import world
from vwlib.models import TASKS
from vwlib.models.adapters import find_adapter
from vwlib.models.loading import (
    OPEN_CLIP,
    PIPELINE,
    TEXT_AND_IMAGE,
    TRANSFORMERS,
    lacking,
    not_the_originals,
    remedy,
    resolve,
    variant_of,
    weights_of,
)
from vwlib.models.precision import speeds_of
from vwlib.paths import ROOT
from vwlib.settings import ModelSettings, Profile
from vwlib.study.cost import cost_table, measured_rates
from vwlib.study.plan import make_plan
from vwlib.study.store import Store
from vwlib.trials import unnamed_folder

State = Literal["ready", "note", "missing"]
_MARKS: dict[State, str] = {"ready": "ok     ", "note": "note   ", "missing": "MISSING"}

#: Where the real datasets are published, how big they are, and which of their files are needed.
ORIGINS = {
    "ImageNet": "ILSVRC2012 CLS-LOC (image-net.org after registration, or Kaggle's imagenet-object-localization-challenge; 155 GB), with its Annotations",
    "DreamBooth": "github.com/google/dreambooth (110 MB), its folder `dataset`",
    "COCO": "train2017.zip, val2017.zip and annotations_trainval2017.zip from cocodataset.org (20 GB)",
    "PASCAL": "VOCtrainval_11-May-2012.tar from the PASCAL VOC site (2 GB)",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what it is, whether it is ready, and where it is not, what to do."""

    section: str
    state: State
    text: str


@dataclass(frozen=True)
class Report:
    """All findings, in order."""

    profile: str
    findings: list[Finding]

    @property
    def ready(self) -> bool:
        """Whether nothing is missing."""
        return all(finding.state != "missing" for finding in self.findings)

    def text(self) -> str:
        """The report for people: a line a finding, and a verdict."""
        lines = []
        for section in dict.fromkeys(finding.section for finding in self.findings):
            lines += [section, *(f"  {_MARKS[f.state]} {f.text}" for f in self.findings if f.section == section), ""]
        missing = sum(finding.state == "missing" for finding in self.findings)
        verdict = (
            "is ready"
            if self.ready
            else f"is not ready: {missing} {'thing is' if missing == 1 else 'things are'} missing"
        )
        return "\n".join([*lines, f"The profile '{self.profile}' {verdict}."])


def examine(profile: Profile, checksums: bool = True) -> Report:
    """Look at everything that a run of the profile needs; `checksums` reads all weights whose original checksum is
    known.
    """
    findings = [*machine(profile)]
    for role, settings, files in models_of(profile):
        findings += model(role, settings, files, checksums)
    findings += adapters(profile)
    for dataset in DATASETS:
        findings += data(profile, dataset)
    return Report(profile.name, [*findings, *run(profile)])


def machine(profile: Profile) -> Iterator[Finding]:
    """Processors, memory, accelerators and disk space."""
    yield Finding(
        "Machine",
        "ready",
        f"{len(os.sched_getaffinity(0))} processor cores, {_memory():.0f} GB of memory, torch {version('torch')}",
    )
    gpus = list(_gpus())
    yield from (Finding("Machine", "ready", text) for text in gpus)
    if not gpus and profile.world == "paper":
        yield Finding("Machine", "note", "no GPU that torch can use; a study with these models needs one")
    yield from place(profile)
    yield Finding("Machine", "ready", f"{shutil.disk_usage(ROOT).free / 1e9:.0f} GB free on the project's disk")


def place(profile: Profile) -> Iterator[Finding]:
    """On which device the profile's models compute, and how much of its memory they leave."""
    try:
        device = "cpu" if profile.device in ("auto", "cpu") and not _gpu_in_sight() else _device(profile.device)
    except ValueError as error:
        yield Finding("Machine", "missing", str(error))
        return
    weights = sum(settings.gigabytes or 0 for _, settings, _ in models_of(profile))
    total = _gpu_memory(device) if device.startswith("cuda") else _memory()
    text = f"models compute on {device}"
    if weights:
        text += f"; their weights take about {weights:.0f} of its {total:.0f} GB, and what is left decides how many words learn at once"
    yield Finding("Machine", "ready" if weights < total else "note", text)
    yield _precision(profile, device)


def _precision(profile: Profile, device: str) -> Finding:
    """In what the generator's products are computed, and whether that is the faster one here."""
    asked = profile.generator.precision
    if asked == "float32" or (asked != "auto" and device != "cpu"):
        return Finding("Machine", "ready", f"the generator computes in {asked}, as the profile says")
    speeds = speeds_of(profile.generator, device)
    if asked == "auto":
        return Finding("Machine", "ready", f"the generator computes in {speeds}")
    told = f"the generator computes in {asked}, as the profile says"
    if speeds.precision == "bfloat16":
        return Finding("Machine", "ready", told)
    return Finding(
        "Machine",
        "note",
        f'{told}; the processor is faster in {speeds}; precision = "auto" in [{profile.name}.generator] takes that',
    )


def _gpu_in_sight() -> bool:
    """Whether there may be a GPU that torch can use; asking torch itself takes seconds."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists() or "torch" in sys.modules


def _gpus() -> Iterator[str]:
    """Each GPU with its free memory."""
    if _gpu_in_sight():
        import torch

        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            yield f"cuda:{index}: {torch.cuda.get_device_name(index)}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free"


def _device(name: str) -> str:
    from vwlib.models.device import find_device

    return str(find_device(name))


def _gpu_memory(device: str) -> float:
    """A GPU's memory in GB."""
    import torch

    return torch.cuda.mem_get_info(device)[1] / 1e9


def _memory() -> float:
    """The machine's memory in GB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def models_of(profile: Profile) -> Iterator[tuple[str, ModelSettings, Sequence[str]]]:
    """Every model that a profile loads: its role, its settings and the files it cannot do without; none where an
    adapter loads it, which knows its own.
    """
    files = {"generation": PIPELINE, "detection": TEXT_AND_IMAGE, "classification": OPEN_CLIP} | dict.fromkeys(
        profile.adapters, ()
    )
    yield "generator", profile.generator, files["generation"]
    if profile.generator.safety_checker:
        yield "safety checker", profile.generator.safety_checker, TRANSFORMERS
    yield "detector", profile.detector, files["detection"]
    yield "classifier", profile.classifier, files["classification"]
    yield "judge", profile.judge, OPEN_CLIP
    if profile.second_judge:
        yield "second judge", profile.second_judge, OPEN_CLIP


def model(role: str, settings: ModelSettings, files: Sequence[str], checksums: bool = True) -> Iterator[Finding]:
    """Whether a model's files are there, whole, trained, and the originals."""
    folder = resolve(settings.source)
    origin = f", a copy of {settings.hub} ({settings.revision})" if settings.hub else ""
    try:
        gone = lacking(folder, files)
        weights = [path for file in files if file.endswith(".safetensors") for path in weights_of(folder / file)]
    except ValueError as error:
        yield Finding("Models", "missing", f"{role}: {error}")
        return
    if not folder.is_dir() or gone:
        what = f"{folder} is not there" if not folder.is_dir() else f"{folder} lacks {', '.join(gone)}"
        yield Finding("Models", "missing", f"{role}: {what}; {remedy(settings, gone[0] if folder.is_dir() else None)}")
        return
    if not files:  # an adapter's
        weights = [path for path in sorted(folder.rglob("*.safetensors")) if path.is_file()]
    broken = [sentence for path in weights if (sentence := _damage(settings, path))]
    if broken:
        yield from (Finding("Models", "missing", f"{role}: {sentence}") for sentence in broken)
        return
    size = sum(path.stat().st_size for path in weights) / 1e9
    yield Finding("Models", "ready", f"{role}: {folder}{origin}, {size:.2g} GB of weights")
    if halves := [file for file in files if variant_of(folder / file)]:
        told = f"{role}: {', '.join(halves)} {'is' if len(halves) == 1 else 'are'} stored in half precision"
        yield Finding(
            "Models", "note", f"{told}; words learned in them differ a little from those of the whole weights"
        )
    if not weights:
        yield Finding(
            "Models",
            "note",
            f"{role}: no *.safetensors file is there, by which the words of these weights are told from those of others",
        )
    if not _is_trained(settings):
        yield Finding(
            "Models",
            "note",
            f"{role}: these weights are random, only for trying the code; nothing learned in them means anything",
        )
    for differs in not_the_originals(settings) if checksums else ():
        yield Finding("Models", "note", f"{role}: {differs}")


def adapters(profile: Profile) -> Iterator[Finding]:
    """Whether the functions are there that load models in the place of the library's own."""
    for task, named in profile.adapters.items():
        try:
            find_adapter(named)
            yield Finding("Models", "ready", f"{named} loads the model of {task}")
        except (ValueError, FileNotFoundError) as error:
            yield Finding("Models", "missing", str(error))


def _damage(settings: ModelSettings, path: Path) -> str | None:
    """A sentence about a weights file that is cut off or no such file; None for a whole one."""
    try:
        with safe_open(path, "np"):
            return None
    except (SafetensorError, OSError) as error:
        return f"{path} is damaged ({str(error).splitlines()[0]}); {remedy(settings, path.relative_to(resolve(settings.source)).as_posix())}"


def _is_trained(settings: ModelSettings) -> bool:
    """False where the folder's `training.json` says that no step was taken."""
    file = resolve(settings.source) / "training.json"
    try:
        return not file.exists() or any(json.loads(file.read_text())["steps"].values())
    except (ValueError, KeyError, AttributeError):
        return True


def data(profile: Profile, dataset: str) -> Iterator[Finding]:
    """Whether a dataset is there and has enough images of every concept, with the counts."""
    if dataset not in profile.data and profile.world != "miniature":
        yield Finding("Datasets", "missing", unnamed_folder(profile, dataset))
        return
    if dataset not in profile.data:
        counts = f"{world.INSTANCE_TRAIN if dataset == 'DreamBooth' else world.TRAIN} training and {world.TEST} test images of each concept"
        yield Finding("Datasets", "ready", f"{dataset}: drawn by the project at first use, {counts}")
        return
    folder = resolve(profile.data[dataset])
    if not folder.is_dir():
        yield Finding("Datasets", "missing", f"{dataset}: {folder} is not there; put there {ORIGINS[dataset]}")
        return
    concepts = concepts_of(dataset, profile.world)
    found: dict[str, list[Example]] = {}
    complaints: dict[str, str] = {}
    for split in SPLITS:
        found[split], wrong = read_split(dataset, folder, concepts, split)
        shared = {sentence for sentence, count in Counter(wrong.values()).items() if count > 1}
        yield from (Finding("Datasets", "missing", f"{dataset}, {split}: {sentence}") for sentence in sorted(shared))
        complaints = {concept: sentence for concept, sentence in wrong.items() if sentence not in shared} | complaints
    if not any(found.values()):
        return
    yield Finding("Datasets", "ready", f"{dataset}: {folder}")
    for concept in concepts:
        yield _counted(profile, concept, found, complaints.get(concept.name))


def read_split(
    dataset: str, folder: Path, concepts: Sequence[Concept], split: str
) -> tuple[list[Example], dict[str, str]]:
    """Whatever examples there are of a split, and a sentence for each concept with which something is wrong."""
    try:
        return load_dataset(dataset, folder, concepts, split), {}
    except (ValueError, FileNotFoundError) as error:
        if dataset not in ("ImageNet", "DreamBooth"):  # the annotations of all classes are in the same files
            return [], dict.fromkeys((concept.name for concept in concepts), str(error))
    examples, complaints = [], {}
    for concept in concepts:  # a class a folder: some may be there
        try:
            examples += load_dataset(dataset, folder, [concept], split)
        except (ValueError, FileNotFoundError) as error:
            complaints[concept.name] = str(error)
    return examples, complaints


def _counted(profile: Profile, concept: Concept, found: dict[str, list[Example]], complaint: str | None) -> Finding:
    """How many images of a concept there are, and whether training and test images can be chosen and opened."""
    counts = []
    for split, name in zip(SPLITS, ("training", "test"), strict=True):
        kinds = Counter(
            bool(len(example.boxes_of(concept.name))) for example in found[split] if example.label == concept.name
        )
        counts.append(f"{kinds.total()} {name} images ({kinds[True]} with boxes)")
    text = f"{concept.dataset}, {concept.name}: {', '.join(counts)}"
    try:
        chosen = training_examples(found["train"], concept.name, profile.train_images)
        chosen += test_examples(found["test"], [concept.name], profile.test_images)
    except (ValueError, FileNotFoundError) as error:
        return Finding("Datasets", "missing", f"{text}; {complaint or error}")
    unseen = [example.path for example in chosen if not example.path.exists()]
    if unseen:
        return Finding("Datasets", "missing", f"{text}; the image {unseen[0]} is missing")
    if not all(len(example.boxes) for example in chosen):
        hint = f", and `vwlib boxes --profile {profile.name}` proposes some" if concept.dataset in FEWER_ALLOWED else ""
        return Finding("Datasets", "missing", f"{text}; detection needs boxes in all of them{hint}")
    return Finding("Datasets", "ready", text)


def run(profile: Profile) -> Iterator[Finding]:
    """What the study of a profile has to do."""
    study = profile.study
    free = len(study.datasets) * study.concepts * study.anchors * len(TASKS)
    constrained = free * len(study.deltas)
    yield Finding(
        "Study", "ready", f"{free:,} unconstrained and {constrained:,} constrained words of {profile.vectors} vectors"
    )
    for task in TASKS:
        learning, words = profile.learning[task], (free + constrained) // len(TASKS)
        yield Finding("Study", "ready", f"{task}: {words:,} words × {learning.steps:,} steps × {learning.batch} images")
    generator = profile.generator
    pictures = (free + constrained) * generator.images_per_word
    yield Finding(
        "Study",
        "ready",
        f"{pictures:,} pictures of {generator.image_size} px, {generator.inference_steps} denoising steps each",
    )
    yield time_needed(profile)


def time_needed(profile: Profile) -> Finding:
    """How long the study takes, from what was measured of it so far."""
    try:
        rates = measured_rates(profile, Store(profile).notes())
    except ValueError as error:
        return Finding("Study", "note", f"how long it takes is not known. {error}")
    hours = cost_table(make_plan(profile), profile, rates)["hours"].sum()
    command = f"`vwlib study --profile {profile.name} --estimate SPEED`"
    return Finding(
        "Study", "ready", f"{hours:,.1f} hours in one process, by {rates.source}; {command} says it for faster machines"
    )
