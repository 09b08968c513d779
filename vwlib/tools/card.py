"""The card of the banks of learned words: what is in them, where it comes from, how to load it, and the files'
checksums.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import fields
from pathlib import Path

import yaml

from vwlib.concepts import TASKS
from vwlib.files import write_whole
from vwlib.words import Word, load_words

log = logging.getLogger(__name__)

#: What each column of a word's provenance says.
COLUMNS = {
    "task": "what it was learned for: generation, detection or classification",
    "dataset": "whose images show its concept",
    "concept": "what it means",
    "anchor": "the word that it started from",
    "delta": "radius of the ball around the anchor, in units of the anchor's distance to its nearest word; null: unconstrained",
    "seed": "of images and noise",
    "profile": "smoke, miniature or paper: all settings of the run",
    "steps": "of Adam",
    "rate": "Adam's learning rate",
    "batch": "images a step",
    "prompt": "in which it was learned, in the place of {}",
    "precision": "of the frozen model's matrix products",
    "model": "digest of the frozen model's weights and configuration",
    "images": "digest of the training images",
}
_FRONT = {
    "license": "mit",
    "pretty_name": "Visual Words: a bank of learned words",
    "tags": ["textual-inversion", "word-embeddings"],
}
_INTRODUCTION = """# A bank of learned words

Each file holds the words learned for one task by the study of one profile. A word is some vectors, one after the other, in the space of one
model's word table; its id is a hash of all settings and data that determine it. Learned again on the same kind of processor it has the same
bytes; on another its vectors differ a little, and its scores hardly. `vwlib study` writes this page with the files, and
`vwlib words` lists and filters them.

## Loading

With the folder of these files as working folder:

```python
import json
from safetensors import safe_open

with safe_open("{file}", "pt") as file:
    words = {{word_id: file.get_tensor(word_id) for word_id in file.keys()}}  # (vector, d) each
    provenance = json.loads(file.metadata()["words"])  # by word_id
```

Each [release](https://github.com/visual-words/visual-words/releases) carries these files and the study's tables of scores as one archive.
`vwlib export ID --to learned_embeds.safetensors` writes one for diffusers, and with `--form` for other programs. A word means something in the
model it was learned in, or, carried over by a linear map, in another.
"""
_LICENCE = """## Licence

The words are under the MIT licence, as the project is. They hold no picture. The models of the profile `paper` and the photographs of its
datasets have licences of their own; the miniature's pictures are made of openly licensed drawings, whose makers `data/miniature/LICENSES.md` names.
"""


def write_card(root: Path) -> Path | None:
    """Write `words/README.md` below `root` from the banks that lie there, and return its path; None where there is no
    bank.

    The same banks give the same bytes. A damaged bank is named in the log and left out.
    """
    path, banks = root / "words" / "README.md", {}
    for file in (
        file
        for folder in sorted((root / "words").glob("*"))
        for task in TASKS
        if (file := folder / f"{task}.safetensors").exists()
    ):
        try:
            if words := load_words(file):
                banks[file.relative_to(path.parent).as_posix()] = (hashlib.sha256(file.read_bytes()).hexdigest(), words)
        except ValueError as error:
            log.warning("%s It is left out of the card.", error)
    if not banks:
        return None
    content = card_text(banks).encode()
    if not path.exists() or path.read_bytes() != content:
        write_whole(path, content)
    return path


def card_text(banks: dict[str, tuple[str, list[Word]]]) -> str:
    """The card of some banks: by file name, its SHA-256 and its words."""
    parts = ["---\n" + yaml.safe_dump(_FRONT, sort_keys=False) + "---\n", _INTRODUCTION.format(file=next(iter(banks)))]
    rows = [
        f"| `{name}` | {len(words):,} | {_shapes(words)} | {_values(words, 'dataset')} | {_values(words, 'delta')} |"
        for name, (_, words) in banks.items()
    ]
    parts.append(
        "\n".join(["## Files", "", "| file | words | vectors × d | datasets | delta |", "|---|---|---|---|---|", *rows])
        + "\n"
    )
    parts.append(
        "\n".join(
            ["| file | SHA-256 |", "|---|---|", *(f"| `{name}` | `{digest}` |" for name, (digest, _) in banks.items())]
        )
        + "\n"
    )
    described = [f"| `{field.name}` | {COLUMNS[field.name]} |" for field in fields(Word) if field.name in COLUMNS]
    parts.append("\n".join(["## Provenance", "", "| column | says |", "|---|---|", *described]) + "\n")
    return "\n".join([*parts, _LICENCE])


def _shapes(words: list[Word]) -> str:
    return ", ".join(f"{k} × {d}" for k, d in sorted({tuple(word.vectors.shape) for word in words}))


def _values(words: list[Word], column: str) -> str:
    """The distinct values of a column, None last."""
    found = {word.provenance[column] for word in words}
    return ", ".join(
        [
            *(f"{value}" for value in sorted(value for value in found if value is not None)),
            *["unconstrained"] * (None in found),
        ]
    )
