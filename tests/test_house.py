"""The house stands as its plan says: sizes, and who may import whom."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from vwlib.paths import ROOT

MOST_METHOD = 2_800  # lines that a researcher reads
#: Lines of the library without its experiments: of the house when it was finished (16,500 with 2,100 of experiments),
#: and of what the second edition adds: its language, its text encoders' training, its fresh concepts and second rules.
MOST_ALL = 14_400 + 1_200
MOST_FILE = 400
LIBRARY = ROOT / "vwlib"
README = (LIBRARY / "README.md").read_text()
#: The folders around the method, each of which may import those before it.
FOLDERS = ("miniature", "datasets", "study", "ledger", "experiments", "tools", "book")


def modules() -> list[Path]:
    return sorted(LIBRARY.rglob("*.py"))


def room_of(parts: tuple[str, ...]) -> str:
    """The folder of a module, "method" for the library's own modules and `models`; the command line is its own room."""
    if parts[:2] in (("tools", "cli"), ("__main__",)):
        return "command line"
    return parts[0] if parts and parts[0] in FOLDERS else "method"


@cache
def imports() -> list[tuple[str, str, str]]:
    """Every import inside the library, also inside functions: the importing file, its room and the imported room."""
    found = []
    for file in modules():
        parts = file.relative_to(LIBRARY).with_suffix("").parts
        here = f"vwlib/{'/'.join(parts)}"
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vwlib"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name.startswith("vwlib.")]
            else:
                continue
            found += [(here, room_of(parts), room_of(tuple(name.split(".")[1:]))) for name in names]
    return found


def lines(files: list[Path]) -> int:
    return sum(len(file.read_text().splitlines()) for file in files)


def test_the_method_imports_nothing_of_the_folders_around_it():
    upward = {(file, there) for file, here, there in imports() if here == "method" and there != "method"}
    assert not {(file, there) for file, there in upward if file != "vwlib/__main__"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_only_those_before_it(folder):
    later = FOLDERS[FOLDERS.index(folder) + 1 :]
    assert not {
        (file, there) for file, here, there in imports() if here == folder and there in (*later, "command line")
    }


def test_the_method_is_short():
    files = [file for file in modules() if room_of(file.relative_to(LIBRARY).with_suffix("").parts) == "method"]
    assert lines(files) <= MOST_METHOD


def test_the_library_is_short():
    assert lines([file for file in modules() if "experiments" not in file.parts]) <= MOST_ALL


def test_no_file_is_long():
    long = {file.relative_to(ROOT).as_posix(): lines([file]) for file in modules()}
    assert not {name: count for name, count in long.items() if count > MOST_FILE}


def test_the_readme_names_files_and_functions_that_exist():
    rows = re.findall(r"^\| [^|]+ \| ((?:`[^`|]+`(?:, )?)+) \| ((?:`[^`|]+`(?:, )?)+) \|$", README, re.M)
    assert len(rows) >= 18
    for files, names in rows:
        text = "".join((LIBRARY / file).read_text() for file in re.findall("`(.+?)`", files))
        defined = set(re.findall(r"(?:def |class |^)(\w+)", text, re.M)) | set(re.findall(r"^    (\w+):", text, re.M))
        wanted = {part for name in re.findall("`(.+?)`", names) for part in name.split(".")}
        assert not wanted - defined, files
