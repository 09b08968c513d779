"""The project's files agree with each other, and the chapters' sources keep to the house rules."""

from __future__ import annotations

import ast
import pydoc
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml

from vwlib.paths import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
OPTIONAL = PROJECT["optional-dependencies"]
NOTEBOOKS = [pytest.param(path, id=path.stem) for path in sorted((ROOT / "book").glob("*.ipynb"))]


def tracked_files() -> list[Path]:
    """The repository's files; all of them where git is not there to ask."""
    try:
        names = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split("\0")
    except (FileNotFoundError, subprocess.CalledProcessError):
        names = [
            str(path.relative_to(ROOT))
            for path in ROOT.rglob("*")
            if not any(part.startswith(".") or part == "_build" for part in path.parts)
        ]
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def package_of(requirement: str) -> str:
    """`open_clip_torch==3.3.0` -> `open-clip-torch`."""
    return re.split(r"[=<>!~ \[]", requirement)[0].lower().replace("_", "-")


def test_direct_dependencies_are_pinned() -> None:
    ranges = {"jupyter-book>=1.0.4.post1,<2", "pytest<10"}
    requirements = {line for group in (PROJECT["dependencies"], *OPTIONAL.values()) for line in group}
    assert [requirement for requirement in requirements if "==" not in requirement and requirement not in ranges] == []
    assert len({package_of(requirement) for requirement in requirements}) == len(requirements)


def test_every_import_of_the_library_is_a_direct_dependency() -> None:
    packages = {
        "IPython": "ipython",
        "PIL": "pillow",
        "faster_coco_eval": "faster-coco-eval",
        "jupyter_client": "jupyter-client",
        "open_clip": "open-clip-torch",
        "pillow_heif": "pillow-heif",
        "packaging": "transformers",  # which reads versions with it too
        "pydantic_core": "pydantic",  # where pydantic's documentation has its errors from
        "resvg_py": "resvg-py",
        "sklearn": "scikit-learn",
        "sphinx": "jupyter-book",  # which decides its version
        "yaml": "pyyaml",
    }
    imported = set()
    for path in (ROOT / "vwlib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    imported -= {"vwlib", *sys.stdlib_module_names}
    declared = {
        package_of(requirement) for requirement in [*PROJECT["dependencies"], *OPTIONAL["maintain"], *OPTIONAL["grid"]]
    }
    assert {packages.get(name, name) for name in imported} <= declared


def test_every_make_command_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md", ".ci/run"):
        text = (ROOT / name).read_text()
        code = re.findall(r"`(make [^`]*)`|^(make .*)$", text, flags=re.MULTILINE)
        used = {(inline or line).split()[1] for inline, line in code}
        assert used, name
        assert used <= targets, name
    listed = subprocess.run(["make", "--silent", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in listed.splitlines() if line.startswith("make ")} == targets


def test_one_version_everywhere_and_the_changelog_begins_with_it() -> None:
    changes = re.findall(r"^## (\S+):", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert changes[0] == PROJECT["version"] == yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]


DOCUMENTS = ["README.md", "CONTRIBUTING.md", *(f"book/{path.name}" for path in sorted((ROOT / "book").glob("*.md")))]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_and_name_in_a_document_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    paths = set(re.findall(r"`((?:book|data|tests|vwlib)/[\w./-]*)`", text))
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []
    linked = set(re.findall(r"\]\((?!https?:)([\w./-]+)\)", text))
    assert sorted(path for path in linked if not (ROOT / name).parent.joinpath(path).exists()) == []
    pages = set(re.findall(r"\{doc\}`(?:[^`<]*<)?([\w./-]+)>?`", text))
    assert sorted(page for page in pages if not list((ROOT / "book").glob(f"{page}.*"))) == []
    names = set(re.findall(r"`[~.]*(vwlib(?:\.\w+)+)(?:\(.*?\))?`", text)) - {"vwlib.toml"}
    for module, listed in re.findall(r"^from (vwlib[\w.]*) import (.+)$", text, re.MULTILINE):
        names |= {f"{module}.{one.strip()}" for one in listed.split(",")}
    assert sorted(dotted for dotted in names if pydoc.locate(dotted) is None) == []


def test_nothing_names_a_place_on_one_machine() -> None:
    places = re.compile("(?<![A-Za-z0-9_.~-])/(" + "|".join(["work", "root", "home", "tmp", "opt", "Users"]) + ")/")
    binary = {".gz", ".parquet", ".png", ".safetensors", ".webp"}
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked_files()
        if path.suffix not in binary
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if places.search(line)
    ]
    assert found == []


def test_references_are_sorted_and_unique() -> None:
    keys = re.findall(r"^@\w+\{([^,]+),", (ROOT / "book" / "references.bib").read_text(), flags=re.MULTILINE)
    assert keys == sorted(set(keys))
    assert "trabucco2024understanding" in keys


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_sources_carry_no_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "papermill" not in notebook.metadata
    for number, cell in enumerate(code_cells(path), 1):
        assert cell.outputs == [], f"code cell {number} holds outputs"
        assert cell.execution_count is None, f"code cell {number} holds an execution count"


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_one_parameters_cell_of_literals_with_a_comment_each(path: Path) -> None:
    (cell,) = (cell for cell in code_cells(path) if "parameters" in cell.metadata.get("tags", []))
    names = []
    for line in filter(None, cell.source.splitlines()):
        if line.startswith("#"):
            continue  # the heading of a group
        (node,) = ast.parse(line).body
        assert isinstance(node, ast.Assign | ast.AnnAssign), line
        assert node.value is not None, line
        ast.literal_eval(node.value)
        assert re.search(r"\s# \S", line), f"no unit or choices behind: {line}"
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        assert isinstance(target, ast.Name), line
        names.append(target.id)
    assert "profile" in names
    # Papermill silently loses annotations with `|`, quotes or dots, and lines with two `=`.
    assert sorted(papermill.inspect_notebook(str(path))) == sorted(names)


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_cells_are_short_and_define_nothing(path: Path) -> None:
    for number, cell in enumerate(code_cells(path), 1):
        assert len(cell.source.splitlines()) <= 25, f"code cell {number} is longer than 25 lines"
        source = "\n".join(line for line in cell.source.splitlines() if not line.lstrip().startswith(("%", "!")))
        defined = [
            node
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        ]
        assert defined == [], (
            f"code cell {number} defines {defined[0].name}; definitions belong in vwlib" if defined else ""
        )


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_every_figure_has_a_name_a_caption_and_an_alternative_text(path: Path) -> None:
    for number, cell in enumerate(code_cells(path), 1):
        settings = cell.metadata.get("mystnb", {})
        if "figure" in settings:
            assert settings["figure"].get("name"), f"code cell {number}"
            assert settings["figure"].get("caption"), f"code cell {number}"
            assert settings.get("image", {}).get("alt"), (
                f"code cell {number} shows a figure without an alternative text"
            )
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    for match in re.finditer(r"(```|:::)\{glue:figure\}.*?\1", text, flags=re.DOTALL):
        assert ":alt:" in match.group()
