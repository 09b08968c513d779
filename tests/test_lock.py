"""The lock holds versions of what the pinned packages bring along, and nothing of the machine that wrote it."""

import re
import subprocess
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement

from vwlib.paths import ROOT
from vwlib.tools.lock import LEFT_OUT, LOCK, indirect_versions, write_lock

LINES = [line for line in (ROOT / LOCK).read_text().splitlines() if not line.startswith("#")]


def pyproject(folder, *needed):
    """A project that needs some packages."""
    (folder / "pyproject.toml").write_text(
        f"[project]\ndependencies = {list(needed)}\noptional-dependencies = {{test = []}}\n"
    )
    return folder


def test_the_committed_lock_is_plain_names_and_versions_in_order():
    assert len(LINES) > 50 and sorted(LINES, key=lambda line: line.split("==")[0]) == LINES
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in LINES)
    assert not any(line.startswith(LEFT_OUT) for line in LINES)


def test_the_lock_says_nothing_of_what_pyproject_pins():
    pinned = {
        name.lower().replace("_", "-") for name in re.findall(r'"([\w-]+)==', (ROOT / "pyproject.toml").read_text())
    }
    assert pinned and not pinned & {line.split("==")[0] for line in LINES}


def test_what_a_package_brings_along_is_found_whatever_brings_it(tmp_path):
    found = indirect_versions(pyproject(tmp_path, "pandas"))
    assert found.keys() >= {"numpy", "pandas", "python-dateutil"} and found["numpy"] == version("numpy")
    pinned = indirect_versions(pyproject(tmp_path, "pandas==1.0", "numpy<99"))
    assert "pandas" not in pinned and "numpy" in pinned, "a range pins nothing"
    plain, extra = (indirect_versions(pyproject(tmp_path, wanted)).keys() for wanted in ("dask", "dask[distributed]"))
    assert extra - plain >= {"distributed", "tornado"}


def test_torch_brings_no_package_for_a_gpu(tmp_path):
    found = indirect_versions(pyproject(tmp_path, "torch"))
    assert "sympy" in found and not any(name.startswith(LEFT_OUT) for name in found)


def test_the_lock_is_written_so_that_pip_reads_it(tmp_path):
    lines = write_lock(pyproject(tmp_path, "pandas")).read_text().splitlines()
    assert (
        lines[0].startswith("#")
        and {Requirement(line).name for line in lines[1:]} == indirect_versions(tmp_path).keys()
    )


@pytest.mark.parametrize("setting", [[], ["LOCK=versions.lock"]])
def test_make_installs_with_the_lock_only_when_asked(setting):
    command = ["make", "--dry-run", "--always-make", "lock", *setting]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--editable '.[test]'" in told and ("--constraint versions.lock --editable" in told) == bool(setting)
