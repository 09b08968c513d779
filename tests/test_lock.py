"""The lock holds versions of what the pinned packages bring along, and nothing of the machine that wrote it."""

import re
import subprocess

import pytest

from vwlib.paths import ROOT

LINES = [line for line in (ROOT / "versions.lock").read_text().splitlines() if not line.startswith("#")]


def test_the_committed_lock_is_plain_names_and_versions_without_packages_for_a_gpu():
    assert len(LINES) > 50 and all(re.fullmatch(r"[a-z0-9.-]+==[0-9][0-9a-z.]*", line) for line in LINES)
    assert not any(line.startswith(("cuda-", "nvidia-", "setuptools", "triton", "wheel")) for line in LINES)


def test_the_lock_says_nothing_of_what_pyproject_pins():
    pinned = re.findall(r'"([\w-]+)==', (ROOT / "pyproject.toml").read_text())
    assert pinned and not {name.lower().replace("_", "-") for name in pinned} & {line.split("==")[0] for line in LINES}


@pytest.mark.parametrize("setting", [[], ["LOCK=versions.lock"]])
def test_make_installs_with_the_lock_only_when_asked(setting):
    command = ["make", "--dry-run", "--always-make", "lock", *setting]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--editable '.[test]'" in shown and ("--constraint versions.lock" in shown) == bool(setting)
