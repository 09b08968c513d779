"""The workflows only call make targets that exist, and the bot that proposes versions leaves Jupyter Book at 1."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from vwlib.paths import ROOT

TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
WORKFLOWS = [pytest.param(path, id=path.stem) for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))]


def read(name: str) -> Any:
    """A workflow of that name."""
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())


def steps_of(path: Path) -> list[dict[str, Any]]:
    """All steps of a workflow's jobs."""
    return [step for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS)
def test_a_workflow_runs_only_make_targets_that_exist(path: Path) -> None:
    commands = [line for step in steps_of(path) if "run" in step for line in step["run"].splitlines()]
    assert commands
    for command in commands:
        assert re.fullmatch(r"make [a-z-]+( [A-Z]+=\w+)*", command)
        assert command.split()[1] in TARGETS


@pytest.mark.parametrize("path", WORKFLOWS)
def test_a_workflow_says_when_it_runs_and_what_it_may_do(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow[True]  # "on", which YAML 1.1 takes for a truth value
    assert set(workflow["permissions"].values()) <= {"read", "write"}
    assert all(
        job["timeout-minutes"] for job in workflow["jobs"].values() if any("run" in step for step in job["steps"])
    )
    assert all(re.search(r"@v\d+$", step["uses"]) for step in steps_of(path) if "uses" in step)


def test_what_is_published_was_looked_at_first() -> None:
    steps = [
        step.get("run", step.get("uses", "")).split("@")[0]
        for step in steps_of(ROOT / ".github" / "workflows" / "publish.yml")
    ]
    assert (
        steps.index("make book")
        < steps.index("make check-book")
        < steps.index("actions/upload-pages-artifact")
        < steps.index("actions/deploy-pages")
    )


def test_only_the_job_that_publishes_may_write_pages() -> None:
    publish = read("publish")
    assert publish["permissions"] == {"contents": "read"} and "permissions" not in publish["jobs"]["build"]
    assert publish["jobs"]["deploy"]["permissions"] == {"pages": "write", "id-token": "write"}


def test_continuous_integration_and_the_workflow_run_the_same() -> None:
    ours = re.findall(r"^make (?!\.venv).*$", (ROOT / ".ci" / "run").read_text(), flags=re.MULTILINE)
    assert ours == [step["run"] for step in steps_of(ROOT / ".github" / "workflows" / "test.yml") if "run" in step]


def test_the_bot_leaves_capped_packages_alone() -> None:
    pip, _ = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    assert {rule["dependency-name"]: rule["versions"] for rule in pip["ignore"]} == {
        "jupyter-book": [">=2"],
        "pytest": [">=10"],
    }
