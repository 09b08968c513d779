"""Numbers, flags, boxes and sizes as annotations write them, as numbers or as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path

from vwlib.datasets.reading import shown

_FLAGS = {"": False, "0": False, "no": False, "false": False, "1": True, "yes": True, "true": True}
_LARGEST_SIDE = 10_000_000  # px; no picture has more


def read_number(value: object) -> float:
    """A finite number, or the one that a text says. Raises ValueError for anything else."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            if isfinite(number := float(value)):
                return number
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"{shown(value)} is no number")


def read_box(row: object) -> list[float]:
    """The four numbers of a box. Raises ValueError for anything else."""
    if not isinstance(row, list) or len(row) != 4:
        raise ValueError(f"{shown(row)} is no box")
    return [value if type(value) is int and abs(value) < 2**53 else read_number(value) for value in row]


def read_flag(value: object) -> bool:
    """Whether an object is difficult or a crowd; nothing means no. Raises ValueError for what is neither yes nor no."""
    text = "" if value is None else str(value).strip().lower()
    if isinstance(value, int | float | str | None) and (text := text.removesuffix(".0")) in _FLAGS:
        return _FLAGS[text]
    raise ValueError(f"{shown(value)} is neither 0 nor 1")


def read_size(sides: Sequence[object]) -> tuple[int, int] | None:
    """Width and height in px; None where one is absent, empty, 0 or less. Raises ValueError for what is no number."""
    blank = [value is None or (isinstance(value, str) and not value.strip()) for value in sides]
    numbers = [0.0 if empty else read_number(value) for value, empty in zip(sides, blank, strict=True)]
    if max(numbers) > _LARGEST_SIDE:
        raise ValueError(f"{max(numbers):g} px is more than any picture has")
    width, height = (int(number) for number in numbers)
    return (width, height) if width > 0 and height > 0 else None


def refuse_repeated(file: Path, kind: str, values: Iterable[str], field: str = "id") -> None:
    """Raise ValueError for the first value that comes twice."""
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{file}: two {kind} have the {field} {shown(value) if field != 'id' else value}.")
        seen.add(value)
