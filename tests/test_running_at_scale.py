"""The page on running at scale gives only commands that exist, and no number that was measured."""

import re
import shlex

import pytest
import typer

from vwlib.paths import ROOT
from vwlib.settings import load_profile
from vwlib.tools.cli import app

PAGE = (ROOT / "book" / "running_at_scale.md").read_text()
SHELL = "\n".join(re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
INLINE = re.findall(r"`(vwlib [^`]*)`", PAGE)
COMMANDS = [line for line in [*SHELL.splitlines(), *INLINE] if line.startswith("vwlib ")]


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_every_command_is_understood(command):
    group = typer.main.get_command(app)
    words = shlex.split(command, comments=True)[1:]
    with group.make_context("vwlib", words, resilient_parsing=True) as context:
        name, chosen, rest = group.resolve_command(context, words)
        assert chosen.make_context(name, rest).params["profile"] in ("miniature", "paper")


def test_every_way_of_running_is_there():
    told = " ".join(COMMANDS)
    assert all(
        option in told for option in ("--status", "--workers", "--scheduler", "--store", "--retry-failed", "--estimate")
    )


def test_the_dask_commands_are_understood():
    from distributed.cli import dask_scheduler, dask_worker

    for line in SHELL.splitlines():
        found = re.search(r"dask (scheduler|worker) (.*?) ?&$", line)
        if found:
            command = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}[found[1]]
            assert command.make_context(found[1], shlex.split(found[2])).params[
                "host" if found[1] == "scheduler" else "resources"
            ]


def test_the_python_of_the_page_compiles():
    assert "pip install dask-jobqueue" in PAGE, "which the library does not ask for"
    for source in re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL):
        compile(source, "running_at_scale.md", "exec")


def test_the_settings_of_the_page_are_understood(tmp_path, monkeypatch):
    (settings,) = re.findall(r"^```toml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "settings.toml").write_text(settings)
    monkeypatch.setenv("VWLIB_SETTINGS", str(tmp_path / "settings.toml"))
    paper = load_profile("paper")
    assert (paper.device, paper.data["COCO"], paper.generator.safety_checker) == ("cuda:1", "/data/coco", None)
    assert paper.generator.source == "/data/weights/stable-diffusion-2-1" and paper.generator.hub
