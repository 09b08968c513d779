"""Commands that only read a table or list what there is answer at once: they import none of the libraries that take
seconds.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from vwlib.study.store import words_at
from vwlib.tools.cli import app

HEAVY = ("torch", "torchvision", "transformers", "diffusers", "open_clip", "timm", "sklearn", "scipy", "statsmodels")
HEAVY += ("matplotlib",)
RUN = """
import sys
from vwlib.tools.cli import app
try:
    app(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print("imported:", *(name for name in {heavy} if name in sys.modules))
"""


def imported(*arguments: str) -> str:
    """What of `HEAVY` a command has imported when it ends."""
    ran = subprocess.run(
        [sys.executable, "-c", RUN.format(heavy=HEAVY), *arguments], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()[-1].removeprefix("imported:").strip()


@pytest.mark.parametrize(
    "command",
    [
        ["words", "--task", "generation", "--dataset", "COCO", "--concept", "laptop"],
        ["words", "--csv", "--concept", "dog"],
        ["study", "--status"],
        ["study", "--estimate", "2"],
    ],
    ids=" ".join,
)
def test_reading_commands_import_no_models(command):
    assert imported(*command) == ""


def test_doctor_imports_no_models():
    imported("doctor")  # measures in which precision the generator computes, where no command has yet
    assert imported("doctor") == ""


def test_export_imports_no_models(tmp_path):
    word = next(word for word in words_at(None, "miniature", framework="np") if word.task == "generation")
    assert imported("export", word.word_id, "--to", str(tmp_path / "word.safetensors")) == ""


def test_help_of_every_command_imports_no_models():
    """All in one process: what one of them imports stays imported."""
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    loop = f"import sys\nfrom typer.testing import CliRunner\nfrom vwlib.tools.cli import app\nfor name in {names}:\n"
    loop += "    shown = CliRunner().invoke(app, [name, '--help'])\n"
    loop += "    assert shown.exit_code == 0 and 'Usage' in shown.output, name\n"
    loop += f"print(*(name for name in {HEAVY} if name in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", loop], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, ""), ran.stderr
