"""The language of the second edition: statements about a scene, and of which scenes each of them is true.

It has the words of the first edition's captions (`vwlib.miniature.captions`), which its image sides were trained with,
and those of the lexicon. Every statement also has words of the first edition, one for each of its own, which say as
much as that language can: the denoiser still reads that one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from vwlib.miniature import WORLD
from vwlib.miniature.captions import MAX_WORDS, OWN_NAME, place_of, size_of
from vwlib.miniature.lexicon import RELATIONS, read_lexicon
from vwlib.miniature.pool import Pool
from vwlib.miniature.scenes import BACKGROUNDS, COLOURS
from vwlib.miniature.sprites import STYLES, read_nouns

#: How often a thing is spoken of by its name, a kind, a subject and a definition, where it has them.
SHARES = (0.5, 0.2, 0.18, 0.12)
_WORDS = WORLD["words"]
_MORE = _WORDS["more"]
_COLOUR_WORDS = {c: [*_WORDS["colours"].get(c, [c]), *_MORE["colours"][c]] for c in COLOURS}
STYLE_NAMES, COLOUR_NAMES = list(STYLES), list(COLOURS)
_SIZES, _PLACES = list(_WORDS["sizes"]), list(_WORDS["places"])
Words = list[tuple[str, str]]  #: (word, the first edition's word)


@dataclass(frozen=True)
class Thing:
    """What is said of one thing: the nouns that it may be, and attributes; None where nothing is said."""

    nouns: frozenset[int]
    colour: int | None = None
    size: int | None = None
    style: int | None = None
    tilted: bool = False


@dataclass(frozen=True)
class Statement:
    """A text about a scene. `things` has the main thing, then perhaps another, `where` (a place) from the first."""

    words: Words
    things: list[Thing]
    where: str | None = None
    place: int | None = None
    background: int | None = None
    ground: int | None = None
    text: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", " ".join(word for word, _ in self.words))

    @property
    def first(self) -> str:
        """The same in the words of the first edition."""
        return " ".join(first for _, first in self.words)


@lru_cache(maxsize=1)
def nouns_by_text() -> dict[tuple[str, str], frozenset[int]]:
    """The nouns, as numbers in the noun list, of which a text of the lexicon is true: `[relation, text]`."""
    number = {noun: index for index, noun in enumerate(read_nouns()["noun"])}
    found: dict[tuple[str, str], set[int]] = {}
    for relation, texts in read_lexicon().items():
        for noun, several in texts.items():
            for text in several:
                found.setdefault((relation, text), set()).add(number[noun])
    return {key: frozenset(nouns) for key, nouns in found.items()}


def vocabulary() -> list[str]:
    """Every word of the language, sorted; each is one token of its tokenizer."""
    groups: tuple[dict[str, list[str]], ...] = (_COLOUR_WORDS, _WORDS["sizes"], _WORDS["places"], _WORDS["backgrounds"])
    phrases = [phrase for group in groups for phrases in group.values() for phrase in phrases]
    phrases += [*_WORDS["styles"].values(), *_WORDS["templates"], *_WORDS["function"], *_MORE["about"]]
    phrases += [*_MORE["beside"], *(_MORE[where] for where in ("left", "right", "top", "bottom"))]
    phrases += [text for texts in read_lexicon().values() for several in texts.values() for text in several]
    return sorted({word for phrase in phrases for word in phrase.replace("{}", " ").split()})


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _same(text: str) -> Words:
    return [(word, word) for word in text.split()]


def _fill(template: str, words: Words, first: str | None = None) -> Words:
    """The words in a template, whose own words the first edition has, or `first` has in their place."""
    before, _, after = (first or template).partition("{}")
    mine, _, rest = template.partition("{}")
    pairs = zip(mine.split(), before.split(), strict=True), zip(rest.split(), after.split(), strict=True)
    return [*pairs[0], *words, *pairs[1]]


def describe(
    rng: np.random.Generator, pool: Pool, row: int, k: int, rich: float, relation: str | None = None
) -> tuple[Words, Thing, str]:
    """A phrase about object `k` of the scene `row`, what it says, and how it speaks of the thing.

    Each true attribute is named with probability `rich`; subjects and definitions have none.
    """
    a, lexicon = pool.arrays, read_lexicon()
    number = int(a["noun"][row, k])
    noun = pool.sprites.nouns[number]
    there = [name for name in RELATIONS if noun in lexicon[name]]
    if relation is None or relation not in there:
        shares = np.array([SHARES[RELATIONS.index(name)] for name in there])
        relation = str(rng.choice(there, p=shares / shares.sum()))
    texts = lexicon[relation][noun]
    text = texts[0] if relation == "name" and rng.random() < OWN_NAME else _pick(rng, texts)
    nouns = nouns_by_text()[relation, text]
    said: Words = [(word, noun.split()[-1]) for word in text.split()]
    if relation in ("subject", "definition"):
        return said, Thing(nouns), relation
    colour, style, tilted = int(a["colour"][row, k]), STYLE_NAMES[a["style"][row, k]], abs(a["angle"][row, k]) > 20
    size = _SIZES.index(size_of(float(a["share"][row, k])))
    thing: dict[str, int | bool] = {}
    words: Words = []
    if rng.random() < rich:
        words += _same(_pick(rng, _WORDS["sizes"][_SIZES[size]]))
        thing["size"] = size
    if tilted and rng.random() < rich:
        words += _same("tilted")
        thing["tilted"] = True
    if style in _WORDS["styles"] and rng.random() < rich / 2:
        words += _same(_WORDS["styles"][style])
        thing["style"] = int(a["style"][row, k])
    if colour >= 0 and rng.random() < max(rich, 0.5):
        named = COLOUR_NAMES[colour]
        words += [(_pick(rng, _COLOUR_WORDS[named]), named)]
        thing["colour"] = colour
    words += said
    article = rng.random()  # none for the rest
    if article < 0.65:
        known = "the" if article > 0.5 else "an" if words[0][0][0] in "aeiou" else "a"
        words = [(known, known), *words]
    return words, Thing(nouns, **thing), relation  # type: ignore[arg-type]


def place_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Where boxes (…, 4) lie from others: the index in `_PLACES` of left, right, top or bottom."""
    x, y = ((first[..., axis] + first[..., axis + 2] - second[..., axis] - second[..., axis + 2]) for axis in (0, 1))
    sides = [_PLACES.index(side) for side in ("left", "right", "top", "bottom")]
    return np.where(np.abs(x) > np.abs(y), np.where(x < 0, *sides[:2]), np.where(y < 0, *sides[2:]))


def state(rng: np.random.Generator, pool: Pool, row: int) -> Statement:
    """A random true statement about the scene `row`, at most `MAX_WORDS` words."""
    a, size = pool.arrays, pool.images.shape[1]
    rich = 0.0 if rng.random() < 0.3 else 0.4
    words, thing, relation = describe(rng, pool, row, 0, rich)
    if relation == "subject":
        template = _pick(rng, _MORE["about"])
        words = _fill(template, words, template.replace("about", "of"))
    else:
        words = _fill(_pick(rng, _WORDS["templates"]), words)
    things, more = [thing], {}
    count = int((a["noun"][row] >= 0).sum())
    if count > 1 and rng.random() < 0.6:
        other = 1 + int(rng.integers(count - 1))
        phrase, second, _ = describe(rng, pool, row, other, rich, "name" if rng.random() < 0.6 else "kind")
        where = _PLACES[int(place_between(a["box"][row, 0], a["box"][row, other]))]
        spatial = rng.random() < 0.4
        said = _MORE[where] if spatial else _pick(rng, _MORE["beside"])
        link = [
            (word, known) for word, known in zip(said.split(), ("next", "to") if " " in said else ("and",), strict=True)
        ]
        if len(words) + len(link) + len(phrase) <= MAX_WORDS:
            words += [*link, *phrase]
            things.append(second)
            more = {"where": where} if spatial else {}
    if rng.random() < rich:
        place = place_of(tuple(a["box"][row, 0]), size)
        said = _pick(rng, _WORDS["places"][place])
        if len(words) + len(said.split()) <= MAX_WORDS:
            words += _same(said)
            more["place"] = _PLACES.index(place)
    if rng.random() < rich:
        ground, kind = COLOUR_NAMES[a["colours"][row, 0]], BACKGROUNDS[a["background"][row]]
        parts = rng.choice(3)
        adjectives: Words = [(_pick(rng, _COLOUR_WORDS[ground]), ground)] if parts != 1 else []
        if parts:
            adjectives = _same(_pick(rng, _WORDS["backgrounds"][kind])) + adjectives
        if len(words) + len(adjectives) + 3 <= MAX_WORDS:
            words += [*_same("on a"), *adjectives, *_same("background")]
            more |= {"ground": int(a["colours"][row, 0])} if parts != 1 else {}
            more |= {"background": int(a["background"][row])} if parts else {}
    return Statement(words, things, **more)


def name_prompt(rng: np.random.Generator, noun: str) -> Statement:
    """A prompt that names one noun, alone or in a template, as the paper's prompts do."""
    names = read_lexicon()["name"][noun]
    name = names[0] if rng.random() < OWN_NAME else _pick(rng, names)
    article = _pick(rng, ("", "", "an" if name[0] in "aeiou" else "a", "the"))
    words = [*_same(article), *((word, noun.split()[-1]) for word in name.split())]
    return Statement(_fill(_pick(rng, _WORDS["templates"]), words), [Thing(nouns_by_text()["name", name])])


def is_thing(a: dict[str, np.ndarray], thing: Thing) -> np.ndarray:
    """Of which objects what is said of a thing is true: bool, shaped as the arrays of a pool's objects."""
    true = np.isin(a["noun"], list(thing.nouns))
    if thing.colour is not None:
        true &= a["colour"] == thing.colour
    if thing.style is not None:
        true &= a["style"] == thing.style
    if thing.size is not None:
        true &= np.digitize(a["share"], (0.4, 0.65)) == thing.size
    return true & (np.abs(a["angle"]) > 20) if thing.tilted else true


def is_true(a: dict[str, np.ndarray], statement: Statement, size: int) -> np.ndarray:
    """Of which scenes, given by arrays of a pool of `size` px, a statement is true: bool (scene,)."""
    things = [is_thing(a, thing) for thing in statement.things]
    true = things[0][:, 0].copy()
    if len(things) > 1:
        other = things[1][:, 1:]
        if statement.where is not None:
            lies = place_between(a["box"][:, :1].astype(float), a["box"][:, 1:].astype(float))
            other = other & (lies == _PLACES.index(statement.where))
        true &= other.any(1)
    if statement.place is not None:
        true &= np.array([_PLACES[statement.place] == place_of(tuple(box), size) for box in a["box"][:, 0]])
    if statement.background is not None:
        true &= a["background"] == statement.background
    if statement.ground is not None:
        true &= a["colours"][:, 0] == statement.ground
    return true
