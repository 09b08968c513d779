"""The card of the banks of learned words: their contents, how to load them, and the files' checksums."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import jinja2

from vwlib.concepts import TASKS
from vwlib.files import write_whole
from vwlib.words import Word, load_words

log = logging.getLogger(__name__)


def write_card(root: Path) -> Path | None:
    """Write `words/README.md` below `root` about its banks, and return its path; None if there is no bank.

    The same banks give the same bytes. A damaged bank is left out and named in the log.
    """
    path, banks = root / "words" / "README.md", []
    names = [f"{grid}{task}.safetensors" for grid in ("", "fresh-") for task in TASKS]
    for file in (folder / name for folder in sorted((root / "words").glob("*")) for name in names):
        try:
            if file.exists() and (words := load_words(file, "np")):
                banks.append(_describe(file, words))
        except ValueError as error:
            log.warning("%s It is left out of the card.", error)
    if not banks:
        return None
    template = jinja2.Template((Path(__file__).parent / "bank_card.md.j2").read_text(encoding="utf-8"))
    content = (template.render(banks=banks) + "\n").encode()
    if not path.exists() or path.read_bytes() != content:
        write_whole(path, content)
    return path


def _describe(file: Path, words: Sequence[Word]) -> dict[str, str]:
    shapes = sorted({tuple(word.vectors.shape) for word in words})
    deltas = {word.delta for word in words}
    constrained = [f"{delta}" for delta in sorted(delta for delta in deltas if delta is not None)]
    return {
        "name": f"{file.parent.name}/{file.name}",
        "words": f"{len(words):,}",
        "shapes": ", ".join(f"{k} × {d}" for k, d in shapes),
        "datasets": ", ".join(sorted({word.dataset for word in words})),
        "deltas": ", ".join([*constrained, *["unconstrained"] * (None in deltas)]),
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
