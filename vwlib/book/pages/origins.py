"""Where this book comes from: versions, machine, weights, and the times and seeds of its chapters and of the study."""

from __future__ import annotations

import json
import platform
import re
import tomllib
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import torch

from vwlib.book.build import list_chapters
from vwlib.book.execute import cores
from vwlib.models.loading import digest_folder, resolve
from vwlib.models.memory import find_device
from vwlib.models.precision import precision_of
from vwlib.paths import ROOT
from vwlib.settings import Profile
from vwlib.study.progress import read_run_log
from vwlib.study.store import Store, results_root


def versions_table(file: Path = ROOT / "pyproject.toml") -> pd.DataFrame:
    """Every package that the library asks for: what is asked, and what the page was run with."""
    rows = []
    for requirement in tomllib.loads(file.read_text())["project"]["dependencies"]:
        name, asked = re.match(r"([\w.-]+)(.*)", requirement).groups()  # type: ignore[union-attr]
        rows.append((name, asked.removeprefix("=="), _installed(name)))
    return pd.DataFrame(rows, columns=["package", "asked for", "installed"])


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def machine_table(profile: Profile) -> pd.DataFrame:
    """What the page was run on, in one row."""
    device = find_device(profile.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "processor"
    row = {
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores(),
        "models compute on": name,
    }
    row |= {"generator's precision": precision_of(profile.generator, str(device))}
    return pd.DataFrame([row | {"threads of torch": torch.get_num_threads()}])


def digests_table(profile: Profile) -> pd.DataFrame:
    """A short hash of each model's weights and configuration, by which a stored word knows its model; a model that is
    not there has none.
    """
    rows = [
        (role, digest_folder(settings.source) if resolve(settings.source).is_dir() else "not here")
        for role, settings in profile.models.items()
    ]
    return pd.DataFrame(rows, columns=["model", "digest of weights and configuration"])


def chapters_table(profile: Profile, root: Path = ROOT) -> pd.DataFrame:
    """When the book's chapters were executed at this profile, for how long, and from which seed; no row where none
    was.
    """
    rows = []
    for chapter in list_chapters(root):
        path = root / "_build" / "executed" / profile.name / chapter
        notebook = json.loads(path.read_text()) if path.exists() else {"metadata": {}}
        if (ran := notebook["metadata"].get("papermill", {})).get("duration"):
            day = f"{datetime.fromisoformat(ran['start_time']):%Y-%m-%d}"
            rows.append((path.stem, day, f"{ran['duration']:.0f}", _seed(notebook), f"papermill {ran['version']}"))
    return pd.DataFrame(rows, columns=["chapter", "run on", "seconds", "seed", "run with"])


def _seed(notebook: dict) -> str:
    """The last value that a notebook's parameters give to `seed`."""
    sources = [
        "".join(cell["source"])
        for cell in notebook["cells"]
        if {"parameters", "injected-parameters"} & set(cell["metadata"].get("tags", []))
    ]
    found = re.findall(r"^seed\b[^=\n]*= *(\d+)", "\n".join(sources), flags=re.MULTILINE)
    return found[-1] if found else "–"


def study_log_table(profile: Profile, root: Path | None = None) -> pd.DataFrame:
    """What the study took, by task and kind of its parts, from the run log; no row where there is no log."""
    notes = read_run_log(Store(profile, root or results_root(profile)).log_file).drop_duplicates("chunk", keep="last")
    grouped = notes.groupby(["kind", "task"])
    table = grouped.agg(
        parts=("chunk", "count"), words=("words", "sum"), learning=("learning", "sum"), scoring=("scoring", "sum")
    ).reset_index()
    hours = {
        f"hours {name}": (table.pop(name).astype(float) / 3600).map("{:.2g}".format) for name in ("learning", "scoring")
    }
    return table.assign(**hours)
