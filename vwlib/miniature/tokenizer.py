"""The miniature's byte-pair tokenizer: CLIP's scheme, with every word of the miniature's language as one token.

The file is in the format that open_clip and transformers both read, so all models share one vocabulary, as the paper's
do: 512 byte entries, the merges, start of text and, as the largest id, end of text.
"""

import gzip
import itertools
from collections import Counter
from pathlib import Path

import numpy as np

from vwlib.paths import MINIATURE

#: The merges of each edition's language.
MERGES = {"first": MINIATURE / "first" / "bpe.txt.gz", "second": MINIATURE / "bpe.txt.gz"}


def build_merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte-pair merges under which each of `words` (lower-case ASCII) is a single token.

    The most frequent pair merges first, the alphabetically first among equals: the trainer of `tokenizers` breaks ties
    differently from run to run, which would change the ids of the words.
    """
    spelled = [[*word[:-1], word[-1] + "</w>"] for word in words]
    merges = []
    while any(len(symbols) > 1 for symbols in spelled):
        pairs = Counter(pair for symbols in spelled for pair in itertools.pairwise(symbols))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelled = [_merge(symbols, best) for symbols in spelled]
    return merges


def _merge(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def spell(word: str, ranks: dict[tuple[str, str], int], rng: np.random.Generator, dropout: float) -> list[str]:
    """A word in pieces, by merges each of which is left out with probability `dropout` (BPE-dropout, arXiv 1910.13267).

    `ranks` are the merges with their order.
    """
    symbols = [*word[:-1], word[-1] + "</w>"]
    while True:
        pairs = enumerate(itertools.pairwise(symbols))
        possible = [(ranks[pair], place) for place, pair in pairs if pair in ranks and rng.random() >= dropout]
        if not possible:
            return symbols
        place = min(possible)[1]
        symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]


def write_merges(words: list[str], target: Path) -> None:
    """Write the merges of `words` in CLIP's format: a header line, then one merge a line, gzipped."""
    lines = ["#version: 0.2", *(" ".join(pair) for pair in build_merges(words))]
    # No last newline: open_clip would read it as an empty merge. A fixed time stamp keeps the bytes the same.
    target.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
