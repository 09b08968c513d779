"""The first page leads with the answer, and takes its numbers from the stored study."""

import re

import nbformat
import yaml
from pybtex.database import parse_file, parse_string

from vwlib.paths import ROOT

BOOK = ROOT / "book"
INDEX = (BOOK / "index.md").read_text()


def glued(chapter: str, after: str = "") -> set[str]:
    """The names that a chapter glues behind a text that stands in it."""
    cells = [cell.source for cell in nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4).cells]
    start = next(place for place, source in enumerate(cells) if after in source)
    return {name for source in cells[start:] for name in re.findall(r'glue\("(\w+)"', source)}


def names(chapter: str) -> set[str]:
    """The names that the first page takes from a chapter."""
    return set(re.findall(rf"{chapter}\.ipynb::(\w+)", INDEX))


def test_words_are_counted_over_the_whole_study_and_not_over_the_live_grid() -> None:
    assert names("04_are_words_transferable") <= glued("04_are_words_transferable", after="## The whole study")
    assert names("07_the_claims") <= glued("07_the_claims") and names("02_transfer_maps") <= glued("02_transfer_maps")


def test_the_answer_stands_above_the_figure() -> None:
    assert INDEX.index("::answer:s") < INDEX.index("fig-answer")


def test_it_says_how_a_reader_a_re_executor_and_a_practitioner_read_on() -> None:
    part = INDEX.split("## How to read on")[1].split("##")[0]
    named = [set(re.findall(r"\{doc\}`(\w+)`", bullet)) for bullet in part.split("\n- ")[1:]]
    assert [
        len(pages & {"explorer", "07_the_claims", "running_at_scale", "09_your_own_word", "add_a_model", "api"})
        for pages in named
    ] == [2, 1, 3]


def test_the_entries_to_copy_are_those_of_the_bibliography_and_of_the_citation_file() -> None:
    (block,) = re.findall(r"```bibtex\n(.*?)```", INDEX, flags=re.DOTALL)
    entries, known = parse_string(block, "bibtex").entries, parse_file(str(BOOK / "references.bib"), "bibtex").entries
    assert entries["trabucco2024understanding"] == known["trabucco2024understanding"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    fields = entries["visualwords2026"].fields
    assert (fields["title"], fields["note"]) == (cited["title"], f"Version {cited['version']}") and cited[
        "repository-code"
    ] in fields["howpublished"]
