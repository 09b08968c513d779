"""Where the learned words of a study lie, for who only lists or exports them: nothing here imports what learns."""

from __future__ import annotations

import shlex
from pathlib import Path

from vwlib.concepts import TASKS
from vwlib.paths import CACHE, DATA
from vwlib.settings import Profile, load_profile
from vwlib.words import Framework, Word, load_words


def results_root(profile: Profile) -> Path:
    """Where a profile's study and tables lie: in the results, or in the cache if they are small enough to be computed
    when a page asks for them.
    """
    return CACHE / "on_demand" if profile.study.compute_on_demand else DATA


def bank_file(root: Path, profile: str, task: str) -> Path:
    """The learned words of a task of a profile's study below `root`."""
    return root / "words" / profile / f"{task}.safetensors"


def bank_of(profile: Profile, root: Path | None = None, framework: Framework = "pt") -> list[Word]:
    """The published words of a profile, of all tasks; `framework` as for `load_words`.

    Raises FileNotFoundError where there are none, and ValueError where a file is damaged.
    """
    there = f" --store {shlex.quote(str(root))}" if root else ""
    root = root or results_root(profile)
    files = [file for task in TASKS if (file := bank_file(root, profile.name, task)).exists()]
    if not files:
        command = f"`vwlib study --profile {profile.name}{there}`"
        raise FileNotFoundError(
            f"There are no words of profile '{profile.name}' in {root / 'words'}; {command} makes them."
        )
    return [word for file in files for word in load_words(file, framework)]


def words_at(
    file: Path | None, profile: str | None = None, root: Path | None = None, framework: Framework = "pt"
) -> list[Word]:
    """The words of a file or, without one, of the bank of the profile of that name.

    Raises FileNotFoundError and ValueError as `load_words` and `bank_of` do.
    """
    return load_words(file, framework) if file else bank_of(load_profile(profile), root, framework)
