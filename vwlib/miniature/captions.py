"""The miniature's language: words for what a scene shows, and a grammar of captions with synonyms and attributes."""

from collections.abc import Sequence

import numpy as np

from vwlib.miniature import WORLD
from vwlib.miniature.scenes import COLOURS, Placed, Scene
from vwlib.miniature.sprites import Sprites

OWN_NAME = 0.6  # how often a noun is called by its own name; otherwise by any of its names, equally likely
MAX_WORDS = 14  # with start and end of text a caption fills a context of 16 tokens, as OWL-v2's

_WORDS = WORLD["words"]
_COLOUR_WORDS = {colour: [colour] for colour in COLOURS} | _WORDS["colours"]


def vocabulary(sprites: Sprites) -> list[str]:
    """Every word of the miniature's language, sorted; each is one token of its tokenizer."""
    groups = (_COLOUR_WORDS, _WORDS["sizes"], _WORDS["places"], _WORDS["backgrounds"])
    phrases = [phrase for group in groups for phrases in group.values() for phrase in phrases]
    phrases += [*_WORDS["styles"].values(), *_WORDS["templates"], *_WORDS["function"]]
    phrases += [name for names in sprites.names.values() for name in names]
    return sorted({word for phrase in phrases for word in phrase.replace("{}", " ").split()})


def size_of(share: float) -> str:
    """The size word's key for an object whose longer side is `share` of the image's side."""
    return "small" if share < 0.4 else "medium" if share < 0.65 else "large"


def place_of(box: tuple[int, int, int, int], size: int) -> str:
    """The place word's key for a box (left, top, right, bottom) in an image of `size` px."""
    x, y = (box[0] + box[2]) / 2 / size - 0.5, (box[1] + box[3]) / 2 / size - 0.5
    if max(abs(x), abs(y)) < 0.1:
        return "middle"
    if abs(x) > abs(y):
        return "left" if x < 0 else "right"
    return "top" if y < 0 else "bottom"


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _name(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    return names[0] if rng.random() < OWN_NAME else _pick(rng, names)


def describe(rng: np.random.Generator, placed: Placed, names: dict[str, tuple[str, ...]], *, rich: float) -> str:
    """A noun phrase for one object; each true attribute is named with probability `rich`."""
    name = _name(rng, names[placed.drawing.noun])
    words = []
    if rng.random() < rich:
        words.append(_pick(rng, _WORDS["sizes"][size_of(placed.share)]))
    if abs(placed.angle) > 20 and rng.random() < rich:
        words.append("tilted")
    if placed.drawing.style in _WORDS["styles"] and rng.random() < rich / 2:
        words.append(_WORDS["styles"][placed.drawing.style])
    if placed.drawing.colour and rng.random() < 0.7:
        words.append(_pick(rng, _COLOUR_WORDS[placed.drawing.colour]))
    words.append(name)
    article = rng.random()  # none for the rest
    if article < 0.5:
        words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    elif article < 0.65:
        words.insert(0, "the")
    return " ".join(words)


def caption(rng: np.random.Generator, scene: Scene, names: dict[str, tuple[str, ...]], size: int) -> str:
    """A true caption of a scene of `size` px, at most `MAX_WORDS` words: the main object with some of its attributes,
    then perhaps another object, the place and the background, chosen at random.
    """
    rich = 0.0 if rng.random() < 0.35 else 0.35
    text = _pick(rng, _WORDS["templates"]).format(describe(rng, scene.objects[0], names, rich=rich))
    extras = []
    if len(scene.objects) > 1 and rng.random() < 0.6:
        other = describe(rng, scene.objects[1 + rng.integers(len(scene.objects) - 1)], names, rich=rich / 2)
        extras.append(_pick(rng, ("and", "with", "next to")) + " " + other)
    if rng.random() < rich:
        extras.append(_pick(rng, _WORDS["places"][place_of(scene.objects[0].box, size)]))
    if rng.random() < rich:
        colour = _pick(rng, _COLOUR_WORDS[scene.colours[0]])
        kind = _pick(rng, _WORDS["backgrounds"][scene.background])
        adjective = colour if rng.random() < 0.5 else f"{kind} {colour}" if rng.random() < 0.5 else kind
        extras.append(f"on a {adjective} background")
    for extra in extras:
        if len(text.split()) + len(extra.split()) <= MAX_WORDS:
            text += " " + extra
    return text


def name_prompt(rng: np.random.Generator, noun: str, names: dict[str, tuple[str, ...]]) -> str:
    """A prompt that names one noun, alone or in a template, as the paper's prompts do."""
    name = _name(rng, names[noun])
    article = _pick(rng, ("", "", "a ", "the ")) if name[0] not in "aeiou" else _pick(rng, ("", "", "an ", "the "))
    return _pick(rng, _WORDS["templates"]).format(article + name)
