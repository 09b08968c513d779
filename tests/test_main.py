"""The package can be started as Python starts any program."""

import subprocess
import sys


def test_the_package_is_a_program():
    command = [sys.executable, "-m", "vwlib", "words", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Usage: vwlib words" in shown
