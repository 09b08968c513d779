"""The pages about the library name modules that exist and are explained; those of the method and of the models are all
shown, each once.
"""

import importlib
import re

import pytest

from vwlib.book.build import list_pages
from vwlib.paths import ROOT

PAGES = sorted((ROOT / "book" / "api").glob("*.md"))
SHOWN = [
    match
    for page in PAGES
    for match in re.findall(r"^\.\. automodule:: vwlib\.(\S+)\n +:members:(.*)$", page.read_text(), re.M)
]
#: Helpers of modules that are shown.
INSIDE = {"files", "paths", "models.loading", "models.memory", "models.precision"}


def test_the_methods_modules_are_shown_once():
    names = [module for module, _ in SHOWN]
    assert len(names) == len(set(names))
    files = [*(ROOT / "vwlib").glob("[!_]*.py"), *(ROOT / "vwlib" / "models").glob("[!_]*.py")]
    method = {".".join(file.relative_to(ROOT / "vwlib").with_suffix("").parts) for file in files}
    assert method - set(names) <= INSIDE


def test_the_first_page_and_the_contents_list_the_others():
    text = (ROOT / "book" / "api.md").read_text()
    assert all(f"{{doc}}`api/{page.stem}`" in text and page.relative_to(ROOT) in list_pages() for page in PAGES)


@pytest.mark.parametrize(("module", "chosen"), SHOWN)
def test_a_module_and_each_name_in_it_exist_and_are_explained(module, chosen):
    found = importlib.import_module(f"vwlib.{module}")
    assert found.__doc__
    names = chosen.replace(" ", "").split(",") if chosen.strip() else getattr(found, "__all__", [])
    assert all(thing.__doc__ for name in names if callable(thing := getattr(found, name)))
