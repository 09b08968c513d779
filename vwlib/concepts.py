"""The paper's forty concepts and their anchor words (appendix D), and what the miniature draws in their place. Data
only.

A *world* is one of two sets of concepts: "paper", for the real datasets, and "miniature", for the generated ones. Both
have ten concepts in each of four datasets, in the same order, so the tenth concept of one stands for the tenth of the
other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

TASKS = ("generation", "detection", "classification")

DATASETS = ("ImageNet", "DreamBooth", "COCO", "PASCAL")
WORLDS = ("paper", "miniature")


@dataclass(frozen=True)
class Concept:
    """A visual concept for which a word is learned."""

    dataset: str
    name: str  # how tables and pages call it; unique within its dataset
    anchor: str  # the word that its learned words start from; a single token in every model
    prompt_name: str  # how a prompt calls it; in the miniature a noun that is drawn
    label: str  # how the dataset's files call it: a WordNet id, a subject's folder, a COCO category or a VOC class
    paper_name: str  # the paper's concept in whose place it stands
    paper_anchor: str
    why: str = ""  # why it is not the paper's concept itself

    @property
    def is_substitute(self) -> bool:
        """Whether it differs from the paper's concept in name or anchor."""
        return (self.name, self.anchor) != (self.paper_name, self.paper_anchor)


_NOT_DRAWN = "the paper's concept is not drawn in all six styles"
_INSTANCE = "one recoloured drawing takes the place of the photographed thing and bears its noun"

# A concept a line: paper's name, anchor, name in prompts, label | miniature's noun, anchor, label, why it is a
# substitute.
_IMAGENET = (
    (("strawberry", "strawberry", "strawberry", "n07745940"), ("strawberry", "strawberry", "n07745940", "")),
    (
        ("harp", "harp", "harp", "n03495258"),
        ("violin", "violin", "n04536866", f"{_NOT_DRAWN}; another string instrument"),
    ),
    (
        ("sturgeon", "sturgeon", "sturgeon", "n02640242"),
        ("fish", "fish", "n02512053", f"{_NOT_DRAWN}; the kind it belongs to"),
    ),
    (("gorilla", "gorilla", "gorilla", "n02480855"), ("gorilla", "gorilla", "n02480855", "")),
    (
        ("throne", "throne", "throne", "n04429376"),
        ("seat", "seat", "n04161981", f"{_NOT_DRAWN}; another thing to sit on"),
    ),
    (
        ("pelican", "pelican", "pelican", "n02051845"),
        ("penguin", "penguin", "n02055803", f"{_NOT_DRAWN}; another water bird"),
    ),
    (
        ("honeycomb", "honeycomb", "honeycomb", "n03530642"),
        ("honey", "honey", "n07858978", f"{_NOT_DRAWN}; a pot of its honey"),
    ),
    (("barrel", "barrel", "barrel", "n02795169"), ("barrel", "barrel", "n02795169", "")),
    # WordNet's ids of the last two substitutes were not at hand: ids of our own, which WordNet does not use.
    (
        ("sombrero", "hat", "sombrero", "n04259630"),
        ("top hat", "hat", "n99990009", f"{_NOT_DRAWN}; another hat with the same anchor"),
    ),
    (
        ("scuba diver", "scuba", "scuba diver", "n10565667"),
        ("swimmer", "swimmer", "n99990010", f"{_NOT_DRAWN}; another person in the water"),
    ),
)
_DREAMBOOTH = (
    (("cat2", "cat", "cat", "cat2"), ("cat", "cat", "cat", _INSTANCE)),
    (("vase", "vase", "vase", "vase"), ("vase", "vase", "vase", "")),
    (("duck_toy", "duck", "duck toy", "duck_toy"), ("duck", "duck", "duck", _INSTANCE)),
    (("candle", "candle", "candle", "candle"), ("candle", "candle", "candle", "")),
    (
        ("colorful_sneaker", "sneaker", "colorful sneaker", "colorful_sneaker"),
        ("sneaker", "sneaker", "sneaker", _INSTANCE),
    ),
    (("backpack_dog", "backpack", "dog backpack", "backpack_dog"), ("backpack", "backpack", "backpack", _INSTANCE)),
    (
        ("grey_sloth_plushie", "plush", "grey sloth plushie", "grey_sloth_plushie"),
        ("koala", "koala", "koala", f"neither a sloth nor a plush toy is drawn in all six styles; {_INSTANCE}"),
    ),
    (("fancy_boot", "boot", "fancy boot", "fancy_boot"), ("boot", "boot", "boot", _INSTANCE)),
    (("clock", "clock", "clock", "clock"), ("clock", "clock", "clock", "")),
    (
        ("pink_sunglasses", "sunglasses", "pink sunglasses", "pink_sunglasses"),
        ("sunglasses", "sunglasses", "sunglasses", _INSTANCE),
    ),
)
_COCO = (
    *(
        ((name, name, name, name), (name, name, name, ""))
        for name in ("laptop", "scissors", "donut", "bear", "cup", "dog", "bottle", "umbrella", "cat")
    ),
    (
        ("remote", "remote", "remote", "remote"),
        ("phone", "phone", "cell phone", f"{_NOT_DRAWN}; another thing with keys for the hand"),
    ),
)
_VOC_CLASS = {"airplane": "aeroplane"}  # VOC's own name where it is not ours
_PASCAL = tuple(
    ((name, name, name, _VOC_CLASS.get(name, name)), (name, name, _VOC_CLASS.get(name, name), ""))
    for name in ("airplane", "bicycle", "bird", "boat", "person", "train", "car", "cat", "horse", "cow")
)


def _worlds() -> dict[str, dict[str, list[Concept]]]:
    worlds: dict[str, dict[str, list[Concept]]] = {world: {dataset: [] for dataset in DATASETS} for world in WORLDS}
    for dataset, rows in zip(DATASETS, (_IMAGENET, _DREAMBOOTH, _COCO, _PASCAL), strict=True):
        for (name, anchor, prompt_name, label), (noun, noun_anchor, noun_label, why) in rows:
            worlds["paper"][dataset].append(Concept(dataset, name, anchor, prompt_name, label, name, anchor))
            worlds["miniature"][dataset].append(
                Concept(dataset, noun, noun_anchor, noun, noun_label, name, anchor, why)
            )
    return worlds


_CONCEPTS = _worlds()


def find_dataset(name: str) -> str:
    """The dataset's name as the project writes it, whatever the case of `name`.

    Raises ValueError where there is no such dataset.
    """
    by_lower = {dataset.lower(): dataset for dataset in DATASETS}
    if name.lower() not in by_lower:
        raise ValueError(_unknown("dataset", name, DATASETS))
    return by_lower[name.lower()]


def concepts_of(dataset: str, world: str = "paper") -> list[Concept]:
    """The ten concepts of a dataset, in the paper's order.

    Raises ValueError where there is no such dataset or world.
    """
    if world not in WORLDS:
        raise ValueError(_unknown("world", world, WORLDS))
    return list(_CONCEPTS[world][find_dataset(dataset)])


def find_concept(name: str, dataset: str, world: str = "paper") -> Concept:
    """The concept of that name.

    Raises ValueError where the dataset has none.
    """
    concepts = {concept.name: concept for concept in concepts_of(dataset, world)}
    if name not in concepts:
        raise ValueError(_unknown(f"{find_dataset(dataset)} concept of the {world} world", name, concepts))
    return concepts[name]


def anchors_of(dataset: str, world: str = "paper") -> list[str]:
    """The ten anchor words of a dataset, in the order of its concepts; every concept is learned from each of them."""
    return [concept.anchor for concept in concepts_of(dataset, world)]


def find_anchor(word: str, dataset: str, world: str = "paper") -> str:
    """`word` itself, if it is one of the dataset's anchor words.

    Raises ValueError where it is none.
    """
    anchors = anchors_of(dataset, world)
    if word not in anchors:
        raise ValueError(_unknown(f"{find_dataset(dataset)} anchor word of the {world} world", word, anchors))
    return word


def substitutions() -> pd.DataFrame:
    """What the miniature learns where it cannot learn the paper's concept.

    One row per substitute, in the paper's order; columns `dataset`, `paper concept`, `paper anchor`, `miniature
    concept`, `anchor`, `why`.
    """
    rows = [
        (c.dataset, c.paper_name, c.paper_anchor, c.name, c.anchor, c.why)
        for dataset in DATASETS
        for c in concepts_of(dataset, "miniature")
        if c.is_substitute
    ]
    import pandas as pd

    return pd.DataFrame(
        rows, columns=["dataset", "paper concept", "paper anchor", "miniature concept", "anchor", "why"]
    )


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    known = list(known)
    lower = {word.lower(): word for word in known}
    close = get_close_matches(name.lower(), lower, n=1)
    hint = f"did you mean '{lower[close[0]]}'? " if close else ""
    return (
        f"'{name}' is no {kind}: {hint}There are {', '.join(known)}."
        if hint
        else f"'{name}' is no {kind}: there are {', '.join(known)}."
    )
