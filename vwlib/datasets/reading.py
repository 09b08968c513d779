"""Reading text, JSON, XML and values as people write them, and naming in the log what was left out.

Text is UTF-8, or UTF-16 or UTF-32 if its first bytes say so, with any line ends. XML may name another encoding. What
cannot be read raises FileNotFoundError or ValueError: one sentence, which for a file names it.
"""

import json
import logging
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from math import isfinite
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

log = logging.getLogger(__name__)

_TOLD: set[str] = set()
_FLAGS = {"": False, "0": False, "no": False, "false": False, "1": True, "yes": True, "true": True}
_LARGEST_SIDE = 10_000_000  # px; no picture has more
_DECLARED = re.compile(rb"""\s*<\?xml[^>]*\bencoding\s*=\s*["']([\w.:-]+)["']""")


def tell(sentence: str) -> None:
    """Log a sentence about something left out, once per process: the same files are read again and again."""
    if sentence not in _TOLD:
        _TOLD.add(sentence)
        log.warning("%s", sentence)


def tell_left_out(where: Path, what: str, names: Sequence[str]) -> None:
    """Log how many things of a file or folder were left out, and the first names."""
    tell(f"{where}: {what} are left out ({len(names)}): {name_some(list(dict.fromkeys(names)))}.")


def name_some(names: Sequence[str], most: int = 3) -> str:
    """The first few of the names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def shown(value: object) -> str:
    """A value as a sentence quotes it: short, and on one line."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # a number of more digits than Python writes
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises ValueError also for a folder or a device."""
    if not os.path.lexists(path):
        raise FileNotFoundError(f"The annotation file {path} is missing.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{path} is no file that can be read, but a folder or a device.")
    try:
        return path.read_bytes()
    except FileNotFoundError as error:  # a link that leads nowhere
        raise FileNotFoundError(f"The annotation file {path} is missing.") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or _one_line(error)}).") from error


def read_text(path: Path) -> str:
    """The text of a file, without its byte order mark."""
    return _decoded(path, content := read_bytes(path), json.detect_encoding(content))


def read_lines(path: Path) -> list[str]:
    """The lines of a text that are not blank, stripped."""
    lines = (line.strip() for line in re.split(r"\r\n|\r|\n", read_text(path)))
    return [line for line in lines if line]


def read_json(path: Path, unique: bool = False) -> Any:
    """The content of a JSON file. With `unique`, an object that gives one name two values is refused."""
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=_once if unique else None)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no valid JSON ({_one_line(error)}).") from error


def read_xml(path: Path) -> ET.Element:
    """The root of an XML file; tags lose their namespace."""
    content = read_bytes(path)
    encoding: str = json.detect_encoding(content)
    if encoding == "utf-8" and (declared := _DECLARED.match(content)):
        named = declared[1].decode("ascii", "replace").lower()
        # Text whose first bytes are those of ASCII is none of these, whatever its first line says.
        encoding = encoding if named.startswith(("utf-16", "utf-32", "ucs", "utf_16", "utf_32")) else named
    text = _decoded(path, content, encoding, "valid annotation")
    try:
        root = ET.fromstring(text.lstrip())  # of a decoded text the parser ignores the declared encoding
    except (ET.ParseError, ValueError) as error:
        raise ValueError(f"{path} is no valid annotation ({_one_line(error)}).") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def picture_name(file: Path, name: str, folder: Path) -> str:
    """The name that `file` gives to a picture below `folder`, without "./" and with "/" for a back slash, except in the
    name of an existing file. Raises ValueError for a name that leads out of the folder.
    """
    slashed = PurePosixPath(name.replace("\\", "/"))
    if slashed.is_absolute() or ".." in slashed.parts or PureWindowsPath(name).drive:
        raise ValueError(f"{file} names a picture outside the dataset: {' '.join(name.split())}")
    if "\\" in name and os.path.isfile(folder / name):
        return PurePosixPath(name).as_posix()
    return slashed.as_posix()


def _decoded(path: Path, content: bytes, encoding: str, what: str = "text") -> str:
    try:
        return content.decode(encoding)
    except LookupError as error:
        raise ValueError(f"{path} is no {what} (its encoding '{encoding}' is unknown).") from error
    except ValueError as error:
        raise ValueError(f"{path} is no {what} in {encoding.upper()} ({_one_line(error)}).") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"it has {shown(key)} twice")
        found[key] = value
    return found


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
    """Whether an object is difficult or a crowd; nothing means no. Raises ValueError for anything but yes or no."""
    text = "" if value is None else str(value).strip().lower()
    if isinstance(value, int | float | str | None) and (text := text.removesuffix(".0")) in _FLAGS:
        return _FLAGS[text]
    raise ValueError(f"{shown(value)} is neither 0 nor 1")


def read_size(sides: Sequence[object]) -> tuple[int, int] | None:
    """Width and height in px; None if one is absent, empty, 0 or less. Raises ValueError for anything but numbers."""
    blank = [value is None or (isinstance(value, str) and not value.strip()) for value in sides]
    numbers = [0.0 if empty else read_number(value) for value, empty in zip(sides, blank, strict=True)]
    if max(numbers) > _LARGEST_SIDE:
        raise ValueError(f"{max(numbers):g} px is more than any picture has")
    width, height = (int(number) for number in numbers)
    return (width, height) if width > 0 and height > 0 else None
