"""Finding words among many: by what determined them, or by their id. Nothing here imports torch."""

from collections.abc import Sequence
from dataclasses import fields

import pandas as pd

from vwlib.words import Word

#: What a table of words leaves out: hashes, and settings that are the same for a whole task.
_LEFT_OUT = ["model", "images", "rate", "batch", "prompt", "precision", "patience", "strata"]


def words_table(words: Sequence[Word]) -> pd.DataFrame:
    """One row per word: its id, most of its provenance, and how many `vectors` of `d` numbers it has."""
    rows = [
        {"word_id": word.word_id, **word.provenance, "vectors": word.vectors.shape[0], "d": word.vectors.shape[1]}
        for word in words
    ]
    columns = ["word_id", *(field.name for field in fields(Word) if field.name != "vectors"), "vectors", "d"]
    return pd.DataFrame(rows, columns=columns).drop(columns=_LEFT_OUT).astype({"delta": float})


def choose_words(words: Sequence[Word], delta: str = "", **names: str) -> list[Word]:
    """The words of a `task`, `dataset`, `concept`, `anchor` and `delta` (a number or "free"), where given.

    Raises ValueError for a name or delta that no word has.
    """
    wanted: dict[str, object] = {name: value for name, value in names.items() if value}
    if delta:
        try:
            wanted["delta"] = None if delta == "free" else float(delta)
        except ValueError:
            raise ValueError(f"'{delta}' is not a delta: give the radius of a ball, such as 0.5, or free.") from None
    for name, value in wanted.items():
        known = dict.fromkeys(word.provenance[name] for word in words)
        if value not in known:
            listed = ", ".join("free" if other is None else str(other) for other in known)
            raise ValueError(f"No word has the {name} '{'free' if value is None else value}'; there are {listed}.")
    return [word for word in words if all(word.provenance[name] == value for name, value in wanted.items())]


def find_word(words: Sequence[Word], word_id: str) -> Word:
    """The word with that id, or with the only id that begins so. Raises ValueError if there is none, or several."""
    found = [word for word in words if word_id and word.word_id.startswith(word_id)]
    if len(found) != 1:
        count = f"{len(found)} of {len(words):,} words"
        raise ValueError(f"{count} have ids that begin with '{word_id}'; `vwlib words` lists them.")
    return found[0]
