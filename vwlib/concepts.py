"""The paper's forty concepts and their anchor words (appendix D), and what the miniature draws in their place.

A *world* is a set of forty concepts, ten in each of four datasets: "paper" for the real datasets, "miniature" for the
generated ones. Both stand in the same order in `data/paper/concepts.csv`: the tenth of one stands for the tenth of the
other. The miniature has 120 *fresh* concepts beside them (`data/miniature/fresh.csv`), each to be learned from three
anchors; a group of ten is a dataset too.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

from vwlib.paths import DATA

TASKS = ("generation", "detection", "classification")
DATASETS = ("ImageNet", "DreamBooth", "COCO", "PASCAL")
WORLDS = ("paper", "miniature")
#: The groups of fresh concepts, each with the dataset in whose layout and format its pictures are.
FRESH = {f"fresh-{n + 1:02d}": layout for n, layout in enumerate(4 * ["ImageNet"] + 4 * ["COCO"] + 4 * ["PASCAL"])}


@dataclass(frozen=True)
class Concept:
    """A visual concept for which a word is learned."""

    dataset: str
    name: str  #: how tables and pages call it; unique within its dataset
    anchor: str  #: the word that its learned words start from; a single token in every model
    prompt_name: str  #: how a prompt calls it; in the miniature a noun that is drawn
    label: str  #: how the dataset's files call it: a WordNet id, a subject's folder, a COCO category or a VOC class
    paper_name: str  #: the paper's concept in whose place it stands
    paper_anchor: str
    why: str = ""  #: why it is not the paper's concept itself
    anchors: tuple[str, ...] = ()  #: the words that it is learned from; none: all anchor words of its dataset

    @property
    def is_substitute(self) -> bool:
        """Whether it differs from the paper's concept in name or anchor."""
        return (self.name, self.anchor) != (self.paper_name, self.paper_anchor)


@cache
def _worlds() -> dict[str, list[Concept]]:
    with (DATA / "paper" / "concepts.csv").open(encoding="utf-8", newline="") as file:
        found: Iterable[dict[str, Any]] = csv.DictReader(file)
        rows = [(row.pop("world"), Concept(**row)) for row in found]
    with (DATA / "miniature" / "fresh.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            noun, anchors = row["noun"], tuple(row["anchors"].split())
            concept = Concept(row["group"], noun, noun, noun, row["label"], noun, noun, anchors=anchors)
            rows.append(("miniature", concept))
    return {world: [concept for of, concept in rows if of == world] for world in WORLDS}


def find_dataset(name: str) -> str:
    """One of the four as the project writes it, whatever its case here. Raises ValueError for another."""
    by_lower = {dataset.lower(): dataset for dataset in DATASETS}
    if name.lower() not in by_lower:
        raise _unknown("dataset", name, DATASETS)
    return by_lower[name.lower()]


def concepts_of(dataset: str, world: str = "paper") -> list[Concept]:
    """The ten concepts of a dataset or group, in the paper's order. Raises ValueError for an unknown one or world."""
    if world not in WORLDS:
        raise _unknown("world", world, WORLDS)
    dataset = dataset if dataset in FRESH and world == "miniature" else find_dataset(dataset)
    return [concept for concept in _worlds()[world] if concept.dataset == dataset]


def find_concept(name: str, dataset: str, world: str = "paper") -> Concept:
    """The concept of that name. Raises ValueError where the dataset has none."""
    concepts = {concept.name: concept for concept in concepts_of(dataset, world)}
    if name not in concepts:
        raise _unknown(f"{next(iter(concepts.values())).dataset} concept of the {world} world", name, concepts)
    return concepts[name]


def anchors_of(dataset: str, world: str = "paper") -> list[str]:
    """The ten anchor words of a dataset, in the order of its concepts; every concept is learned from each of them."""
    return [concept.anchor for concept in concepts_of(dataset, world)]


def find_anchor(word: str, dataset: str, world: str = "paper") -> str:
    """`word` itself, if it is one of the dataset's anchor words. Raises ValueError where it is none."""
    if word not in (anchors := anchors_of(dataset, world)):
        raise _unknown(f"{find_dataset(dataset)} anchor word of the {world} world", word, anchors)
    return word


def _unknown(kind: str, name: str, known: Iterable[str]) -> ValueError:
    lower = {word.lower(): word for word in known}
    close = get_close_matches(name.lower(), lower, n=1)
    hint = f"did you mean '{lower[close[0]]}'? There" if close else "there"
    return ValueError(f"'{name}' is no {kind}: {hint} are {', '.join(lower.values())}.")
