"""The library can be started as Python starts any package."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["vwlib", "vwlib.tools.cli"])
def test_the_package_and_its_command_line_are_programs(module):
    said = subprocess.run(
        [sys.executable, "-m", module, "words", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "Usage: vwlib words" in said
