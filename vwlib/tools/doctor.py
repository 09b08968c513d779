"""What is ready for a run and what is missing: devices, weights, datasets, and how much a run has to do."""

from __future__ import annotations

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

from vwlib.concepts import DATASETS, TASKS, Concept, concepts_of
from vwlib.datasets import load_dataset
from vwlib.datasets.choose import FEWER_ALLOWED, test_examples, training_examples
from vwlib.datasets.source import SPLITS
from vwlib.datasets.splits import unnamed_folder
from vwlib.examples import Example
from vwlib.files import read_json
from vwlib.miniature import world
from vwlib.models import ADAPTERS, find_adapter
from vwlib.models.loading import OPEN_CLIP, SAFETY_CHECKER, altered_weights, find_weights, missing_files, resolve
from vwlib.models.precision import speeds_of
from vwlib.paths import ROOT
from vwlib.settings import ModelSettings, Profile
from vwlib.study.cost import cost_table, measured_rates
from vwlib.study.plan import make_plan
from vwlib.study.runlog import read_run_log
from vwlib.study.store import Store
from vwlib.tools.weights import remedy

State = Literal["ready", "note", "missing"]
_MARKS: dict[State, str] = {"ready": "ok     ", "note": "note   ", "missing": "MISSING"}

#: Where the real datasets are published, how big they are, and which of their files are needed.
ORIGINS = {
    "ImageNet": "ILSVRC2012 CLS-LOC with its Annotations (image-net.org after registration, or Kaggle's "
    "imagenet-object-localization-challenge; 155 GB)",
    "DreamBooth": "github.com/google/dreambooth (110 MB), its folder `dataset`",
    "COCO": "train2017.zip, val2017.zip and annotations_trainval2017.zip from cocodataset.org (20 GB)",
    "PASCAL": "VOCtrainval_11-May-2012.tar from the PASCAL VOC site (2 GB)",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what it is, whether it is ready and, where it is not, what to do."""

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
        """The report for people: a line for each finding, and a verdict."""
        lines = []
        for section in dict.fromkeys(finding.section for finding in self.findings):
            lines += [section, *(f"  {_MARKS[f.state]} {f.text}" for f in self.findings if f.section == section), ""]
        missing = sum(finding.state == "missing" for finding in self.findings)
        things = "thing is" if missing == 1 else "things are"
        verdict = "is ready" if self.ready else f"is not ready: {missing} {things} missing"
        return "\n".join([*lines, f"The profile '{self.profile}' {verdict}."])


def examine(profile: Profile, checksums: bool = True) -> Report:
    """Look at everything that a run of the profile needs; `checksums` reads weights whose original checksum is known."""
    findings = [*machine(profile)]
    for role, settings in profile.models.items():
        findings += model(role, settings, files_of(role, profile), checksums)
    findings += adapters(profile)
    for dataset in DATASETS:
        findings += data(profile, dataset)
    return Report(profile.name, [*findings, *study(profile)])


def machine(profile: Profile) -> Iterator[Finding]:
    """Processors, memory, accelerators and disk space."""
    cores, torch_version = len(os.sched_getaffinity(0)), version("torch")
    text = f"{cores} processor cores, {_memory():.0f} GB of memory, torch {torch_version}"
    yield Finding("Machine", "ready", text)
    gpus = _gpus()
    yield from (Finding("Machine", "ready", text) for text in gpus)
    if not gpus and profile.world == "paper":
        yield Finding("Machine", "note", "no GPU that torch can use; a study with these models needs one")
    yield from place(profile)
    yield Finding("Machine", "ready", f"{shutil.disk_usage(ROOT).free / 1e9:.0f} GB free on the project's disk")


def place(profile: Profile) -> Iterator[Finding]:
    """On which device the profile's models compute, how much of its memory they leave, and in which precision."""
    device, total = "cpu", _memory()
    if _gpu_in_sight() or profile.device not in ("auto", "cpu"):
        import torch

        from vwlib.models.memory import find_device

        try:
            device = str(find_device(profile.device))
        except ValueError as error:
            yield Finding("Machine", "missing", str(error))
            return
        total = torch.cuda.mem_get_info(device)[1] / 1e9 if device.startswith("cuda") else total
    weights = sum(settings.gigabytes or 0 for settings in profile.models.values())
    left = f"; their weights take about {weights:.0f} of its {total:.0f} GB, and the rest decides how many words learn at once"
    yield Finding("Machine", "ready" if weights < total else "note", f"models compute on {device}{left if weights else ''}")
    yield _precision(profile, device)


def _precision(profile: Profile, device: str) -> Finding:
    """The precision of the generator's products, and whether it is the faster one on a processor."""
    asked = profile.generator.precision
    text = f"the generator computes in {asked}, as the profile says"
    if asked == "float32" or (asked != "auto" and device != "cpu"):
        return Finding("Machine", "ready", text)
    speeds = speeds_of(profile.generator, device)
    times = f"a product of {speeds.rows} × {speeds.width} numbers takes {speeds.float32:.2g} ms in float32 and {speeds.bfloat16:.2g} ms in bfloat16"
    if asked == "auto":
        return Finding("Machine", "ready", f"the generator computes in {speeds.precision}: {times}")
    if speeds.precision == "bfloat16":
        return Finding("Machine", "ready", text)
    return Finding("Machine", "note", f'{text}; {times}; precision = "auto" in [{profile.name}.generator] takes the faster')


def _gpu_in_sight() -> bool:
    """Whether there may be a GPU that torch can use; asking torch itself takes seconds."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists() or "torch" in sys.modules


def _gpus() -> list[str]:
    """Each GPU with its free memory."""
    if not _gpu_in_sight():
        return []
    import torch

    texts = []
    for index in range(torch.cuda.device_count()):
        free, total = (size / 1e9 for size in torch.cuda.mem_get_info(index))
        texts.append(f"cuda:{index}: {torch.cuda.get_device_name(index)}, {free:.0f} of {total:.0f} GB free")
    return texts


def _memory() -> float:
    """The machine's memory in GB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def files_of(role: str, profile: Profile) -> Sequence[str]:
    """The files that the model of a role cannot do without, as its adapter says; none if the adapter is missing."""
    if role in profile.adapters:
        try:
            return find_adapter(role, profile).files
        except (ValueError, FileNotFoundError):
            return ()
    if role in ADAPTERS:
        return ADAPTERS[role][2]
    return SAFETY_CHECKER if role == "safety_checker" else OPEN_CLIP


def model(role: str, settings: ModelSettings, files: Sequence[str], checksums: bool = True) -> Iterator[Finding]:
    """Whether a model's files are there, whole, trained, and the originals."""
    folder, name = resolve(settings.source), role.replace("_", " ")
    try:
        gone = [file.split("|")[0] for file in missing_files(folder, files)]
        found = {file: find_weights(folder / file) for file in files if file.endswith(".safetensors")}
    except ValueError as error:
        yield Finding("Models", "missing", f"{name}: {error}")
        return
    if gone or not folder.is_dir():
        what = f"{folder} lacks {', '.join(gone)}" if folder.is_dir() else f"{folder} is not there"
        advice = remedy(settings, gone[0] if folder.is_dir() or folder.is_file() else None)
        yield Finding("Models", "missing", f"{name}: {what}; {advice}")
        return
    weights = [path for _, paths in found.values() for path in paths] if files else sorted(folder.rglob("*.safetensors"))
    if damages := [text for path in weights if (text := _damage(settings, path))]:
        yield from (Finding("Models", "missing", f"{name}: {text}") for text in damages)
        return
    origin = f", a copy of {settings.hub} ({settings.revision})" if settings.hub else ""
    size = sum(path.stat().st_size for path in weights) / 1e9
    yield Finding("Models", "ready", f"{name}: {folder}{origin}, {size:.2g} GB of weights")
    yield from (Finding("Models", "note", f"{name}: {text}") for text in _notes(settings, found, checksums))
    if not weights:
        text = "no *.safetensors file is there, so words of these weights cannot be told from those of others"
        yield Finding("Models", "note", f"{name}: {text}")


def _notes(settings: ModelSettings, found: dict[str, tuple[str | None, list[Path]]], checksums: bool) -> Iterator[str]:
    """What to know about weights that are there: stored in half precision, random, or not the originals."""
    for file in (file for file, (variant, _) in found.items() if variant):
        yield f"{file} is stored in half precision; learned words differ a little from those of the whole weights"
    if not _is_trained(settings):
        yield "these weights are random, only for trying the code; nothing learned in them means anything"
    for file in altered_weights(settings) if checksums else ():
        yield f"{file} is not the original, by its SHA-256; results will not be the paper's model's"


def adapters(profile: Profile) -> Iterator[Finding]:
    """Whether the classes are there that load models in place of the library's own."""
    for task, named in profile.adapters.items():
        try:
            find_adapter(task, profile)
            yield Finding("Models", "ready", f"{named} loads the model of {task}")
        except (ValueError, FileNotFoundError) as error:
            yield Finding("Models", "missing", str(error))


def _damage(settings: ModelSettings, path: Path) -> str | None:
    """A clause about a file of weights that is cut off or is none; None for a whole one."""
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
    """Whether a dataset is there and has enough images of every concept, with the counts."""
    if dataset not in profile.data:
        if profile.world != "miniature":
            yield Finding("Datasets", "missing", unnamed_folder(profile, dataset))
            return
        train = world.INSTANCE_TRAIN if dataset == "DreamBooth" else world.TRAIN
        counts = f"{train} training and {world.TEST} test images of each concept"
        yield Finding("Datasets", "ready", f"{dataset}: drawn by the project at first use, {counts}")
        return
    folder, concepts = resolve(profile.data[dataset]), concepts_of(dataset, profile.world)
    if not folder.is_dir():
        yield Finding("Datasets", "missing", f"{dataset}: {folder} is not there; put there {ORIGINS[dataset]}")
        return
    found: dict[str, list[Example]] = {}
    complaints: dict[str, str] = {}
    for split in SPLITS:
        found[split], wrong = read_split(dataset, folder, concepts, split)
        shared = {sentence for sentence, count in Counter(wrong.values()).items() if count > 1}
        yield from (Finding("Datasets", "missing", f"{dataset}, {split}: {sentence}") for sentence in sorted(shared))
        complaints = {concept: sentence for concept, sentence in wrong.items() if sentence not in shared} | complaints
    if any(found.values()):
        yield Finding("Datasets", "ready", f"{dataset}: {folder}")
        yield from (_counted(profile, concept, found, complaints.get(concept.name)) for concept in concepts)


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
        images = [example for example in found[split] if example.label == concept.name]
        boxed = sum(bool(len(example.boxes_of(concept.name))) for example in images)
        counts.append(f"{len(images)} {name} images ({boxed} with boxes)")
    text = f"{concept.dataset}, {concept.name}: {', '.join(counts)}"
    try:
        chosen = training_examples(found["train"], concept.name, profile.train_images)
        chosen += test_examples(found["test"], [concept.name], profile.test_images)
    except (ValueError, FileNotFoundError) as error:
        return Finding("Datasets", "missing", f"{text}; {complaint or error}")
    if unseen := [example.path for example in chosen if not example.path.exists()]:
        return Finding("Datasets", "missing", f"{text}; the image {unseen[0]} is missing")
    if not all(len(example.boxes) for example in chosen):
        hint = f", and `vwlib boxes --profile {profile.name}` proposes some" if concept.dataset in FEWER_ALLOWED else ""
        return Finding("Datasets", "missing", f"{text}; detection needs boxes in all of them{hint}")
    return Finding("Datasets", "ready", text)


def study(profile: Profile) -> Iterator[Finding]:
    """What the study of a profile has to do."""
    sizes, generator = profile.study, profile.generator
    free = len(sizes.datasets) * sizes.concepts * sizes.anchors * len(TASKS)
    bound = free * len(sizes.deltas)
    texts = [f"{free:,} unconstrained and {bound:,} constrained words of {profile.vectors} vectors"]
    for task in TASKS:
        learning, words = profile.learning[task], (free + bound) // len(TASKS)
        texts.append(f"{task}: {words:,} words × {learning.steps:,} steps × {learning.batch} images")
    drawn, steps = (free + bound) * generator.images_per_word, generator.inference_steps
    texts.append(f"{drawn:,} pictures of {generator.image_size} px, {steps} denoising steps each")
    yield from (Finding("Study", "ready", text) for text in texts)
    yield time_needed(profile)


def time_needed(profile: Profile) -> Finding:
    """How long the study takes, from what was measured of it so far."""
    try:
        rates = measured_rates(profile, read_run_log(Store(profile).log_file))
    except ValueError as error:
        return Finding("Study", "note", f"how long it takes is not known. {error}")
    hours = cost_table(make_plan(profile), profile, rates)["hours"].sum()
    command = f"`vwlib study --profile {profile.name} --estimate SPEED`"
    text = f"{hours:,.1f} hours in one process, by {rates.source}; {command} says it for faster machines"
    return Finding("Study", "ready", text)
