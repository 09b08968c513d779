"""Where this book comes from: versions, machine, and the times and seeds of its chapters and of the study."""

import json
import platform
import re
import tomllib
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch

from vwlib.book.build import list_chapters
from vwlib.book.execute import cores
from vwlib.models.memory import find_device
from vwlib.models.precision import precision_of
from vwlib.paths import ROOT
from vwlib.settings import Profile
from vwlib.study.progress import read_run_log
from vwlib.study.store import Store, results_root


def versions_table() -> pd.DataFrame:
    """Every package that the library asks for: what is asked, and what the page was run with."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    found = [re.findall(r"^([\w.-]+)(.*)", requirement)[0] for requirement in asked]
    rows = [(name, wanted.removeprefix("=="), version(name)) for name, wanted in found]
    return pd.DataFrame(rows, columns=["package", "asked for", "installed"])


def machine_table(profile: Profile) -> pd.DataFrame:
    """What the page was run on, in one row."""
    device = find_device(profile.device)
    row = {
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores(),
        "models compute on": torch.cuda.get_device_name(device) if device.type == "cuda" else "processor",
        "generator's precision": precision_of(profile.generator, str(device)),
        "threads of torch": torch.get_num_threads(),
    }
    return pd.DataFrame([row])


def chapters_table(profile: Profile, root: Path = ROOT) -> pd.DataFrame:
    """When the chapters were executed at this profile, for how long, and from which seed; no row where none was."""
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
    tagged = {"parameters", "injected-parameters"}
    cells = [cell for cell in notebook["cells"] if tagged & set(cell["metadata"].get("tags", []))]
    source = "\n".join("".join(cell["source"]) for cell in cells)
    found = re.findall(r"^seed\b[^=\n]*= *(\d+)", source, flags=re.MULTILINE)
    return found[-1] if found else "–"


def study_log_table(profile: Profile, root: Path | None = None) -> pd.DataFrame:
    """What the study took, by task and kind of its parts, from the run log; no row where there is no log."""
    notes = read_run_log(Store(profile, root or results_root(profile)).log_file).drop_duplicates("chunk", keep="last")
    groups = notes.groupby(["kind", "task"])
    table = groups.agg(parts=("chunk", "count"), words=("words", "sum"))
    for name in ("learning", "scoring"):
        table[f"hours {name}"] = (groups[name].sum().astype(float) / 3600).map("{:.2g}".format)
    return table.reset_index()
