"""The pages about the library name its modules, all of them but those that stay inside."""

import importlib
import re

import pytest

from vwlib.book.build import list_pages
from vwlib.paths import ROOT

PAGES = sorted((ROOT / "book" / "api").glob("*.md"))
SECTION = re.compile(r"^## `(.*)`\n\n```\{eval-rst\}\n\.\. automodule:: vwlib\.(.*)\n   :members:(.*)\n```", re.M)
SHOWN = [found for page in PAGES for found in SECTION.findall(page.read_text())]
MODULES = [module for _, module, _ in SHOWN]

#: What builds the book, checks an installation, or helps a module that is shown; with all that stands below it.
INSIDE = {
    *(
        "book",
        "datasets.boxes",
        "datasets.pictures",
        "datasets.source",
        "datasets.values",
        "ledger.deviations",
        "ledger.paper",
        "miniature",
        "study.manifest",
        "study.plan",
        "tools",
    ),
    *("files", "paths", "__main__", "models.adapters", "models.loading", "experiments"),
}


def test_every_module_is_shown_once_or_stays_inside():
    files = [path.relative_to(ROOT / "vwlib").with_suffix("") for path in (ROOT / "vwlib").rglob("*.py")]
    there = {".".join(path.parts).removesuffix("__init__").rstrip(".") for path in files} - {""}
    assert len(MODULES) == len(set(MODULES))
    hidden = there - set(MODULES)
    assert set(MODULES) <= there
    assert {name for name in hidden if not any(f"{name}.".startswith(f"{inside}.") for inside in INSIDE)} <= {
        "study",
        "ledger",
    }


def test_each_heading_is_its_modules_name():
    assert [title for title, _, _ in SHOWN] == MODULES
    assert len(SHOWN) == sum(page.read_text().count("automodule") for page in PAGES)


def test_the_first_page_lists_the_others_with_their_modules_and_the_contents_hold_them():
    text = (ROOT / "book" / "api.md").read_text()
    for page in PAGES:
        names = re.findall(r"^## (`.*`)$", page.read_text(), re.M)
        assert f"- {{doc}}`api/{page.stem}`: {', '.join(names)}\n" in text
        assert page.relative_to(ROOT) in list_pages()


@pytest.mark.parametrize(("module", "chosen"), [(module, chosen) for _, module, chosen in SHOWN])
def test_a_module_and_each_name_in_it_exist_and_are_explained(module, chosen):
    found = importlib.import_module(f"vwlib.{module}")
    assert found.__doc__
    names = chosen.replace(" ", "").split(",") if chosen.strip() else getattr(found, "__all__", [])
    assert all(thing.__doc__ for name in names if callable(thing := getattr(found, name)))


def test_the_models_of_the_package_are_all_shown():
    loaders = {name for name in importlib.import_module("vwlib.models").__all__ if name.startswith("load_")}
    (chosen,) = (chosen for _, module, chosen in SHOWN if module == "models")
    assert loaders <= set(chosen.replace(" ", "").split(","))
