"""The versions of the packages that the pinned ones bring along, for who wants to install what this edition was made
with.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vwlib.files import write_whole
from vwlib.paths import ROOT

LOCK = Path("versions.lock")  # no .txt, in which the bot would propose newer versions one by one
#: Left out: what pip installs with, and packages for a GPU, which the build of torch that is installed decides.
LEFT_OUT = ("cuda-", "nvidia-", "setuptools", "triton", "wheel")
_HEAD = "# What the packages pinned in pyproject.toml bring along, as installed when `vwlib lock` wrote this file: pip install --constraint versions.lock\n"


def indirect_versions(root: Path = ROOT) -> dict[str, str]:
    """Name and version of every installed package that the library or its tests need and that pyproject.toml does not
    pin.

    Raises PackageNotFoundError where one that it names is not installed.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    named = [Requirement(line) for line in (*project["dependencies"], *project["optional-dependencies"]["test"])]
    pinned = {
        canonicalize_name(requirement.name)
        for requirement in named
        if any(part.operator == "==" for part in requirement.specifier)
    }
    found: dict[str, str] = {}
    waiting, seen = [*named], set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name.startswith(LEFT_OUT) or (name, *sorted(wanted.extras)) in seen:
            continue
        seen.add((name, *sorted(wanted.extras)))
        package = distribution(name)
        if name not in pinned:
            found[name] = package.version.split("+")[0]
        needs = [Requirement(line) for line in package.requires or []]
        waiting += [
            need
            for need in needs
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras))
        ]
    return dict(sorted(found.items()))


def write_lock(root: Path = ROOT) -> Path:
    """Write `LOCK` below `root` from what is installed, and return its path."""
    lines = [f"{name}=={version}\n" for name, version in indirect_versions(root).items()]
    write_whole(root / LOCK, "".join([_HEAD, *lines]).encode())
    return root / LOCK
